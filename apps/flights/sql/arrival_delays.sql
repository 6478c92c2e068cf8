-- How late flights land, by airport: quantiles of the minutes between the scheduled and the real
-- arrival, early ones negative. The row without an airport is the nation's: the median of the
-- airports' quantiles, each weighted by its flights.

create table public.arrival_delays (
    id uuid primary key default uuidv7(),
    -- null: everywhere else
    airport text references public.airports (iata),
    flights integer not null,
    p10 smallint not null,
    p25 smallint not null,
    p50 smallint not null,
    p75 smallint not null,
    p90 smallint not null,
    p95 smallint not null,
    p99 smallint not null,
    constraint arrival_delays_airport_once unique nulls not distinct (airport),
    constraint arrival_delays_flights_counted check (flights > 0),
    constraint arrival_delays_quantiles_ascend check (
        p10 <= p25 and p25 <= p50 and p50 <= p75 and p75 <= p90 and p90 <= p95 and p95 <= p99
    )
);

grant select on public.arrival_delays to layoverhq_app, layoverhq_operator;

select public.feed_snapshot('public.arrival_delays', 'arrival_delays');

-- The share of arrivals that are at most so late, by interpolation between the quantiles;
-- apps.flights.delays answers the same from memory. Below p10 the line to p25 goes on down to 0;
-- past p99 the answer stays 0.99, as nothing is known of the worst. Nobody's own figures are the
-- nation's, flagged.
create function public.on_time_share(
    at_airport text,
    slack_minutes double precision,
    out share double precision,
    out is_nationwide boolean
)
language sql stable
set search_path = public, pg_temp
begin atomic
    with measured as (
        select
            d.airport is null as is_nationwide,
            array[d.p10, d.p25, d.p50, d.p75, d.p90, d.p95, d.p99]::double precision[] as late
        from public.arrival_delays d
        where d.airport is null or d.airport = at_airport
        order by d.airport is null
        limit 1
    ), placed as (
        select
            m.is_nationwide,
            m.late,
            array[0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]::double precision[] as share,
            (select count(*)::integer from unnest(m.late) as q where q <= slack_minutes) as below
        from measured m
    ), bounded as (
        -- The two quantiles that the line goes through.
        select p.*, least(greatest(p.below, 1), 6) as low from placed p
    )
    select
        case
            when b.below = 7 then b.share[7]
            when b.late[b.low + 1] = b.late[b.low] then 0
            else greatest(
                0,
                b.share[b.low]
                    + (slack_minutes - b.late[b.low])
                    * (b.share[b.low + 1] - b.share[b.low])
                    / (b.late[b.low + 1] - b.late[b.low])
            )
        end,
        b.is_nationwide
    from bounded b;
end;
