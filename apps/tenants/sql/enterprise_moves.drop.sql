drop trigger enterprise_moves_audit on public.enterprise_moves;
drop trigger enterprise_moves_audit_truncate on public.enterprise_moves;
drop policy tenant_isolation on public.enterprise_moves;
drop policy operator_access on public.enterprise_moves;
alter table public.enterprise_moves disable row level security, no force row level security;
revoke all on public.enterprise_moves from layoverhq_app, layoverhq_operator;
