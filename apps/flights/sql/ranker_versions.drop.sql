drop function public.ranker_directory();
drop table public.ranker_versions;
drop function public.guard_ranker_version();
drop function public.are_ranker_weights(jsonb);
