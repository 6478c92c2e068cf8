-- What itineraries of several slices are put together from, called by apps.flights.itineraries:
-- a slice's offers page by page, and the offers that were chosen. Plans are kept, and callers'
-- rights hold, as with search_flights().

-- The next page_size offers of a slice, which has one day, in the order of their key, the price or the duration, and
-- then of their id; departures and arrivals are minutes since 1970.
create function public.slice_offers(asked public.flight_search)
returns table (key bigint, id uuid, departs bigint, arrives bigint)
language plpgsql stable
rows 100
set plan_cache_mode = force_generic_plan
set search_path = public, pg_temp
as $$
#variable_conflict use_column
begin
    if asked.sort = 'duration' then
        return query
            select
                o.duration_minutes::bigint, o.id,
                extract(epoch from o.departure_at)::bigint / 60,
                extract(epoch from o.arrival_at)::bigint / 60
            from flight_offers o
            where o.origin_airport = asked.origin
                and o.destination_airport = asked.destination
                and o.departure_day = asked.departure_days[1]
                and (o.duration_minutes::bigint, o.id) > (asked.after_key, asked.after_id)
                and offer_matches(o, asked)
            order by 1, 2
            limit asked.page_size;
        return;
    end if;
    -- Three walks along an index, as in search_flights().
    return query
        select arms.*
        from (
            (
                select
                    o.price_minor as key, o.id,
                    extract(epoch from o.departure_at)::bigint / 60,
                    extract(epoch from o.arrival_at)::bigint / 60
                from shared_offers o
                where o.origin_airport = asked.origin
                    and o.destination_airport = asked.destination
                    and o.departure_day = asked.departure_days[1]
                    and (o.price_minor, o.id) > (asked.after_key, asked.after_id)
                    and offer_matches(row(o.*)::flight_offers, asked)
                order by o.price_minor, o.id
                limit asked.page_size
            )
            union all
            (
                select
                    o.price_minor, o.id,
                    extract(epoch from o.departure_at)::bigint / 60,
                    extract(epoch from o.arrival_at)::bigint / 60
                from priced_offers o
                where o.origin_airport = asked.origin
                    and o.destination_airport = asked.destination
                    and o.departure_day = asked.departure_days[1]
                    and (o.price_minor, o.id) > (asked.after_key, asked.after_id)
                    and offer_matches(row(o.*)::flight_offers, asked)
                order by o.price_minor, o.id
                limit asked.page_size
            )
            union all
            (
                select
                    o.price_minor, o.id,
                    extract(epoch from o.departure_at)::bigint / 60,
                    extract(epoch from o.arrival_at)::bigint / 60
                from negotiated_offers o
                where o.origin_airport = asked.origin
                    and o.destination_airport = asked.destination
                    and o.departure_day = asked.departure_days[1]
                    and (o.price_minor, o.id) > (asked.after_key, asked.after_id)
                    and offer_matches(row(o.*)::flight_offers, asked)
                order by o.price_minor, o.id
                limit asked.page_size
            )
        ) as arms
        order by arms.key, arms.id
        limit asked.page_size;
end
$$;

-- The offers of one day with these ids, as answers hold them, in no order.
create function public.offers_by_id(asked public.flight_search, ids uuid[])
returns table (id uuid, body text)
language plpgsql stable
rows 100
set plan_cache_mode = force_generic_plan
set search_path = public, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        select o.id, offer_json(o, asked)
        from flight_offers o
        where o.departure_day = asked.departure_days[1] and o.id = any(ids);
end
$$;
