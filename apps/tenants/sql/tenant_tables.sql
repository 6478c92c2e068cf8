-- Who may touch the tenants' own tables, and what of them the audit trail keeps.

select public.enable_tenant_isolation('public.enterprises', 'id');
select public.enable_tenant_isolation('public.domains');
select public.enable_tenant_isolation('public.users');
select public.enable_tenant_isolation('public.api_keys');
select public.enable_tenant_isolation('public.offboardings');

grant select on public.enterprises, public.domains, public.api_keys to layoverhq_app;
-- all but the password's hash
grant select (
    id, enterprise_id, email, name, subscription_tier, api_limits, preferences,
    is_staff, is_superuser, is_active, last_login, created_at, updated_at, deleted_at
) on public.users to layoverhq_app;

grant select, insert, update, delete on
    public.enterprises,
    public.domains,
    public.users,
    public.users_groups,
    public.users_user_permissions,
    public.api_keys,
    public.offboardings
to layoverhq_operator;

select public.enable_audit(
    'public.enterprises', ignored => '{updated_at}', tenant_column => 'id'
);
select public.enable_audit('public.domains');
select public.enable_audit(
    'public.users', redacted => '{password}', ignored => '{updated_at,last_login}'
);
select public.enable_audit('public.users_groups');
select public.enable_audit('public.users_user_permissions');
select public.enable_audit(
    'public.api_keys', redacted => '{key_hash}', ignored => '{last_used_at}'
);
select public.enable_audit(
    'public.offboardings', ignored => '{rows_done,table_now,updated_at}'
);
