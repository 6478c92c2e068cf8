-- Gives an enterprise of the demo negotiated offers on the routes named, 5 to 10 per cent below
-- the shared price: each day's two cheapest with a layover of eight hours or more, and the two
-- cheapest without, none with a layover under `shortest` minutes. Returns how many it added; what
-- stands already it leaves.

create function public.negotiate_demo_offers(
    buyer uuid,
    offer_provider text,
    origins text[],
    destinations text[],
    shortest integer
) returns integer
language sql
set search_path = public, pg_temp
begin atomic
    with candidates as (
        select
            f.*,
            md5(offer_provider || f.segments::text)::uuid as journey,
            row_number() over (
                partition by f.origin_airport, f.destination_airport, f.departure_day,
                    coalesce(f.layover_max_minutes, 0) >= 480
                order by f.price_minor, f.search_hash
            ) as place
        from unnest(origins, destinations) as route (origin, destination)
        join public.flights f
            on f.origin_airport = route.origin and f.destination_airport = route.destination
        where f.enterprise_id is null and f.modelled and f.expires_at > now()
            and coalesce(f.layover_min_minutes >= shortest, true)
    ), added as (
        insert into public.enterprise_flights (
            departure_at, arrival_at, price_minor, expires_at, departure_day, duration_minutes,
            layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes, overnight,
            departure_minute, layover_count, modelled, enterprise_id, search_hash, provider,
            origin_airport, destination_airport, carriers, layover_airports, layovers, segments
        )
        select
            c.departure_at, c.arrival_at,
            c.price_minor * (90 + ('x' || left(c.journey::text, 2))::bit(8)::integer % 6) / 100,
            c.expires_at, c.departure_day, c.duration_minutes, c.layover_min_minutes,
            c.layover_max_minutes, c.usable_minutes, c.daylight_minutes, c.overnight,
            c.departure_minute, c.layover_count, true, buyer, c.journey, offer_provider,
            c.origin_airport, c.destination_airport, c.carriers, c.layover_airports, c.layovers,
            c.segments
        from candidates c
        where c.place <= 2
            and not exists (
                select
                from public.enterprise_flights e
                where e.enterprise_id = buyer
                    and e.origin_airport = c.origin_airport
                    and e.destination_airport = c.destination_airport
                    and e.departure_day = c.departure_day
                    and e.provider = offer_provider
            )
        returning departure_day, id, layovers
    ), layovers as (
        insert into public.flight_layovers (
            departure_day, flight_id, position, airport, minutes, usable_minutes,
            daylight_minutes, overnight, enterprise_id
        )
        select
            a.departure_day, a.id, l.position, l.airport, l.minutes, l.usable_minutes,
            l.daylight_minutes, coalesce(l.overnight, false), buyer
        from added a
        cross join lateral rows from (
            jsonb_to_recordset(a.layovers) as (
                airport text, minutes integer, usable_minutes integer, daylight_minutes integer,
                overnight boolean
            )
        ) with ordinality as l (
            airport, minutes, usable_minutes, daylight_minutes, overnight, position
        )
    )
    select count(*)::integer from added;
end;

revoke execute on function public.negotiate_demo_offers(uuid, text, text[], text[], integer)
    from public;
grant execute on function public.negotiate_demo_offers(uuid, text, text[], text[], integer)
    to layoverhq_operator;
