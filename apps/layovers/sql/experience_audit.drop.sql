drop trigger experiences_audit on public.experiences;
drop trigger experiences_audit_truncate on public.experiences;
