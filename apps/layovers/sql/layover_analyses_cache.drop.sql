drop function public.kept_layover_analysis(text);
drop function public.keep_layover_analysis(jsonb);
drop function public.record_layover_hits(jsonb, bigint, bigint, bigint);
drop table public.layover_cache_counts;
drop table public.layover_analyses_cache;
