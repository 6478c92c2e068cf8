delete from public.partition_policies where parent = 'audit_log';
drop table public.audit_log;
