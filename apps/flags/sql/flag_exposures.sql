-- Who met which variant of an experiment: one row a unit. Partitions go by the experiment's start,
-- so that the key holds one row a unit, and an experiment expires as a whole.

-- Units are kept as digests: to count them, and to find what else they did, takes no name.
create function public.flag_unit_digest(enterprise uuid, unit text) returns uuid
language sql immutable parallel safe strict
return md5(enterprise::text || ':' || unit)::uuid;

create table public.flag_exposures (
    started_at timestamptz not null,
    experiment_id uuid not null,
    enterprise_id uuid not null,
    unit uuid not null,
    variant text not null,
    exposed_at timestamptz not null,
    -- it met a second variant as well, and tells nothing of either
    contaminated boolean not null default false,
    primary key (started_at, experiment_id, enterprise_id, unit),
    constraint flag_exposures_after_start check (exposed_at >= started_at)
) partition by range (started_at);

select public.enable_tenant_isolation('public.flag_exposures');
-- Deleting is for the erasure of an enterprise that leaves.
grant select, insert, delete on public.flag_exposures to layoverhq_operator;

insert into public.partition_policies (parent, months_ahead, months_kept)
values ('flag_exposures', 3, 24);

select public.ensure_month_partitions(
    'flag_exposures', current_date, (current_date + interval '3 months')::date
);

-- Notes exposures: [{"experiment", "enterprise", "unit", "variant", "at"}], the unit in clear.
-- Those of experiments that did not run then or are no longer kept, and of enterprises that there are
-- not, are left out; for whoever acts for a tenant, all but that tenant's.
create function public.record_flag_exposures(seen jsonb) returns bigint
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    noted bigint;
begin
    insert into flag_exposures as e (
        started_at, experiment_id, enterprise_id, unit, variant, exposed_at, contaminated
    )
    select
        x.started_at, x.id, n.id, flag_unit_digest(n.id, s.unit), min(s.variant),
        -- a clock that is ahead would hide what the unit did until then
        greatest(least(min(s.at), now()), x.started_at), count(distinct s.variant) > 1
    from jsonb_to_recordset(seen) as s (
        experiment uuid, enterprise uuid, unit text, variant text, at timestamptz
    )
    join flag_experiments x on x.id = s.experiment
        and (x.status = 'running' or s.at < x.stopped_at)
        -- clocks differ a little
        and s.at > x.started_at - interval '1 minute'
        and month_partition_stands('flag_exposures', x.started_at)
    join enterprises n on n.id = s.enterprise and n.deleted_at is null
        and n.id = coalesce(current_enterprise_id(), n.id)
    group by x.started_at, x.id, n.id, s.unit
    order by x.started_at, x.id, n.id, flag_unit_digest(n.id, s.unit)
    on conflict (started_at, experiment_id, enterprise_id, unit) do update set
        exposed_at = least(e.exposed_at, excluded.exposed_at),
        contaminated = e.contaminated or excluded.contaminated or e.variant <> excluded.variant
    where excluded.exposed_at < e.exposed_at
        or (not e.contaminated and (excluded.contaminated or e.variant <> excluded.variant));
    get diagnostics noted = row_count;
    return noted;
end
$$;

revoke execute on function public.record_flag_exposures(jsonb) from public;
grant execute on function public.record_flag_exposures(jsonb) to layoverhq_app;
