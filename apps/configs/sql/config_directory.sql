-- Configuration as every process holds it in memory, and how processes learn of changes.

-- A key a row: its declaration, and what the platform and a staged release say. Secrets are
-- sealed; `overridable` is what set_override asks of a key. Of a few keys at a time, which bounds
-- what the reader and the server hold.
create function public.config_directory(keys text[]) returns table (
    key text,
    value_type text,
    schema jsonb,
    default_value jsonb,
    requires_restart boolean,
    is_secret boolean,
    tenant_visible boolean,
    description text,
    category text,
    overridable boolean,
    platform jsonb,
    platform_version integer,
    staged jsonb,
    staged_percentage integer,
    staged_release uuid,
    staged_tenants uuid[]
)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select
        k.key, k.value_type, k.schema, k.default_value, k.requires_restart, k.is_secret,
        k.tenant_visible, k.description, k.category, k.tenant_overridable and not g.is_protected,
        p.value, p.version,
        s.value, s.release_percentage, s.change_set_id,
        array(
            select t.enterprise_id
            from public.config_release_tenants t
            where t.change_set_id = s.change_set_id
        )
    from public.config_keys k
    join public.config_categories g on g.name = k.category
    left join public.system_configs p
        on p.key = k.key
        and coalesce(p.tenant_id, '00000000-0000-0000-0000-000000000000'::uuid)
            = '00000000-0000-0000-0000-000000000000'
        and p.is_active
        and not p.unset
    left join public.system_configs s on s.key = k.key and s.status = 'staged'
    where k.key = any (keys);
end;

-- All tenants' own values of each of these keys that has any, in one object.
create function public.config_overrides(keys text[]) returns table (key text, overrides json)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select k.key, o.overrides
    from unnest(keys) as k (key)
    cross join lateral (
        select json_object_agg(c.tenant_id, c.value) as overrides
        from public.system_configs c
        where c.key = k.key and c.tenant_id is not null and c.is_active and not c.unset
    ) as o
    where o.overrides is not null;
end;

-- Of the keys and tenants that changes after a version name, the values that stand.
create function public.config_overrides_since(held bigint)
returns table (key text, tenant_id uuid, value jsonb)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select c.key, c.tenant_id, c.value
    from (
        select distinct n.subject, n.tenant_id
        from public.snapshot_changes n
        where n.snapshot = 'configs' and n.version > held and n.tenant_id is not null
    ) as named
    join public.system_configs c
        on c.key = named.subject
        and coalesce(c.tenant_id, '00000000-0000-0000-0000-000000000000'::uuid) = named.tenant_id
    where c.is_active and not c.unset;
end;

revoke execute on function
    public.config_directory(text[]),
    public.config_overrides(text[]),
    public.config_overrides_since(bigint)
from public;
grant execute on function
    public.config_directory(text[]),
    public.config_overrides(text[]),
    public.config_overrides_since(bigint)
to layoverhq_app;

-- Tells what changed, without the values: in the snapshot's log of changes, which every process
-- follows, and on the channel `config_change` for whoever else listens. Once a statement, in its
-- transaction. Rows that were and are nobody's value yet (drafts) are no change.
create function public.notify_config_change() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    raised bigint;
begin
    if not exists (
        select from changed c where c.status in ('staged', 'active', 'superseded', 'rejected')
    ) then
        return null;
    end if;
    raised := raise_snapshot('configs');
    insert into snapshot_changes (snapshot, version, subject, tenant_id)
    select distinct 'configs', raised, c.key, c.tenant_id
    from changed c
    where c.status in ('staged', 'active', 'superseded', 'rejected');
    perform pg_notify(
        'config_change',
        json_build_object(
            'key', c.key,
            'tenant_id', c.tenant_id,
            'version', c.version,
            'requires_restart', c.requires_restart
        )::text
    )
    from changed c
    where c.status in ('staged', 'active')
        -- a staged release that is taken back
        or (c.status = 'rejected' and c.release_percentage is not null)
        or tg_op = 'DELETE';
    return null;
end
$$;

revoke execute on function public.notify_config_change() from public;

create trigger config_change_notify_insert after insert on public.system_configs
    referencing new table as changed
    for each statement execute function public.notify_config_change();
create trigger config_change_notify_update after update on public.system_configs
    referencing new table as changed
    for each statement execute function public.notify_config_change();
create trigger config_change_notify_delete after delete on public.system_configs
    referencing old table as changed
    for each statement execute function public.notify_config_change();

-- The same for declarations.
create function public.notify_config_key_change() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    raised constant bigint := raise_snapshot('configs');
begin
    insert into snapshot_changes (snapshot, version, subject)
    select distinct 'configs', raised, c.key from changed c;
    return null;
end
$$;

revoke execute on function public.notify_config_key_change() from public;

create trigger config_key_notify_insert after insert on public.config_keys
    referencing new table as changed
    for each statement execute function public.notify_config_key_change();
create trigger config_key_notify_update after update on public.config_keys
    referencing new table as changed
    for each statement execute function public.notify_config_key_change();
create trigger config_key_notify_delete after delete on public.config_keys
    referencing old table as changed
    for each statement execute function public.notify_config_key_change();

-- After these nothing tells what changed: everybody loads the whole.
create trigger config_category_notify after update of is_protected on public.config_categories
    for each statement execute function public.notify_snapshot('configs');
create trigger config_change_truncate after truncate on public.system_configs
    for each statement execute function public.notify_snapshot('configs');
create trigger config_key_truncate after truncate on public.config_keys
    for each statement execute function public.notify_snapshot('configs');
