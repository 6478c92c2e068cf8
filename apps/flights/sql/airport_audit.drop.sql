drop trigger airports_audit on public.airports;
drop trigger airports_audit_truncate on public.airports;
