-- Flags and segments as every process holds them in memory, and how processes learn of changes.
-- Subjects of changes are `flag <name>` and `segment <name>`.

create function public.flag_directory(names text[] default null) returns table (
    name text,
    enabled boolean,
    rollout_percentage integer,
    conditions jsonb,
    tenant_overrides jsonb,
    user_overrides jsonb,
    value_type text,
    variants jsonb,
    on_variant text,
    off_variant text,
    allocations jsonb,
    rules jsonb,
    prerequisites jsonb,
    bucketing_unit text,
    salt text,
    namespace_salt text,
    namespace_low integer,
    namespace_high integer,
    tenant_visible boolean,
    version integer
)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select
        f.name, f.enabled and not f.is_killed and not f.is_archived, f.rollout_percentage,
        f.conditions, f.tenant_overrides, f.user_overrides, f.value_type, f.variants,
        f.on_variant, f.off_variant, f.allocations, f.rules, f.prerequisites, f.bucketing_unit,
        f.salt, n.salt, f.namespace_low, least(f.namespace_high, 10000 - n.holdout),
        f.tenant_visible and not f.is_archived, f.version
    from public.feature_flags f
    left join public.flag_namespaces n on n.id = f.namespace_id
    where names is null or f.name = any (names);
end;

create function public.flag_segment_directory()
returns table (name text, members jsonb, conditions jsonb)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select s.name, s.members, s.conditions from public.flag_segments s;
end;

revoke execute on function public.flag_directory(text[]), public.flag_segment_directory()
from public;
grant execute on function public.flag_directory(text[]), public.flag_segment_directory()
to layoverhq_app;

-- Names what changed in the snapshot's list, once a statement; the argument says what it is.
create function public.notify_flag_change() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    raised constant bigint := raise_snapshot('flags');
begin
    insert into snapshot_changes (snapshot, version, subject)
    select distinct 'flags', raised, tg_argv[0] || ' ' || c.name from changed c;
    return null;
end
$$;

revoke execute on function public.notify_flag_change() from public;

create trigger feature_flags_notify_insert after insert on public.feature_flags
    referencing new table as changed
    for each statement execute function public.notify_flag_change('flag');
create trigger feature_flags_notify_update after update on public.feature_flags
    referencing new table as changed
    for each statement execute function public.notify_flag_change('flag');
create trigger feature_flags_notify_delete after delete on public.feature_flags
    referencing old table as changed
    for each statement execute function public.notify_flag_change('flag');
create trigger flag_segments_notify_insert after insert on public.flag_segments
    referencing new table as changed
    for each statement execute function public.notify_flag_change('segment');
create trigger flag_segments_notify_update after update on public.flag_segments
    referencing new table as changed
    for each statement execute function public.notify_flag_change('segment');
create trigger flag_segments_notify_delete after delete on public.flag_segments
    referencing old table as changed
    for each statement execute function public.notify_flag_change('segment');

-- After these nothing tells which flags changed: everybody loads the whole.
select public.feed_snapshot('public.flag_namespaces', 'flags');
create trigger feature_flags_truncate after truncate on public.feature_flags
    for each statement execute function public.notify_snapshot('flags');
create trigger flag_segments_truncate after truncate on public.flag_segments
    for each statement execute function public.notify_snapshot('flags');
