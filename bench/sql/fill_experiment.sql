-- An experiment's units in equal halves over thirty days, and what three of four of them did, some
-- more than once. %(experiment)s, %(started_at)s, %(enterprise)s, %(units)s.
with units as (
    select
        n,
        md5('unit ' || n)::uuid as unit,
        %(started_at)s::timestamptz + random() * interval '29 days' as exposed_at
    from generate_series(1, %(units)s) as n
),
exposed as (
    insert into flag_exposures (
        started_at, experiment_id, enterprise_id, unit, variant, exposed_at
    )
    select
        %(started_at)s, %(experiment)s, %(enterprise)s, unit,
        case when n %% 2 = 0 then 'a' else 'b' end, exposed_at
    from units
)
insert into tracked_events (occurred_at, enterprise_id, unit, event, value)
select exposed_at + random() * interval '20 hours', %(enterprise)s, unit, 'booked', random() * 100
from units
where n %% 4 <> 0
