-- The tables go with the migrations that made them, and their policies, grants and triggers
-- with the tables; what is undone here lets those migrations be reversed one by one.
do $$
declare
    name text;
begin
    foreach name in array array[
        'enterprises', 'domains', 'users', 'users_groups', 'users_user_permissions', 'api_keys',
        'offboardings'
    ] loop
        execute format('drop trigger %I on public.%I', name || '_audit', name);
        execute format('drop trigger %I on public.%I', name || '_audit_truncate', name);
        execute format('revoke all on public.%I from layoverhq_app, layoverhq_operator', name);
        execute format('drop policy if exists tenant_isolation on public.%I', name);
        execute format('drop policy if exists operator_access on public.%I', name);
        execute format('alter table public.%I no force row level security', name);
        execute format('alter table public.%I disable row level security', name);
    end loop;
end
$$;
