-- Synthetic one-stop offers for routes %(first)s up to %(last)s: 14 days, 36 offers a route and
-- day, all values drawn from hashes, so that every run has the same rows but for their dates. With
-- %(expired)s each stands a second time, expired.
with hub as materialized (
    select array_agg(iata order by iata) as codes
    from (select iata from airports where country = 'US' order by iata limit 300) as chosen
),
offer as (
    select
        codes[1 + route / 299] as origin,
        codes[1 + (route / 299 + 1 + route %% 299) %% 300] as destination,
        codes[1 + abs(hashint8(route * 1000 + k)) %% 300] as via,
        current_date + 1 + d as day,
        k,
        gone,
        45 + abs(hashint8(route * 7919 + d * 101 + k)) %% 1155 as layover,
        60 + abs(hashint8(route * 104729 + k)) %% 240 as leg,
        9000 + abs(hashint8(route * 31 + d * 17 + k * 1299709)) %% 60000 as price,
        (abs(hashint8(route + k * 15485863 + d)) %% 1440) as minute
    from hub,
        generate_series(%(first)s::bigint, %(last)s::bigint - 1) as route,
        generate_series(0, 13) as d,
        generate_series(0, 35) as k,
        generate_series(0, case when %(expired)s then 1 else 0 end) as gone
),
stored as (
    insert into flights (
        departure_at, arrival_at, price_minor, expires_at, departure_day, duration_minutes,
        layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes, overnight,
        carriers, departure_minute, layover_count, modelled, search_hash, provider, origin_airport,
        destination_airport, layover_airports, layovers, segments
    )
    select
        day + make_interval(mins => minute),
        day + make_interval(mins => minute + leg + layover + leg),
        price,
        case when gone = 1
            then now() - interval '30 minutes'
            else day + make_interval(mins => minute)
        end,
        day,
        leg + layover + leg,
        layover,
        layover,
        greatest(0, layover - 180),
        greatest(0, layover - 180) / 2,
        layover > 900,
        array['UA'],
        minute,
        1,
        true,
        md5(origin || destination || day || k)::uuid,
        'bench',
        origin,
        destination,
        array[via],
        jsonb_build_array(jsonb_build_object(
            'airport', via, 'minutes', layover, 'usable_minutes', greatest(0, layover - 180),
            'daylight_minutes', greatest(0, layover - 180) / 2
        )),
        json_build_array(
            json_build_object(
                'origin', origin, 'destination', via, 'carrier', 'UA', 'minutes', leg,
                'departs_at', day + make_interval(mins => minute),
                'arrives_at', day + make_interval(mins => minute + leg)
            ),
            json_build_object(
                'origin', via, 'destination', destination, 'carrier', 'UA', 'minutes', leg,
                'departs_at', day + make_interval(mins => minute + leg + layover),
                'arrives_at', day + make_interval(mins => minute + leg + layover + leg)
            )
        )
    from offer
    where via not in (origin, destination)
    returning
        id, departure_day, layover_airports[1] as airport, layover_min_minutes as minutes,
        usable_minutes, daylight_minutes, overnight
)
insert into flight_layovers (
    departure_day, flight_id, position, airport, minutes, usable_minutes, daylight_minutes, overnight
)
select departure_day, id, 1, airport, minutes, usable_minutes, daylight_minutes, overnight
from stored
