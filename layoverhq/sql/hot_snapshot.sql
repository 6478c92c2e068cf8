-- What processes hold in memory, and how they learn that it changed: a version a snapshot,
-- raised in the writing transaction, and a notification that names snapshot and version only.

create table public.snapshot_versions (
    name text primary key,
    version bigint not null,
    -- the changes up to this version are no longer told one by one
    forgotten bigint not null default 0,
    changed_at timestamptz not null default now()
);

grant select on public.snapshot_versions to layoverhq_app, layoverhq_operator;

-- What a version changed, where a snapshot follows change by change: names, never values. The
-- writers of one snapshot wait for each other, so that versions come in the order of commits.
create table public.snapshot_changes (
    snapshot text not null,
    version bigint not null,
    subject text not null,
    tenant_id uuid,
    changed_at timestamptz not null default now()
);

create index snapshot_changes_version on public.snapshot_changes (snapshot, version);
create index snapshot_changes_tenant on public.snapshot_changes (tenant_id);

select public.enable_tenant_isolation('public.snapshot_changes', 'tenant_id', true);
-- Offboarding archives what is a tenant's.
grant select on public.snapshot_changes to layoverhq_operator;

-- A version is a row and not a sequence: a sequence moves before the writer commits, and a
-- reader in between would take old rows for new ones. `whole` says that no list of changes
-- tells what happened.
create function public.raise_snapshot(snapshot text, whole boolean default false) returns bigint
language plpgsql
set search_path = public, pg_temp
as $$
declare
    raised bigint;
begin
    insert into snapshot_versions as v (name, version, forgotten)
    values (snapshot, 1, whole::integer)
    on conflict (name) do update set
        version = v.version + 1,
        forgotten = case when whole then v.version + 1 else v.forgotten end,
        changed_at = now()
    returning v.version into raised;
    perform pg_notify(
        'hot_snapshot', json_build_object('snapshot', snapshot, 'version', raised)::text
    );
    return raised;
end
$$;

revoke execute on function public.raise_snapshot(text, boolean) from public;

create function public.notify_snapshot() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
begin
    perform raise_snapshot(tg_argv[0], whole => true);
    return null;
end
$$;

-- Triggers fire without this privilege; with it, whoever may make a temporary table could raise
-- versions by hand.
revoke execute on function public.notify_snapshot() from public;

-- Enrols a table: every statement that writes one of `columns` (all, when none is named) raises
-- the snapshot's version.
create function public.feed_snapshot(
    target regclass,
    snapshot text,
    columns name[] default '{}'
) returns void
language plpgsql
set search_path = public, pg_temp
as $$
declare
    column_list text := (select string_agg(quote_ident(c), ', ') from unnest(columns) c);
begin
    execute format(
        'create trigger %I after insert or delete or truncate or update%s on %s'
        ' for each statement execute function public.notify_snapshot(%L)',
        snapshot || '_snapshot',
        coalesce(' of ' || column_list, ''),
        target,
        snapshot
    );
end
$$;

revoke execute on function public.feed_snapshot(regclass, text, name[]) from public;

-- The changes after a version, for processes that hold all tenants' values in memory.
create function public.snapshot_changes_since(followed text, held bigint)
returns table (version bigint, subject text, tenant_id uuid)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select c.version, c.subject, c.tenant_id
    from snapshot_changes c
    where c.snapshot = followed and c.version > held
    order by c.version, c.subject;
end;

revoke execute on function public.snapshot_changes_since(text, bigint) from public;
grant execute on function public.snapshot_changes_since(text, bigint) to layoverhq_app;

-- Deletes the list of changes before an instant; whoever held an older version loads the whole.
create function public.forget_snapshot_changes(before timestamptz) returns bigint
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    gone bigint;
begin
    -- Writers of a snapshot lock its version first, and so does this.
    perform from snapshot_versions order by name for update;
    update snapshot_versions v
    set forgotten = greatest(v.forgotten, old.version)
    from (
        select c.snapshot, max(c.version) as version
        from snapshot_changes c
        where c.changed_at < before
        group by c.snapshot
    ) as old
    where v.name = old.snapshot;
    delete from snapshot_changes c
    using snapshot_versions v
    where v.name = c.snapshot and c.version <= v.forgotten;
    get diagnostics gone = row_count;
    return gone;
end
$$;

revoke execute on function public.forget_snapshot_changes(timestamptz) from public;
grant execute on function public.forget_snapshot_changes(timestamptz) to layoverhq_operator;
