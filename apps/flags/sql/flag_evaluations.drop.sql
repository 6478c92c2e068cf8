drop function public.record_flag_evaluations(jsonb);
delete from public.partition_policies where parent = 'flag_evaluations';
drop table public.flag_evaluations;
