-- The search behind GET /api/v1/flights/search, called by apps.flights.queries.search_flights.
--
-- Planning it takes 2 ms (partitions, policies), running it 0.2 ms; hence a function whose plan
-- is kept, instead of a query text that is planned again for every request. It runs with its
-- caller's rights, so that policies bind it; without a tenant it finds shared offers only.

create view public.shared_offers with (security_invoker = true) as
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, origin_airport, destination_airport, layover_count, layover_min_minutes,
    layover_max_minutes, layover_airports, layovers, segments, provider, modelled, seen_at,
    expires_at,
    false as private
from public.flights
where enterprise_id is null;

-- Offers that a provider priced for the caller's enterprise.
create view public.priced_offers with (security_invoker = true) as
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, origin_airport, destination_airport, layover_count, layover_min_minutes,
    layover_max_minutes, layover_airports, layovers, segments, provider, modelled, seen_at,
    expires_at,
    true as private
from public.flights
where enterprise_id = public.current_enterprise_id();

-- Offers that the caller's enterprise negotiated.
create view public.negotiated_offers with (security_invoker = true) as
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, origin_airport, destination_airport, layover_count, layover_min_minutes,
    layover_max_minutes, layover_airports, layovers, segments, provider, modelled, seen_at,
    expires_at,
    true as private
from public.enterprise_flights
where enterprise_id = public.current_enterprise_id();

-- Every offer that the caller may buy.
create view public.flight_offers with (security_invoker = true) as
table public.shared_offers
union all
table public.priced_offers
union all
table public.negotiated_offers;

grant select
    on public.shared_offers, public.priced_offers, public.negotiated_offers, public.flight_offers
    to layoverhq_app, layoverhq_operator;

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
    -- where the page before ended; -1 and the nil uuid for the first one
    after_key bigint,
    after_id uuid,
    -- what a cursor begins with, so that it fits this search only
    cursor_prefix text
);

-- Whether an offer has what is asked for, its route and day aside: by those the callers walk an
-- index. Inlined into their plans: keep it a single expression.
create function public.offer_matches(offer public.flight_offers, asked public.flight_search)
returns boolean
language sql stable
return
    offer.expires_at > now()
    and (asked.max_layovers is null or offer.layover_count <= asked.max_layovers)
    and (
        asked.layover_minimum_minutes is null
        or offer.layover_min_minutes >= asked.layover_minimum_minutes
    )
    and (
        asked.layover_maximum_minutes is null
        or offer.layover_max_minutes <= asked.layover_maximum_minutes
    )
    and (asked.exclude is null or not offer.layover_airports && asked.exclude)
    and (asked.via is null or offer.layover_airports && asked.via)
    and (
        asked.via_bounds is null
        or jsonb_path_exists(
            offer.layovers,
            '$[*] ? (@.airport == $via[*] && @.minutes >= $low && @.minutes <= $high)',
            asked.via_bounds
        )
    )
    and (
        asked.duration_minimum_minutes is null
        or offer.duration_minutes >= asked.duration_minimum_minutes
    )
    and (
        asked.duration_maximum_minutes is null
        or offer.duration_minutes <= asked.duration_maximum_minutes
    )
    and (asked.price_minimum_minor is null or offer.price_minor >= asked.price_minimum_minor)
    and (asked.price_maximum_minor is null or offer.price_minor <= asked.price_maximum_minor)
    and (
        asked.depart_minimum_minute is null
        or offer.departure_minute >= asked.depart_minimum_minute
    )
    and (
        asked.depart_maximum_minute is null
        or offer.departure_minute <= asked.depart_maximum_minute
    );

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
set search_path = public, pg_temp
as $$
declare
    bodies text[];
    keys bigint[];
    ids uuid[];
begin
    if asked.sort = 'price' then
        -- Three walks along an index, each a page long. Over their union the planner would read
        -- and sort every offer of the route and day.
        select
            array_agg(offer_json(page.offer)),
            array_agg((page.offer).price_minor),
            array_agg((page.offer).id)
        into bodies, keys, ids
        from (
            select arms.offer
            from (
                (
                    select row(o.*)::flight_offers as offer
                    from shared_offers o
                    where o.origin_airport = asked.origin
                        and o.destination_airport = asked.destination
                        and o.departure_day = asked.departure_day
                        and (o.price_minor, o.id) > (asked.after_key, asked.after_id)
                        and offer_matches(row(o.*)::flight_offers, asked)
                    order by o.price_minor, o.id
                    limit asked.page_size + 1
                )
                union all
                (
                    select row(o.*)::flight_offers as offer
                    from priced_offers o
                    where o.origin_airport = asked.origin
                        and o.destination_airport = asked.destination
                        and o.departure_day = asked.departure_day
                        and (o.price_minor, o.id) > (asked.after_key, asked.after_id)
                        and offer_matches(row(o.*)::flight_offers, asked)
                    order by o.price_minor, o.id
                    limit asked.page_size + 1
                )
                union all
                (
                    select row(o.*)::flight_offers as offer
                    from negotiated_offers o
                    where o.origin_airport = asked.origin
                        and o.destination_airport = asked.destination
                        and o.departure_day = asked.departure_day
                        and (o.price_minor, o.id) > (asked.after_key, asked.after_id)
                        and offer_matches(row(o.*)::flight_offers, asked)
                    order by o.price_minor, o.id
                    limit asked.page_size + 1
                )
            ) as arms
            order by (arms.offer).price_minor, (arms.offer).id
            limit asked.page_size + 1
        ) as page;
    else
        select array_agg(offer_json(page.offer)), array_agg(page.key), array_agg(page.id)
        into bodies, keys, ids
        from (
            select o as offer, sorted.key, o.id
            from flight_offers o
            cross join lateral (
                select case asked.sort
                    when 'duration' then o.duration_minutes::bigint
                    when 'departure' then extract(epoch from o.departure_at)::bigint
                end as key
            ) as sorted
            where o.origin_airport = asked.origin
                and o.destination_airport = asked.destination
                and o.departure_day = asked.departure_day
                and (sorted.key, o.id) > (asked.after_key, asked.after_id)
                and offer_matches(o, asked)
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
