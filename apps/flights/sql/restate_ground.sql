-- Working out again what layovers leave for the city, when an airport's ground times change: a
-- departure day a transaction. apps.flights.ground does the arithmetic.

-- The layovers of a day at an airport, in shared and private offers.
create function public.stays_at(place text, on_day date)
returns table (
    flight_id uuid,
    "position" smallint,
    origin text,
    destination text,
    arrives_at text,
    departs_at text
)
language sql stable
set search_path = public, pg_temp
begin atomic
    select
        l.flight_id,
        l.position,
        offer.segments -> (l.position - 1) ->> 'origin',
        offer.segments -> l.position::integer ->> 'destination',
        offer.segments -> (l.position - 1) ->> 'arrives_at',
        offer.segments -> l.position::integer ->> 'departs_at'
    from (
        -- an index each
        select * from flight_layovers
        where enterprise_id is null and airport = place and departure_day = on_day
        union all
        select * from flight_layovers
        where enterprise_id is not null and airport = place and departure_day = on_day
    ) as l
    cross join lateral (
        select f.segments
        from flights f
        where f.departure_day = l.departure_day and f.id = l.flight_id
        union all
        select e.segments
        from enterprise_flights e
        where e.enterprise_id = l.enterprise_id and e.id = l.flight_id
    ) as offer;
end;

-- Opens the staging table for this transaction.
create function public.open_ground_staging() returns void
language plpgsql
set client_min_messages = warning
as $$
begin
    create temporary table staged_ground (
        flight_id uuid not null,
        position smallint not null,
        usable_minutes integer not null,
        daylight_minutes integer not null,
        primary key (flight_id, position)
    ) on commit drop;
end
$$;

-- Writes what is staged to the day's layovers and offers; returns how many layovers changed.
create function public.store_staged_ground(on_day date) returns integer
language plpgsql
set search_path = public, pg_temp
as $$
declare
    changed integer;
begin
    delete from pg_temp.staged_ground s
    using flight_layovers l
    where l.departure_day = on_day and l.flight_id = s.flight_id and l.position = s.position
        and (l.usable_minutes, l.daylight_minutes) is not distinct from
            (s.usable_minutes, s.daylight_minutes);

    update flight_layovers l
    set usable_minutes = s.usable_minutes, daylight_minutes = s.daylight_minutes
    from pg_temp.staged_ground s
    where l.departure_day = on_day and l.flight_id = s.flight_id and l.position = s.position;
    get diagnostics changed = row_count;

    with restated as (
        select
            l.flight_id,
            max(l.usable_minutes) as usable_minutes,
            max(l.daylight_minutes) as daylight_minutes
        from flight_layovers l
        where l.departure_day = on_day
            and l.flight_id in (select s.flight_id from pg_temp.staged_ground s)
        group by l.flight_id
    ), shared as (
        update flights f
        set usable_minutes = r.usable_minutes, daylight_minutes = r.daylight_minutes,
            layovers = restated_layovers(f.id, f.layovers)
        from restated r
        where f.departure_day = on_day and f.id = r.flight_id
    )
    update enterprise_flights e
    set usable_minutes = r.usable_minutes, daylight_minutes = r.daylight_minutes,
        layovers = restated_layovers(e.id, e.layovers)
    from restated r
    join flight_layovers l
        on l.departure_day = on_day and l.flight_id = r.flight_id and l.position = 1
    where e.enterprise_id = l.enterprise_id and e.id = r.flight_id;
    return changed;
end
$$;

-- An offer's layovers with the minutes that are staged for it.
create function public.restated_layovers(offer uuid, layovers jsonb) returns jsonb
language plpgsql stable
set search_path = public, pg_temp
as $$
begin
    return (
        select jsonb_agg(
            stop.told || case when s.flight_id is null then '{}' else
                jsonb_build_object(
                    'usable_minutes', s.usable_minutes, 'daylight_minutes', s.daylight_minutes
                )
            end
            order by stop.place
        )
        from jsonb_array_elements(layovers) with ordinality as stop (told, place)
        left join pg_temp.staged_ground s on s.flight_id = offer and s.position = stop.place
    );
end
$$;

revoke execute on function
    public.stays_at(text, date), public.open_ground_staging(), public.store_staged_ground(date),
    public.restated_layovers(uuid, jsonb)
from public;
grant execute on function
    public.stays_at(text, date), public.open_ground_staging(), public.store_staged_ground(date),
    public.restated_layovers(uuid, jsonb)
to layoverhq_operator;
