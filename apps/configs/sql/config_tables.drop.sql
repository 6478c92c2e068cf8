drop trigger system_configs_guard on public.system_configs;
drop function public.guard_config_history();
drop function public.reseal_config(uuid, text, text);
drop trigger system_configs_status on public.system_configs;
drop function public.guard_config_status();
drop trigger system_configs_stamp on public.system_configs;
drop function public.stamp_config();
drop function public.lock_config(text, uuid);
drop index public.idx_system_configs_key_tenant_active;
drop index public.system_configs_key_staged;
drop index public.system_configs_key_tenant_version;
drop index public.system_configs_expiring;
alter table public.system_configs
    drop constraint system_configs_value_typed,
    drop constraint system_configs_value_size,
    drop constraint system_configs_staged_whole;
alter table public.config_keys
    drop constraint config_keys_default_typed, drop constraint config_keys_schema_object;
drop function public.config_type_matches(jsonb, text);

do $$
declare
    name text;
begin
    foreach name in array array[
        'config_categories', 'config_keys', 'config_change_sets', 'config_release_tenants',
        'system_configs'
    ] loop
        execute format('drop trigger %I on public.%I', name || '_audit', name);
        execute format('drop trigger %I on public.%I', name || '_audit_truncate', name);
        execute format('revoke all on public.%I from layoverhq_app, layoverhq_operator', name);
        execute format('drop policy if exists tenant_isolation on public.%I', name);
        execute format('drop policy if exists operator_access on public.%I', name);
        execute format('drop policy if exists shared_rows on public.%I', name);
        execute format('alter table public.%I no force row level security', name);
        execute format('alter table public.%I disable row level security', name);
    end loop;
end
$$;
