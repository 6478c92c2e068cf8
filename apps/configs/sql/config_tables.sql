-- Who may touch the tables of configuration, what their rows may hold, and what the audit trail
-- keeps of them. That history is never rewritten is a matter of grants: the value of a version
-- has no update privilege, and a sealed one is sealed anew by reseal_config() alone.

-- Whether a value is of a type, as JSON. Numbers stay within what every reader of JSON holds
-- exactly.
create function public.config_type_matches(value jsonb, value_type text) returns boolean
language sql immutable parallel safe
return case value_type
    when 'number' then jsonb_typeof(value) = 'number'
        and abs(value::numeric) <= 9007199254740992
    when 'json' then jsonb_typeof(value) = 'object'
    else jsonb_typeof(value) = value_type
end;

alter table public.config_keys
    add constraint config_keys_default_typed
        check (default_value is null or public.config_type_matches(default_value, value_type)),
    add constraint config_keys_schema_object check (jsonb_typeof(schema) = 'object');

-- A sealed value is a string, whatever it opens to.
alter table public.system_configs
    add constraint system_configs_value_typed check (
        case
            when unset then jsonb_typeof(value) = 'null'
            when is_secret then jsonb_typeof(value) = 'string'
            else public.config_type_matches(value, value_type)
        end
    ),
    add constraint system_configs_value_size check (octet_length(value::text) <= 400000),
    -- It reaches every tenant, so that no tenant's row may be one.
    add constraint system_configs_staged_whole check (
        status <> 'staged'
        or (tenant_id is null and change_set_id is not null and release_percentage is not null)
    );

-- One active value a key and tenant, as the guide has it; one staged release a key; and numbers
-- that are never used twice.
create unique index idx_system_configs_key_tenant_active on public.system_configs (
    key, coalesce(tenant_id, '00000000-0000-0000-0000-000000000000'::uuid)
) where is_active;

create unique index system_configs_key_staged on public.system_configs (key)
    where status = 'staged';

create unique index system_configs_key_tenant_version on public.system_configs (
    key, coalesce(tenant_id, '00000000-0000-0000-0000-000000000000'::uuid), version
);

create index system_configs_expiring on public.system_configs (expires_at)
    where is_active and expires_at is not null;

-- Numbers the version and copies its key's declaration, as it stands. Writers of one key and
-- tenant take turns.
create function public.stamp_config() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
declare
    declared config_keys;
begin
    perform lock_config(new.key, new.tenant_id);
    select * into declared from config_keys k where k.key = new.key;
    if not found then
        raise foreign_key_violation using
            message = format('the key %s is not declared', new.key),
            constraint = 'system_configs_key_declared';
    end if;
    -- A tenant overrides what it may, and names no user and no change set: those of others could
    -- be guessed at, and held fast by its reference.
    if current_user = 'layoverhq_app' and not (
        declared.tenant_overridable
        and new.status = 'active'
        and num_nonnulls(new.created_by, new.change_set_id, new.release_percentage) = 0
    ) then
        raise insufficient_privilege using
            message = format('the key %s is not set like this by a tenant', new.key);
    end if;
    new.value_type := declared.value_type;
    new.description := declared.description;
    new.category := declared.category;
    new.requires_restart := declared.requires_restart;
    new.is_secret := declared.is_secret;
    new.version := 1 + coalesce(
        (
            select max(c.version)
            from system_configs c
            where c.key = new.key
                and coalesce(c.tenant_id, '00000000-0000-0000-0000-000000000000')
                    = coalesce(new.tenant_id, '00000000-0000-0000-0000-000000000000')
        ),
        0
    );
    return new;
end
$$;

-- Holds the turn of a key and tenant until the transaction ends.
create function public.lock_config(key text, tenant uuid) returns void
language sql
return pg_advisory_xact_lock(
    hashtextextended('config ' || key || ' ' || coalesce(tenant::text, ''), 0)
);

create trigger system_configs_stamp before insert on public.system_configs
    for each row execute function public.stamp_config();

-- Versions go one way, and what was superseded or rejected stays so: an old value comes back as a
-- new version. A tenant's own write only ever supersedes.
create function public.guard_config_status() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
begin
    if (old.status, new.status) not in (
        ('draft', 'scheduled'), ('draft', 'staged'), ('draft', 'active'), ('draft', 'rejected'),
        ('scheduled', 'draft'), ('scheduled', 'active'), ('scheduled', 'rejected'),
        ('staged', 'active'), ('staged', 'rejected'),
        ('active', 'superseded')
    ) or (current_user = 'layoverhq_app' and new.status <> 'superseded') then
        raise insufficient_privilege using
            message = format('a version does not go from %s to %s', old.status, new.status);
    end if;
    return new;
end
$$;

create trigger system_configs_status before update of status on public.system_configs
    for each row when (new.status is distinct from old.status)
    execute function public.guard_config_status();

-- Seals a secret's version anew, under another key of the ring: the one way in which a value
-- ever changes. Does nothing where somebody was faster.
create function public.reseal_config(resealed uuid, before text, after text) returns boolean
language plpgsql
security definer
set search_path = public, pg_temp
as $$
begin
    update system_configs c
    set value = to_jsonb(after)
    where c.id = resealed and c.is_secret and c.value = to_jsonb(before);
    return found;
end
$$;

revoke execute on function public.reseal_config(uuid, text, text) from public;
grant execute on function public.reseal_config(uuid, text, text) to layoverhq_operator;

select public.enable_tenant_isolation('public.system_configs', 'tenant_id', true);
select public.enable_tenant_isolation('public.config_release_tenants');

grant select on
    public.config_keys,
    public.config_categories,
    public.system_configs,
    public.config_release_tenants
to layoverhq_app;
-- A tenant writes versions of its own, which its policy sees to.
grant insert on public.system_configs to layoverhq_app;
grant update (status, updated_at, activated_at, expires_at) on public.system_configs
    to layoverhq_app;

grant select, insert, update, delete on
    public.config_categories,
    public.config_keys,
    public.config_release_tenants
to layoverhq_operator;
grant select, insert, update on public.config_change_sets to layoverhq_operator;
-- Deleting is for the erasure of an enterprise that leaves: see guard_config_history().
grant select, insert, delete on public.system_configs to layoverhq_operator;
grant update (status, updated_at, activated_at, expires_at, release_percentage, base_version)
    on public.system_configs to layoverhq_operator;

create function public.guard_config_history() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
begin
    if not exists (
        select from offboardings o
        where o.enterprise_id = old.tenant_id and o.stage = 'erasing'
    ) then
        raise insufficient_privilege using
            message = 'versions of configuration are never deleted';
    end if;
    return null;
end
$$;

create trigger system_configs_guard after delete on public.system_configs
    for each row execute function public.guard_config_history();

select public.enable_audit('public.config_categories');
select public.enable_audit('public.config_keys', ignored => '{updated_at}');
select public.enable_audit('public.config_change_sets', ignored => '{updated_at}');
select public.enable_audit('public.config_release_tenants');
select public.enable_audit(
    'public.system_configs',
    ignored => '{updated_at}',
    tenant_column => 'tenant_id',
    secret_value => 'value',
    secret_when => 'is_secret'
);
