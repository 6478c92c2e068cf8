-- The airports that most layovers of the coming days' shared offers are at, and for each a few of
-- these layovers, the longest first: what is worth analysing before anybody asks. The guide's
-- function counts where journeys depart, and keeps placeholders; apps/layovers/tasks.py keeps real
-- analyses. Private offers are left out: what is kept is everybody's.
create function public.warm_popular_caches(
    since date, days integer, airports integer, of_each integer
) returns table (
    airport text, layovers bigint, arrives_at text, departs_at text, origin text, destination text
)
language sql stable
set search_path = public, pg_temp
begin atomic
    with popular as (
        select l.airport, count(*) as layovers
        from flight_layovers l
        where l.departure_day between since and since + days - 1 and l.enterprise_id is null
        group by l.airport
        order by count(*) desc, l.airport
        limit airports
    )
    select
        p.airport, p.layovers, s.landing ->> 'arrives_at', s.leaving ->> 'departs_at',
        s.landing ->> 'origin', s.leaving ->> 'destination'
    from popular p
    left join lateral (
        select f.segments -> (l.position - 1) as landing, f.segments -> l.position as leaving
        from flight_layovers l
        join flights f on f.departure_day = l.departure_day and f.id = l.flight_id
        where l.airport = p.airport
            and l.departure_day between since and since + days - 1
            and l.enterprise_id is null
            -- a layover at two airports is none that one can plan at one of them
            and f.segments -> l.position ->> 'origin' = p.airport
            and l.minutes <= 1440
        order by l.minutes desc, l.departure_day, l.flight_id
        limit of_each
    ) as s on true
    order by p.layovers desc, p.airport;
end;

revoke execute on function public.warm_popular_caches(date, integer, integer, integer) from public;
grant execute on function
    public.warm_popular_caches(date, integer, integer, integer) to layoverhq_operator;
