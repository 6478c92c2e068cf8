-- The search behind GET /api/v1/flights/search, called by apps.flights.queries.search_flights.
--
-- Planning it takes 2 ms (partitions, policies), running it 0.2 ms; hence a function whose plan
-- is kept, instead of a query text that is planned again for every request. It runs with its
-- caller's rights, so that policies bind it; without a tenant it finds shared offers only.

-- Every offer that the caller may buy. Two arms over flights, because each has its own index.
create view public.flight_offers with (security_invoker = true) as
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, origin_airport, destination_airport, layover_count, layover_min_minutes,
    layover_max_minutes, layover_airports, layovers, segments, provider, modelled, seen_at,
    expires_at, false as private
from public.flights
where enterprise_id is null
union all
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, origin_airport, destination_airport, layover_count, layover_min_minutes,
    layover_max_minutes, layover_airports, layovers, segments, provider, modelled, seen_at,
    expires_at, true
from public.flights
where enterprise_id = public.current_enterprise_id()
union all
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, origin_airport, destination_airport, layover_count, layover_min_minutes,
    layover_max_minutes, layover_airports, layovers, segments, provider, modelled, seen_at,
    expires_at, true
from public.enterprise_flights
where enterprise_id = public.current_enterprise_id();

-- What is asked for. Bounds are inclusive; null asks for nothing. Either all layovers are bounded
-- (layover_…) or the one at a via airport is (via_bounds).
create type public.flight_search as (
    origin text,
    destination text,
    departure_day date,
    max_layovers integer,
    via text[],
    -- {"via": [airports], "low": minutes, "high": minutes}
    via_bounds jsonb,
    exclude text[],
    layover_minimum_minutes integer,
    layover_maximum_minutes integer,
    duration_minimum_minutes integer,
    duration_maximum_minutes integer,
    price_minimum_minor bigint,
    price_maximum_minor bigint,
    depart_minimum_minute integer,
    depart_maximum_minute integer,
    -- price, duration or departure
    sort text,
    page_size integer,
    -- where the page before ended
    after_key bigint,
    after_id uuid,
    -- what a cursor begins with, so that it fits this search only
    cursor_prefix text
);

-- Inlined into its callers' plans: keep it a single select.
create function public.matching_offers(asked public.flight_search)
returns setof public.flight_offers
language sql stable
begin atomic
    select o.*
    from public.flight_offers o
    where o.origin_airport = asked.origin
        and o.destination_airport = asked.destination
        and o.departure_day = asked.departure_day
        and o.expires_at > now()
        and (asked.max_layovers is null or o.layover_count <= asked.max_layovers)
        and (
            asked.layover_minimum_minutes is null
            or o.layover_min_minutes >= asked.layover_minimum_minutes
        )
        and (
            asked.layover_maximum_minutes is null
            or o.layover_max_minutes <= asked.layover_maximum_minutes
        )
        and (asked.exclude is null or not o.layover_airports && asked.exclude)
        and (asked.via is null or o.layover_airports && asked.via)
        and (
            asked.via_bounds is null
            or jsonb_path_exists(
                o.layovers,
                '$[*] ? (@.airport == $via[*] && @.minutes >= $low && @.minutes <= $high)',
                asked.via_bounds
            )
        )
        and (
            asked.duration_minimum_minutes is null
            or o.duration_minutes >= asked.duration_minimum_minutes
        )
        and (
            asked.duration_maximum_minutes is null
            or o.duration_minutes <= asked.duration_maximum_minutes
        )
        and (asked.price_minimum_minor is null or o.price_minor >= asked.price_minimum_minor)
        and (asked.price_maximum_minor is null or o.price_minor <= asked.price_maximum_minor)
        and (
            asked.depart_minimum_minute is null
            or o.departure_minute >= asked.depart_minimum_minute
        )
        and (
            asked.depart_maximum_minute is null
            or o.departure_minute <= asked.depart_maximum_minute
        );
end;

create function public.offer_json(offer public.flight_offers) returns text
language sql stable
return json_build_object(
    'id', offer.id,
    'provider', offer.provider,
    'private', offer.private,
    'origin', offer.origin_airport,
    'destination', offer.destination_airport,
    'departs_at', offer.segments -> 0 -> 'departs_at',
    'arrives_at', offer.segments -> -1 -> 'arrives_at',
    'duration_minutes', offer.duration_minutes,
    'price_minor', offer.price_minor,
    'price_currency', offer.price_currency,
    'layover_count', offer.layover_count,
    'layovers', offer.layovers,
    'segments', offer.segments,
    'modelled', case when offer.modelled
        then json '["arrival_time", "date", "fare", "carrier"]' else json '[]' end,
    'seen_at', offer.seen_at,
    'expires_at', offer.expires_at
)::text;

-- Answers the whole body: {"results": [...], "next": cursor or null}.
create function public.search_flights(asked public.flight_search) returns text
language plpgsql stable
set plan_cache_mode = force_generic_plan
as $$
declare
    bodies text[];
    keys bigint[];
    ids uuid[];
begin
    if asked.sort = 'price' then
        -- In the order of the index, so that a page reads a page's worth of rows.
        select array_agg(offer_json(page.offer)), array_agg(page.key), array_agg(page.id)
        into bodies, keys, ids
        from (
            select o as offer, o.price_minor as key, o.id
            from matching_offers(asked) o
            where asked.after_id is null
                or (o.price_minor, o.id) > (asked.after_key, asked.after_id)
            order by o.price_minor, o.id
            limit asked.page_size + 1
        ) as page;
    else
        select array_agg(offer_json(page.offer)), array_agg(page.key), array_agg(page.id)
        into bodies, keys, ids
        from (
            select o as offer, sorted.key, o.id
            from matching_offers(asked) o
            cross join lateral (
                select case asked.sort
                    when 'duration' then o.duration_minutes::bigint
                    when 'departure' then extract(epoch from o.departure_at)::bigint
                end as key
            ) as sorted
            where asked.after_id is null
                or (sorted.key, o.id) > (asked.after_key, asked.after_id)
            order by sorted.key, o.id
            limit asked.page_size + 1
        ) as page;
    end if;
    return concat(
        '{"results":[',
        array_to_string(bodies[:asked.page_size], ','),
        '],"next":',
        case when cardinality(bodies) > asked.page_size
            then to_json(concat_ws(
                '.', asked.cursor_prefix, keys[asked.page_size], ids[asked.page_size]
            ))::text
            else 'null'
        end,
        '}'
    );
end
$$;
