-- The calendar behind GET /api/v1/flights/calendar: for each of the days the cheapest offer that
-- matches, null where there is none. Called by apps.flights.fare_calendar.price_calendar. A day costs
-- three walks along an index that end with the first match, so that a month reads some thirty
-- offers. Plans are kept, and callers' rights hold, as with search_flights().
create function public.price_calendar(asked public.flight_search, days date[]) returns text
language plpgsql stable
set plan_cache_mode = force_generic_plan
set search_path = public, pg_temp
as $$
declare
    answer text;
begin
    select json_agg(
        json_build_object(
            'date', calendar.day,
            'price_minor', best.told -> 'price_minor',
            'price_currency', best.told -> 'price_currency',
            'offer_id', best.told -> 'id',
            'seen_at', best.told -> 'seen_at'
        )
        order by calendar.day
    )::text
    into answer
    from unnest(days) as calendar (day)
    left join lateral (
        select offer_json(arms.offer, asked)::json as told
        from (
            (
                select row(o.*)::flight_offers as offer
                from shared_offers o
                where o.origin_airport = asked.origin
                    and o.destination_airport = asked.destination
                    and o.departure_day = calendar.day
                    and offer_matches(row(o.*)::flight_offers, asked)
                order by o.price_minor, o.id
                limit 1
            )
            union all
            (
                select row(o.*)::flight_offers as offer
                from priced_offers o
                where o.origin_airport = asked.origin
                    and o.destination_airport = asked.destination
                    and o.departure_day = calendar.day
                    and offer_matches(row(o.*)::flight_offers, asked)
                order by o.price_minor, o.id
                limit 1
            )
            union all
            (
                select row(o.*)::flight_offers as offer
                from negotiated_offers o
                where o.origin_airport = asked.origin
                    and o.destination_airport = asked.destination
                    and o.departure_day = calendar.day
                    and offer_matches(row(o.*)::flight_offers, asked)
                order by o.price_minor, o.id
                limit 1
            )
        ) as arms
        order by (arms.offer).price_minor, (arms.offer).id
        limit 1
    ) as best on true;
    return answer;
end
$$;
