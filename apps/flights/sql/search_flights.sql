-- The search behind GET /api/v1/flights/search, called by apps.flights.queries.search_flights.
--
-- Planning it takes milliseconds (partitions, policies), running it a fraction of one; hence a
-- function whose plan is kept, instead of a query text that is planned again for every request.

-- When the offer's price was last named: modelled ones, which nobody confirms, are not looked up.
create function public.last_seen_at(o public.flight_offers) returns timestamptz
language sql stable
return case
    when o.modelled then o.seen_at
    else offer_seen_at(
        o.seen_at, o.provider, o.origin_airport, o.destination_airport, o.departure_day, o.private
    )
end;

-- An offer as the API tells it; prices in what was asked for.
create function public.offer_json(
    o public.flight_offers,
    asked public.flight_search,
    score numeric default null,
    explanation json default null
) returns text
language sql stable
return json_strip_nulls(json_build_object(
    'id', o.id,
    'provider', o.provider,
    'private', o.private,
    'origin', o.origin_airport,
    'destination', o.destination_airport,
    'departs_at', o.segments -> 0 -> 'departs_at',
    'arrives_at', o.segments -> -1 -> 'arrives_at',
    'duration_minutes', o.duration_minutes,
    'price_minor', case when asked.shown_rate is null then o.price_minor
        when asked.shown_currency = o.fare_currency then o.fare_minor
        else round(o.price_minor * asked.shown_rate)::bigint end,
    'price_currency', coalesce(asked.shown_currency, o.price_currency),
    'fare', case when o.fare_minor is not null then json_build_object(
        'price_minor', o.fare_minor, 'price_currency', o.fare_currency, 'rate_date', o.rate_date
    ) end,
    'layover_count', o.layover_count,
    'usable_minutes', o.usable_minutes,
    'daylight_minutes', o.daylight_minutes,
    'layovers', o.layovers,
    'segments', o.segments,
    'cabin', nullif(o.cabin, ''),
    'self_transfer', o.self_transfer,
    'modelled', case when o.modelled
        then json '["arrival_time", "date", "fare", "carrier"]' else json '[]' end,
    'score', score,
    'explanation', explanation,
    'seen_at', last_seen_at(o),
    'age_minutes', floor(extract(epoch from now() - last_seen_at(o)) / 60)::bigint,
    'expires_at', o.expires_at
))::text;

-- The same with the offer's score and what it is made of.
create function public.explained_offer(
    o public.flight_offers,
    asked public.flight_search,
    best_price_minor bigint,
    best_minutes integer
) returns text
language sql stable
begin atomic
    select offer_json(
        o,
        asked,
        round(score_tenths(s.components, asked) / 10.0, 1),
        score_explanation(s.hub, s.components, asked, best_price_minor, best_minutes)
    )
    from offer_components_of(o, asked, best_price_minor, best_minutes) as s;
end;

-- Says what emptied a search, called by apps.flights.queries.search_flights: how many offers its
-- route and days have, how many each filter refuses, and how many would be found without it. Where
-- there are none, the days nearby that have some. `filters` has searches by each filter's name:
-- {"beside":, "alone":, "without":}, as filter_records() makes them.
create function public.search_emptied(asked public.flight_search, filters jsonb) returns json
language sql stable
set plan_cache_mode = force_generic_plan
set search_path = public, pg_temp
begin atomic
    with standing as materialized (
        select o.*
        from flight_offers o
        where o.origin_airport = asked.origin
            and o.destination_airport = asked.destination
            and o.departure_day = any (asked.departure_days)
            and o.expires_at > now()
    ), searches as materialized (
        select
            f.key as parameter,
            jsonb_populate_record(null::flight_search, f.value -> 'beside') as beside,
            jsonb_populate_record(null::flight_search, f.value -> 'alone') as alone,
            jsonb_populate_record(null::flight_search, f.value -> 'without') as rest
        from jsonb_each(filters) as f
    ), judged as materialized (
        -- Materialised, so that each search is tried once an offer.
        select
            f.parameter,
            offer_matches(row(s.*)::flight_offers, f.beside)
            and offer_matches(row(s.*)::flight_offers, f.alone) is not true as is_refused,
            offer_matches(row(s.*)::flight_offers, f.rest) as is_found
        from standing s
        cross join searches f
    ), told as (
        select
            parameter,
            count(*) as refused,
            count(*) filter (where is_found) as found_without
        from judged
        where is_refused or is_found
        group by parameter
    )
    select json_build_object(
        'offers', (select count(*) from standing),
        'filters', coalesce(
            (
                select json_agg(
                    json_build_object(
                        'parameter', t.parameter,
                        'refused', t.refused,
                        'found_without', t.found_without
                    )
                    order by t.found_without desc, t.refused desc, t.parameter
                )
                from told t
            ),
            '[]'
        ),
        'days_with_offers', case when exists (select from standing) then '[]' else coalesce(
            (
                select json_agg(near.day order by near.day)
                from (
                    select asked.departure_days[1] + shift as day
                    from unnest(array[-3, -2, -1, 1, 2, 3, 4, 5, 6, 7]) as shift
                ) as near
                where exists (
                    select
                    from flight_offers o
                    where o.origin_airport = asked.origin
                        and o.destination_airport = asked.destination
                        and o.departure_day = near.day
                        and o.expires_at > now()
                )
            ),
            '[]'
        ) end
    );
end;

-- Answers the whole body: {"results": [...], "next": cursor or null}, with "ranking" where scores
-- are told.
create function public.search_flights(asked public.flight_search) returns text
language plpgsql stable
set plan_cache_mode = force_generic_plan
set search_path = public, pg_temp
as $$
declare
    bodies text[];
    keys bigint[];
    ids uuid[];
    best_price bigint;
    best_minutes integer;
begin
    if asked.explain or asked.sort = 'score' then
        select min(o.price_minor), min(o.duration_minutes)
        into best_price, best_minutes
        from flight_offers o
        where o.origin_airport = asked.origin
            and o.destination_airport = asked.destination
            and o.departure_day = any (asked.departure_days)
            and o.expires_at > now();
    end if;
    if asked.sort = 'price' then
        -- For each day three walks along an index, each a page long. Over their union the planner
        -- would read and sort every offer of the route and day.
        select
            array_agg(
                case when asked.explain
                    then explained_offer(page.offer, asked, best_price, best_minutes)
                    else offer_json(page.offer, asked)
                end
            ),
            array_agg((page.offer).price_minor),
            array_agg((page.offer).id)
        into bodies, keys, ids
        from (
            select arms.offer
            from unnest(asked.departure_days) as departure (day)
            cross join lateral (
                (
                    select row(o.*)::flight_offers as offer
                    from shared_offers o
                    where o.origin_airport = asked.origin
                        and o.destination_airport = asked.destination
                        and o.departure_day = departure.day
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
                        and o.departure_day = departure.day
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
                        and o.departure_day = departure.day
                        and (o.price_minor, o.id) > (asked.after_key, asked.after_id)
                        and offer_matches(row(o.*)::flight_offers, asked)
                    order by o.price_minor, o.id
                    limit asked.page_size + 1
                )
            ) as arms
            order by (arms.offer).price_minor, (arms.offer).id
            limit asked.page_size + 1
        ) as page;
    elsif asked.sort = 'score' then
        select
            array_agg(
                offer_json(
                    page.offer, asked, round((1000 - page.key) / 10.0, 1),
                    case when asked.explain then score_explanation(
                        page.hub, page.components, asked, best_price, best_minutes
                    ) end
                )
            ),
            array_agg(page.key),
            array_agg(page.id)
        into bodies, keys, ids
        from (
            select o as offer, scored.hub, scored.components, sorted.key, o.id
            from flight_offers o
            cross join lateral components_of(
                o.layover_count, o.layover_airports, o.layovers, o.layover_min_minutes,
                o.layover_max_minutes, o.usable_minutes, o.departure_at, o.duration_minutes,
                o.price_minor, asked, best_price, best_minutes
            ) as scored
            cross join lateral (
                -- The best first: tenths of a point below the highest score.
                select 1000 - score_tenths(scored.components, asked) as key
            ) as sorted
            where o.origin_airport = asked.origin
                and o.destination_airport = asked.destination
                and o.departure_day = any (asked.departure_days)
                and (sorted.key, o.id) > (asked.after_key, asked.after_id)
                and offer_matches(o, asked)
            order by sorted.key, o.id
            limit asked.page_size + 1
        ) as page;
    else
        select
            array_agg(
                case when asked.explain
                    then explained_offer(page.offer, asked, best_price, best_minutes)
                    else offer_json(page.offer, asked)
                end
            ),
            array_agg(page.key),
            array_agg(page.id)
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
                and o.departure_day = any (asked.departure_days)
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
        case when asked.shown_currency is not null then concat(
            ',"prices":',
            json_build_object('currency', asked.shown_currency, 'rate_date', asked.shown_rate_date)
        ) end,
        case when asked.explain or asked.sort = 'score'
            then ',"ranking":' || coalesce(asked.ranking::text, 'null') end,
        '}'
    );
end
$$;
