-- How the answer of a provider becomes what stands of it. The caller has filled the staging tables
-- of open_import_staging() in this transaction, and has the partitions made.

-- By what an answer finds the offers that stand; the demo's have no part in it. A unique index on a
-- partitioned table has to hold the partition key. An offer of one enterprise stands beside the
-- shared one.
create unique index flights_journey on public.flights
    (departure_day, search_hash, enterprise_id) nulls not distinct
    where not modelled;

-- Of one journey and fare the cheapest counts. Offers that stand as they are answered are not
-- written; those that the answer leaves out expire now, which searches see at once, and the
-- clean-up deletes them. Fails if the enterprise, if any, is leaving; the lock keeps it.
create function public.store_provider_offers(
    fetch_id uuid,
    out inserted integer,
    out updated integer,
    out unchanged integer,
    out withdrawn integer,
    out duplicates integer
)
language plpgsql
set search_path = public, pg_temp
as $$
declare
    f provider_fetches;
    seller text;
    staged integer;
begin
    select * into strict f from provider_fetches where id = fetch_id;
    select name into strict seller from flight_providers where id = f.provider_id;
    if f.enterprise_id is not null then
        perform from enterprises
        where id = f.enterprise_id and status in ('active', 'suspended') for share;
        if not found then
            raise exception 'enterprise % takes no offers', f.enterprise_id
                using errcode = 'object_not_in_prerequisite_state';
        end if;
    end if;
    -- One answer after another for the same shelf.
    perform pg_advisory_xact_lock(hashtextextended(
        concat_ws(' ', 'provider offers', seller, f.origin, f.destination, f.day, f.enterprise_id),
        0
    ));

    delete from pg_temp.imported_offers o
    using (
        select line, row_number() over (partition by search_hash order by price_minor, line) as place
        from pg_temp.imported_offers
    ) as ranked
    where o.line = ranked.line and ranked.place > 1;
    get diagnostics duplicates = row_count;

    analyze pg_temp.imported_offers;
    select count(*) into staged from pg_temp.imported_offers;

    with merged as (
        merge into flights e
        using pg_temp.imported_offers s
        on e.departure_day = f.day and e.search_hash = s.search_hash
            and e.enterprise_id is not distinct from f.enterprise_id and not e.modelled
        when matched and (
            (e.price_minor, e.fare_minor, e.fare_currency, e.expires_at, e.layovers, e.segments::text)
                is distinct from (
                    s.price_minor, s.fare_minor, s.fare_currency, s.expires_at, s.layovers,
                    s.segments::text
                )
        ) then update set
            price_minor = s.price_minor, fare_minor = s.fare_minor,
            fare_currency = s.fare_currency, rate_date = s.rate_date, expires_at = s.expires_at,
            usable_minutes = (select max(m) from unnest(s.layover_usable) as m),
            daylight_minutes = (select max(m) from unnest(s.layover_daylight) as m),
            self_transfer = s.self_transfer, terminal_change = s.terminal_change,
            layovers = s.layovers, segments = s.segments, seen_at = now()
        when not matched then insert (
            enterprise_id, search_hash, provider, departure_at, arrival_at, expires_at,
            departure_day, departure_minute, duration_minutes, price_minor, price_currency,
            fare_minor, fare_currency, rate_date, origin_airport, destination_airport,
            layover_count, layover_min_minutes, layover_max_minutes, usable_minutes,
            daylight_minutes, overnight, self_transfer, terminal_change, carriers, cabin,
            layover_airports, layovers, segments
        ) values (
            f.enterprise_id, s.search_hash, s.provider, s.departure_at, s.arrival_at, s.expires_at,
            f.day, s.departure_minute, s.duration_minutes, s.price_minor,
            s.price_currency, s.fare_minor, s.fare_currency, s.rate_date, s.origin_airport,
            s.destination_airport, cardinality(s.layover_airports),
            (select min(m) from unnest(s.layover_minutes) as m),
            (select max(m) from unnest(s.layover_minutes) as m),
            (select max(m) from unnest(s.layover_usable) as m),
            (select max(m) from unnest(s.layover_daylight) as m),
            (true = any(s.layover_overnight)), s.self_transfer, s.terminal_change, s.carriers,
            s.cabin, s.layover_airports, s.layovers, s.segments
        )
        returning merge_action() as action, e.id, s.layover_airports, s.layover_minutes,
            s.layover_usable, s.layover_daylight, s.layover_overnight
    ), places as (
        -- Times and places are part of what makes an offer the same, and an update moves none; what
        -- of a layover can be spent changes with what is known of its airport.
        insert into flight_layovers as stands (
            enterprise_id, departure_day, flight_id, position, airport, minutes, usable_minutes,
            daylight_minutes, overnight
        )
        select
            f.enterprise_id, f.day, m.id, l.position, l.airport, l.minutes, l.usable, l.daylight,
            l.overnight
        from merged m
        cross join lateral unnest(
            m.layover_airports, m.layover_minutes, m.layover_usable, m.layover_daylight,
            m.layover_overnight
        ) with ordinality as l (airport, minutes, usable, daylight, overnight, position)
        on conflict (departure_day, flight_id, position) do update set
            usable_minutes = excluded.usable_minutes,
            daylight_minutes = excluded.daylight_minutes
        where (stands.usable_minutes, stands.daylight_minutes)
            is distinct from (excluded.usable_minutes, excluded.daylight_minutes)
    )
    select
        count(*) filter (where m.action = 'INSERT'),
        count(*) filter (where m.action = 'UPDATE')
    into inserted, updated
    from merged m;
    unchanged := staged - inserted - updated;
    withdrawn := withdraw_provider_offers(f, seller);
    insert into offer_confirmations as c (
        provider, origin, destination, day, enterprise_id, confirmed_at
    ) values (seller, f.origin, f.destination, f.day, f.enterprise_id, now())
    on conflict (provider, origin, destination, day, enterprise_id)
        do update set confirmed_at = excluded.confirmed_at;
end
$$;

-- Ends the offers of a fetch's shelf that are not staged; returns how many.
create function public.withdraw_provider_offers(f public.provider_fetches, seller text)
returns integer
language plpgsql
set search_path = public, pg_temp
as $$
declare
    withdrawn integer;
begin
    with standing as (
        -- Each half has its own index, which the null of the other could not use.
        select id, search_hash, provider, modelled, expires_at
        from flights
        where f.enterprise_id is null and enterprise_id is null
            and origin_airport = f.origin and destination_airport = f.destination
            and departure_day = f.day
        union all
        select id, search_hash, provider, modelled, expires_at
        from flights
        where enterprise_id = f.enterprise_id
            and origin_airport = f.origin and destination_airport = f.destination
            and departure_day = f.day
    )
    update flights e
    set expires_at = now()
    from standing
    where e.departure_day = f.day and e.id = standing.id
        and standing.provider = seller
        and not standing.modelled
        and standing.expires_at > now()
        and not exists (
            select from pg_temp.imported_offers s where s.search_hash = standing.search_hash
        );
    get diagnostics withdrawn = row_count;
    return withdrawn;
end
$$;

revoke execute on function public.store_provider_offers(uuid) from public;
revoke execute on function public.withdraw_provider_offers(public.provider_fetches, text)
    from public;
grant execute on function public.store_provider_offers(uuid) to layoverhq_operator;
grant execute on function public.withdraw_provider_offers(public.provider_fetches, text)
    to layoverhq_operator;
