-- What processes hold in memory, and how they learn that it changed: a version a snapshot,
-- raised in the writing transaction, and a notification that names snapshot and version only.

create table public.snapshot_versions (
    name text primary key,
    version bigint not null,
    changed_at timestamptz not null default now()
);

grant select on public.snapshot_versions to layoverhq_app, layoverhq_operator;

-- A version is a row and not a sequence: a sequence moves before the writer commits, and a
-- reader in between would take old rows for new ones.
create function public.notify_snapshot() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    raised bigint;
begin
    insert into snapshot_versions as v (name, version)
    values (tg_argv[0], 1)
    on conflict (name) do update set version = v.version + 1, changed_at = now()
    returning v.version into raised;
    perform pg_notify(
        'hot_snapshot',
        json_build_object('snapshot', tg_argv[0], 'version', raised)::text
    );
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
