-- The search that begins with the place, behind GET /api/v1/flights/layovers: layovers at an
-- airport of journeys that depart on a day, each with its offer. Called by
-- apps.flights.layover_search.search_layovers. Plans are kept, and callers' rights hold, as with
-- search_flights().

-- Bounds are inclusive; null asks for nothing.
create type public.layover_search as (
    airport text,
    departure_day date,
    origin text,
    destination text,
    layover_minimum_minutes integer,
    layover_maximum_minutes integer,
    usable_minimum_minutes integer,
    usable_maximum_minutes integer,
    daylight_minimum_minutes integer,
    daylight_maximum_minutes integer,
    overnight boolean,
    -- usable, the most first, or price
    sort text,
    page_size integer,
    -- where the page before ended
    after_key bigint,
    after_id uuid,
    after_position smallint,
    -- what a cursor begins with, so that it fits this search only
    cursor_prefix text
);

-- Whether a layover has what is asked for; the place and the day aside. Inlined: keep it a single
-- expression. What was never worked out is not found.
create function public.layover_matches(
    layover public.flight_layovers, place public.layover_search
) returns boolean
language sql stable
return
    layover.usable_minutes between coalesce(place.usable_minimum_minutes, 0)
        and coalesce(place.usable_maximum_minutes, 1000000)
    and (
        place.layover_minimum_minutes is null or layover.minutes >= place.layover_minimum_minutes
    )
    and (
        place.layover_maximum_minutes is null or layover.minutes <= place.layover_maximum_minutes
    )
    and (
        place.daylight_minimum_minutes is null
        or layover.daylight_minutes >= place.daylight_minimum_minutes
    )
    and (
        place.daylight_maximum_minutes is null
        or layover.daylight_minutes <= place.daylight_maximum_minutes
    )
    and (place.overnight is null or layover.overnight = place.overnight);

-- Whether an offer goes where is asked, is not expired and has what `asked` wants of any offer.
create function public.place_offer_matches(
    offer public.flight_offers, place public.layover_search, asked public.flight_search
) returns boolean
language sql stable
return
    (place.origin is null or offer.origin_airport = place.origin)
    and (place.destination is null or offer.destination_airport = place.destination)
    and public.offer_matches(offer, asked);

create function public.layover_json(
    layover public.flight_layovers, offer public.flight_offers, asked public.flight_search
) returns text
language sql stable
return concat(
    '{"layover":',
    coalesce(offer.layovers -> (layover.position - 1), '{}')
        || jsonb_build_object(
            'position', layover.position,
            'minutes', layover.minutes,
            'airport', layover.airport,
            'usable_minutes', layover.usable_minutes,
            'daylight_minutes', layover.daylight_minutes,
            'overnight', layover.overnight
        ),
    ',"offer":', public.offer_json(offer, asked), '}'
);

-- Answers the whole body: {"results": [...], "next": cursor or null}.
create function public.search_layovers(place public.layover_search, asked public.flight_search)
returns text
language plpgsql stable
set plan_cache_mode = force_generic_plan
set search_path = public, pg_temp
as $$
declare
    bodies text[];
    keys bigint[];
    ids uuid[];
    positions smallint[];
begin
    if place.sort = 'usable' then
        -- Two walks backwards along an index, each a page long and an offer a step.
        select
            array_agg(layover_json(page.layover, page.offer, asked)),
            array_agg((page.layover).usable_minutes::bigint),
            array_agg((page.layover).flight_id),
            array_agg((page.layover).position)
        into bodies, keys, ids, positions
        from (
            select arms.*
            from (
                (
                    select l as layover, found.offer
                    from flight_layovers l
                    cross join lateral (
                        select row(o.*)::flight_offers as offer
                        from shared_offers o
                        where o.departure_day = place.departure_day
                            and o.id = l.flight_id
                            and place_offer_matches(row(o.*)::flight_offers, place, asked)
                        limit 1
                    ) as found
                    where l.enterprise_id is null
                        and l.airport = place.airport
                        and l.departure_day = place.departure_day
                        and (l.usable_minutes, l.flight_id, l.position)
                            < (place.after_key, place.after_id, place.after_position)
                        and layover_matches(l, place)
                    order by l.usable_minutes desc, l.flight_id desc, l.position desc
                    limit place.page_size + 1
                )
                union all
                (
                    select l as layover, found.offer
                    from flight_layovers l
                    cross join lateral (
                        select row(o.*)::flight_offers as offer
                        from (table priced_offers union all table negotiated_offers) as o
                        where o.departure_day = place.departure_day
                            and o.id = l.flight_id
                            and place_offer_matches(row(o.*)::flight_offers, place, asked)
                        limit 1
                    ) as found
                    where l.enterprise_id = current_enterprise_id()
                        and l.airport = place.airport
                        and l.departure_day = place.departure_day
                        and (l.usable_minutes, l.flight_id, l.position)
                            < (place.after_key, place.after_id, place.after_position)
                        and layover_matches(l, place)
                    order by l.usable_minutes desc, l.flight_id desc, l.position desc
                    limit place.page_size + 1
                )
            ) as arms
            order by
                (arms.layover).usable_minutes desc, (arms.layover).flight_id desc,
                (arms.layover).position desc
            limit place.page_size + 1
        ) as page;
    else
        -- Prices are their offers': all that match are read, an offer a step, and sorted. As a
        -- plain join the planner would read all offers of the day instead.
        select
            array_agg(layover_json(page.layover, page.offer, asked)),
            array_agg((page.offer).price_minor),
            array_agg((page.layover).flight_id),
            array_agg((page.layover).position)
        into bodies, keys, ids, positions
        from (
            select arms.*
            from (
                select l as layover, found.offer
                from flight_layovers l
                cross join lateral (
                    select row(o.*)::flight_offers as offer
                    from shared_offers o
                    where o.departure_day = place.departure_day
                        and o.id = l.flight_id
                        and place_offer_matches(row(o.*)::flight_offers, place, asked)
                    limit 1
                ) as found
                where l.enterprise_id is null
                    and l.airport = place.airport
                    and l.departure_day = place.departure_day
                    and layover_matches(l, place)
                union all
                select l as layover, found.offer
                from flight_layovers l
                cross join lateral (
                    select row(o.*)::flight_offers as offer
                    from (table priced_offers union all table negotiated_offers) as o
                    where o.departure_day = place.departure_day
                        and o.id = l.flight_id
                        and place_offer_matches(row(o.*)::flight_offers, place, asked)
                    limit 1
                ) as found
                where l.enterprise_id = current_enterprise_id()
                    and l.airport = place.airport
                    and l.departure_day = place.departure_day
                    and layover_matches(l, place)
            ) as arms
            where ((arms.offer).price_minor, (arms.offer).id, (arms.layover).position)
                > (place.after_key, place.after_id, place.after_position)
            order by (arms.offer).price_minor, (arms.offer).id, (arms.layover).position
            limit place.page_size + 1
        ) as page;
    end if;
    return concat(
        '{"results":[',
        array_to_string(bodies[:place.page_size], ','),
        '],"next":',
        case when cardinality(bodies) > place.page_size
            then to_json(concat_ws(
                '.', place.cursor_prefix, keys[place.page_size], ids[place.page_size],
                positions[place.page_size]
            ))::text
            else 'null'
        end,
        '}'
    );
end
$$;
