-- The way in for what we compose ourselves: a whole day is staged, then compared with what stands.
-- Both run in one transaction, so that a day stands whole or as it was.

create function public.open_composed_staging(composed_day date) returns void
language plpgsql
set client_min_messages = warning
as $$
begin
    perform public.ensure_month_partitions('flights', composed_day, composed_day);
    perform public.ensure_month_partitions('flight_layovers', composed_day, composed_day);
    perform public.open_import_staging();
    alter table pg_temp.imported_offers
        add column modelled boolean not null,
        add column seen_at timestamptz not null;
end
$$;

-- Makes the day's composed offers those that are staged: the ones that are no longer composed go,
-- the ones that stand as they are staged are not written. Of the same journey the id stays.
create function public.store_composed_offers(
    composed_day date,
    out inserted integer,
    out updated integer,
    out deleted integer
)
language plpgsql
set search_path = public, pg_temp
as $$
begin
    analyze pg_temp.imported_offers;

    with gone as (
        delete from flights f
        where f.departure_day = composed_day
            and f.provider = 'layoverhq-composed'
            and f.enterprise_id is null
            and not exists (
                select from pg_temp.imported_offers s where s.search_hash = f.search_hash
            )
        returning f.id
    ), places as (
        delete from flight_layovers l
        using gone
        where l.departure_day = composed_day and l.flight_id = gone.id
    )
    select count(*) into deleted from gone;

    with merged as (
        merge into flights f
        using pg_temp.imported_offers s
        on f.departure_day = composed_day
            and f.search_hash = s.search_hash
            and f.provider = 'layoverhq-composed'
            and f.enterprise_id is null
        when matched and (
            (f.price_minor, f.fare_minor, f.fare_currency, f.expires_at, f.modelled, f.layovers,
                f.segments::text)
            is distinct from (s.price_minor, s.fare_minor, s.fare_currency, s.expires_at,
                s.modelled, s.layovers, s.segments::text)
        ) then update set
            price_minor = s.price_minor, fare_minor = s.fare_minor,
            fare_currency = s.fare_currency, rate_date = s.rate_date, expires_at = s.expires_at,
            modelled = s.modelled, seen_at = s.seen_at, terminal_change = s.terminal_change,
            usable_minutes = (select max(m) from unnest(s.layover_usable) as m),
            daylight_minutes = (select max(m) from unnest(s.layover_daylight) as m),
            overnight = true = any (s.layover_overnight), layovers = s.layovers,
            segments = s.segments
        when not matched then insert (
            search_hash, provider, departure_at, arrival_at, expires_at, departure_day,
            departure_minute, duration_minutes, price_minor, price_currency, fare_minor,
            fare_currency, rate_date, origin_airport, destination_airport, layover_count,
            layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes, overnight,
            self_transfer, terminal_change, carriers, cabin, layover_airports, layovers, segments,
            modelled, seen_at
        ) values (
            s.search_hash, s.provider, s.departure_at, s.arrival_at, s.expires_at,
            s.departure_day, s.departure_minute, s.duration_minutes, s.price_minor,
            s.price_currency, s.fare_minor, s.fare_currency, s.rate_date, s.origin_airport,
            s.destination_airport, cardinality(s.layover_airports),
            (select min(m) from unnest(s.layover_minutes) as m),
            (select max(m) from unnest(s.layover_minutes) as m),
            (select max(m) from unnest(s.layover_usable) as m),
            (select max(m) from unnest(s.layover_daylight) as m),
            true = any (s.layover_overnight), s.self_transfer, s.terminal_change, s.carriers,
            s.cabin, s.layover_airports, s.layovers, s.segments, s.modelled, s.seen_at
        )
        returning merge_action() as action, f.id, s.layover_airports, s.layover_minutes,
            s.layover_usable, s.layover_daylight, s.layover_overnight
    ), places as (
        -- An update moves no layover, but what it leaves for the city may have changed.
        insert into flight_layovers as l (
            departure_day, flight_id, position, airport, minutes, usable_minutes,
            daylight_minutes, overnight
        )
        select
            composed_day, m.id, stop.position, stop.airport, stop.minutes, stop.usable,
            stop.daylight, stop.overnight
        from merged m
        cross join lateral unnest(
            m.layover_airports, m.layover_minutes, m.layover_usable, m.layover_daylight,
            m.layover_overnight
        ) with ordinality as stop (airport, minutes, usable, daylight, overnight, position)
        on conflict (departure_day, flight_id, position) do update set
            usable_minutes = excluded.usable_minutes,
            daylight_minutes = excluded.daylight_minutes,
            overnight = excluded.overnight
    )
    select
        count(*) filter (where m.action = 'INSERT'),
        count(*) filter (where m.action = 'UPDATE')
    into inserted, updated
    from merged m;
end
$$;

revoke execute on function public.open_composed_staging(date) from public;
revoke execute on function public.store_composed_offers(date) from public;
grant execute on function public.open_composed_staging(date) to layoverhq_operator;
grant execute on function public.store_composed_offers(date) to layoverhq_operator;
