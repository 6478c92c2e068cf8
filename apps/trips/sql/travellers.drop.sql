drop trigger travellers_audit on travellers;
drop trigger travellers_audit_truncate on travellers;
drop policy tenant_isolation on travellers;
drop policy operator_access on travellers;
alter table travellers disable row level security, no force row level security;
revoke all on travellers from layoverhq_app, layoverhq_operator;
