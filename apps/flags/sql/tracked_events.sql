-- What units did, as tenants report it or as their use of the API shows it: what goals of
-- experiments count.

create table public.tracked_events (
    occurred_at timestamptz not null,
    enterprise_id uuid not null,
    -- the digest of the caller's own id, or ours
    id uuid not null default uuidv7(),
    unit uuid not null,
    event text not null,
    value double precision,
    received_at timestamptz not null default now(),
    primary key (enterprise_id, occurred_at, id),
    constraint tracked_events_named check (event <> '')
) partition by range (occurred_at);

-- A goal reads one event of all units; a unit's come in order.
create index tracked_events_goal on public.tracked_events
    (event, enterprise_id, unit, occurred_at) include (value);

select public.enable_tenant_isolation('public.tracked_events');
grant select, insert, delete on public.tracked_events to layoverhq_operator;

insert into public.partition_policies (parent, months_ahead, months_kept)
values ('tracked_events', 3, 24);

-- Events of the last 30 days are taken as well.
select public.ensure_month_partitions(
    'tracked_events',
    (current_date - interval '2 months')::date,
    (current_date + interval '3 months')::date
);

-- Notes a tenant's events, for itself: [{"id", "unit", "event", "value", "at"}], the unit in clear;
-- without an id an event is a new one. An event that stands already is left as it is. Returns how
-- many are new.
create function public.record_tracked_events(reported jsonb) returns bigint
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    tenant constant uuid := current_enterprise_id();
    noted bigint;
begin
    insert into tracked_events (occurred_at, enterprise_id, id, unit, event, value)
    select
        r.at, tenant, coalesce(md5('event ' || r.id)::uuid, uuidv7()),
        flag_unit_digest(tenant, r.unit), r.event, r.value
    from jsonb_to_recordset(reported) as r (
        id text, unit text, event text, value double precision, at timestamptz
    )
    on conflict (enterprise_id, occurred_at, id) do nothing;
    get diagnostics noted = row_count;
    return noted;
end
$$;

revoke execute on function public.record_tracked_events(jsonb) from public;
grant execute on function public.record_tracked_events(jsonb) to layoverhq_app;

-- Notes what a process saw of tenants' use of the API: [{"id", "enterprise", "event", "value", "at"}].
-- The unit is the enterprise itself; what is told again is kept once. What lies in a month that is not
-- kept is left out; for whoever acts for a tenant, all but that tenant's.
create function public.record_api_usage(seen jsonb) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    insert into tracked_events (occurred_at, enterprise_id, id, unit, event, value)
    select s.at, n.id, s.id, flag_unit_digest(n.id, n.id::text), s.event, s.value
    from jsonb_to_recordset(seen) as s (
        id uuid, enterprise uuid, event text, value double precision, at timestamptz
    )
    join enterprises n on n.id = s.enterprise and n.deleted_at is null
        and n.id = coalesce(current_enterprise_id(), n.id)
    where s.event ^@ 'api:' and month_partition_stands('tracked_events', s.at)
    on conflict (enterprise_id, occurred_at, id) do nothing;
end;

revoke execute on function public.record_api_usage(jsonb) from public;
grant execute on function public.record_api_usage(jsonb) to layoverhq_app;
