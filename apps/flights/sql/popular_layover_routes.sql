-- What the shared inventory has on every route: by day, and the routes with layovers of all coming
-- days together. Brought up to date a day at a time by apps.flights.popularity, in a short
-- transaction that writes changes only: readers wait for nobody, and see the day before or after.
-- Private offers are never counted, so that every tenant may read the result.

create table public.route_days (
    id uuid primary key default uuidv7(),
    departure_day date not null,
    origin_airport text not null,
    destination_airport text not null,
    offers integer not null check (offers > 0),
    lowest_price_minor bigint not null,
    -- of those offers that have a layover: how many, how many layovers, what they cost together
    layover_offers integer not null check (layover_offers between 0 and offers),
    layovers integer not null check (layovers >= layover_offers),
    layover_price_minor bigint not null,
    -- {"DEN": how many offers have a layover there}
    layover_airports jsonb not null default '{}',
    constraint route_days_once unique (departure_day, origin_airport, destination_airport)
);

create index route_days_route on public.route_days (origin_airport, destination_airport);

-- When a day was last brought up to date, and what it came to.
create table public.route_day_refreshes (
    day date primary key,
    offers integer not null check (offers >= 0),
    refreshed_at timestamptz not null
);

create table public.popular_layover_routes (
    route text primary key
        generated always as (origin_airport || '-' || destination_airport) stored,
    origin_airport text not null,
    destination_airport text not null,
    -- offers with a layover
    flight_count bigint not null check (flight_count >= 5),
    -- in US dollars
    avg_price numeric(12, 2) not null,
    avg_layovers numeric(4, 2) not null,
    -- the most used first, at most five
    layover_airports text[] not null,
    refreshed_at timestamptz not null
);

create index popular_layover_routes_rank on public.popular_layover_routes
    (flight_count desc, route);

grant select on public.popular_layover_routes to layoverhq_app;
grant select, insert, update, delete
    on public.popular_layover_routes, public.route_days, public.route_day_refreshes
    to layoverhq_operator;

-- Counts one day anew. Returns the routes that came to something else, as two arrays.
create function public.refresh_route_day(
    refreshed_day date, as_of timestamptz, out origins text[], out destinations text[]
)
language plpgsql
set search_path = public, pg_temp
as $$
begin
    with living as materialized (
        select origin_airport, destination_airport, price_minor, layover_count, layover_airports
        from flights
        where enterprise_id is null and departure_day = refreshed_day and expires_at > as_of
    ), places as (
        select origin_airport, destination_airport, jsonb_object_agg(airport, offers) as airports
        from (
            select l.origin_airport, l.destination_airport, stop.airport, count(*) as offers
            from living l
            -- an offer counts once, however often it stops there
            cross join lateral (select distinct unnest(l.layover_airports)) as stop (airport)
            group by 1, 2, 3
        ) as stops
        group by 1, 2
    ), totals as (
        select
            origin_airport, destination_airport, count(*)::integer as offers,
            min(price_minor) as lowest_price_minor,
            count(*) filter (where layover_count > 0)::integer as layover_offers,
            sum(layover_count)::integer as layovers,
            coalesce(sum(price_minor) filter (where layover_count > 0), 0)::bigint
                as layover_price_minor
        from living
        group by 1, 2
    ), fresh as materialized (
        select totals.*, coalesce(places.airports, '{}') as layover_airports
        from totals left join places using (origin_airport, destination_airport)
    ), gone as (
        delete from route_days k
        where k.departure_day = refreshed_day
            and not exists (
                select from fresh f
                where f.origin_airport = k.origin_airport
                    and f.destination_airport = k.destination_airport
            )
        returning k.origin_airport, k.destination_airport
    ), stored as (
        insert into route_days as k (
            departure_day, origin_airport, destination_airport, offers, lowest_price_minor,
            layover_offers, layovers, layover_price_minor, layover_airports
        )
        select
            refreshed_day, origin_airport, destination_airport, offers, lowest_price_minor,
            layover_offers, layovers, layover_price_minor, layover_airports
        from fresh
        on conflict on constraint route_days_once do update set
            offers = excluded.offers,
            lowest_price_minor = excluded.lowest_price_minor,
            layover_offers = excluded.layover_offers,
            layovers = excluded.layovers,
            layover_price_minor = excluded.layover_price_minor,
            layover_airports = excluded.layover_airports
        where (
            k.offers, k.lowest_price_minor, k.layover_offers, k.layovers, k.layover_price_minor,
            k.layover_airports
        ) is distinct from (
            excluded.offers, excluded.lowest_price_minor, excluded.layover_offers,
            excluded.layovers, excluded.layover_price_minor, excluded.layover_airports
        )
        returning k.origin_airport, k.destination_airport
    ), noted as (
        insert into route_day_refreshes as k (day, offers, refreshed_at)
        select refreshed_day, coalesce(sum(offers), 0), as_of from fresh
        on conflict (day) do update
            set offers = excluded.offers, refreshed_at = excluded.refreshed_at
    )
    select
        coalesce(array_agg(origin_airport), '{}'), coalesce(array_agg(destination_airport), '{}')
    into origins, destinations
    from (table gone union table stored) as changed;
end
$$;

-- Adds these routes up anew from their days; those with fewer than five offers go.
create function public.rank_layover_routes(
    origins text[], destinations text[], as_of timestamptz
) returns void
language sql
set search_path = public, pg_temp
begin atomic
    with asked as (
        select * from unnest(origins, destinations) as a (origin_airport, destination_airport)
    ), days as materialized (
        select d.*
        from asked join public.route_days d using (origin_airport, destination_airport)
        where d.layover_offers > 0
    ), sums as (
        select
            origin_airport, destination_airport, sum(layover_offers) as flight_count,
            sum(layover_price_minor) / sum(layover_offers) / 100 as avg_price,
            sum(layovers)::numeric / sum(layover_offers) as avg_layovers
        from days
        group by 1, 2
        having sum(layover_offers) >= 5
    ), places as (
        select
            origin_airport, destination_airport,
            (array_agg(airport order by offers desc, airport))[:5] as airports
        from (
            select
                d.origin_airport, d.destination_airport, stop.key as airport,
                sum(stop.value::bigint) as offers
            from days d cross join lateral jsonb_each_text(d.layover_airports) as stop
            group by 1, 2, 3
        ) as stops
        group by 1, 2
    ), gone as (
        delete from public.popular_layover_routes p
        using asked a
        where p.origin_airport = a.origin_airport
            and p.destination_airport = a.destination_airport
            and p.route not in (select origin_airport || '-' || destination_airport from sums)
    )
    insert into public.popular_layover_routes as p (
        origin_airport, destination_airport, flight_count, avg_price, avg_layovers,
        layover_airports, refreshed_at
    )
    select
        origin_airport, destination_airport, flight_count, avg_price, avg_layovers,
        places.airports, as_of
    from sums join places using (origin_airport, destination_airport)
    on conflict (route) do update set
        flight_count = excluded.flight_count,
        avg_price = excluded.avg_price,
        avg_layovers = excluded.avg_layovers,
        layover_airports = excluded.layover_airports,
        refreshed_at = excluded.refreshed_at;
end;

-- The days that are not as they should be: with shared offers and never counted; loaded since;
-- over, or nearly so, since their offers expire; or last counted an hour ago. The oldest first.
create function public.stale_route_days(as_of timestamptz) returns setof date
language sql stable
set search_path = public, pg_temp
begin atomic
    select days.day
    from (
        select r.day from public.route_day_refreshes r
        union
        select d.day
        from (
            select as_of::date + shift as day from generate_series(-1, 366) as shift
        ) as d
        where exists (
            select from public.flights f
            where f.enterprise_id is null and f.departure_day = d.day
        )
    ) as days
    left join public.route_day_refreshes r on r.day = days.day
    where r.day is null
        or days.day <= as_of::date + 1
        or r.refreshed_at < as_of - interval '1 hour'
        or exists (
            select from public.inventory_loads l
            where l.day = days.day and l.loaded_at > r.refreshed_at
        )
    order by r.refreshed_at nulls first, days.day;
end;

revoke execute on function public.refresh_route_day(date, timestamptz) from public;
revoke execute on function public.rank_layover_routes(text[], text[], timestamptz) from public;
revoke execute on function public.stale_route_days(timestamptz) from public;
grant execute on function public.refresh_route_day(date, timestamptz) to layoverhq_operator;
grant execute
    on function public.rank_layover_routes(text[], text[], timestamptz) to layoverhq_operator;
grant execute on function public.stale_route_days(timestamptz) to layoverhq_operator;
