drop function public.record_flag_exposures(jsonb);
delete from public.partition_policies where parent = 'flag_exposures';
drop table public.flag_exposures;
drop function public.flag_unit_digest(uuid, text);
