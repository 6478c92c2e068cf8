-- Which day of whose inventory stands, and the way in: COPY into a temporary table (COPY FROM is
-- refused on tables with row-level security), then one insert for the whole day. The ledger's row
-- is written by the same transaction as the offers, so a half-loaded day cannot exist.

create table public.inventory_loads (
    id uuid primary key default uuidv7(),
    day date not null,
    provider text not null check (provider <> ''),
    offers integer not null check (offers >= 0),
    layovers integer not null check (layovers >= 0),
    loaded_at timestamptz not null default now(),
    constraint inventory_loads_day_once unique (day, provider)
);

grant select, insert, delete on public.inventory_loads to layoverhq_operator;

-- Opens the staging table for this transaction. Times are minutes since 1970 in UTC.
create function public.open_offer_staging() returns void
language plpgsql
set client_min_messages = warning
as $$
begin
    create temporary table staged_offers (
        id uuid not null default uuidv7(),
        departs bigint not null,
        arrives bigint not null,
        departure_minute smallint not null,
        price_minor bigint not null,
        origin_airport text not null,
        destination_airport text not null,
        layover_min_minutes integer,
        layover_max_minutes integer,
        usable_minutes integer,
        daylight_minutes integer,
        overnight boolean not null default false,
        self_transfer boolean not null default false,
        terminal_change boolean not null default false,
        carriers text[] not null default '{}',
        layover_airports text[] not null,
        layover_minutes integer[] not null,
        -- of each layover
        layover_usable integer[] not null default '{}',
        layover_daylight integer[] not null default '{}',
        layover_overnight boolean[] not null default '{}',
        layovers jsonb not null,
        segments json not null
    ) on commit drop;
end
$$;

-- Moves the staged offers of one departure day into the shared inventory and enters the day in
-- the ledger. Fails if the day stands already, or if no partition takes it. Offers expire when
-- they depart.
create function public.store_staged_offers(
    stored_day date,
    offer_provider text,
    is_modelled boolean,
    out offers integer,
    out layovers integer
)
language plpgsql
as $$
declare
    stranger text;
begin
    select code into stranger
    from (
        select distinct origin_airport from pg_temp.staged_offers
        union
        select distinct destination_airport from pg_temp.staged_offers
    ) as named (code)
    where not exists (select from public.airports a where a.iata = code);
    if found then
        raise exception 'staged offers name an unknown airport: %', stranger
            using errcode = 'foreign_key_violation';
    end if;

    insert into public.flights (
        departure_at, arrival_at, price_minor, expires_at, departure_day, duration_minutes,
        layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes, overnight,
        self_transfer, terminal_change, departure_minute, layover_count, modelled, id, search_hash,
        provider, origin_airport, destination_airport, carriers, layover_airports, layovers,
        segments
    )
    select
        to_timestamp(s.departs * 60), to_timestamp(s.arrives * 60), s.price_minor,
        to_timestamp(s.departs * 60), stored_day, s.arrives - s.departs,
        s.layover_min_minutes, s.layover_max_minutes, s.usable_minutes, s.daylight_minutes,
        s.overnight, s.self_transfer, s.terminal_change, s.departure_minute,
        cardinality(s.layover_airports), is_modelled, s.id,
        md5(offer_provider || s.segments::text)::uuid, offer_provider, s.origin_airport,
        s.destination_airport, s.carriers, s.layover_airports, s.layovers, s.segments
    from pg_temp.staged_offers s;
    get diagnostics offers = row_count;

    insert into public.flight_layovers (
        departure_day, flight_id, position, airport, minutes, usable_minutes, daylight_minutes,
        overnight
    )
    select
        stored_day, s.id, l.position, l.airport, l.minutes, l.usable, l.daylight,
        coalesce(l.overnight, false)
    from pg_temp.staged_offers s
    cross join lateral unnest(
        s.layover_airports, s.layover_minutes, s.layover_usable, s.layover_daylight,
        s.layover_overnight
    ) with ordinality as l (airport, minutes, usable, daylight, overnight, position)
    where l.airport is not null;
    get diagnostics layovers = row_count;

    insert into public.inventory_loads (day, provider, offers, layovers)
    values (stored_day, offer_provider, store_staged_offers.offers, store_staged_offers.layovers);
end
$$;

revoke execute on function public.open_offer_staging() from public;
revoke execute on function public.store_staged_offers(date, text, boolean) from public;
grant execute on function public.open_offer_staging() to layoverhq_operator;
grant execute on function public.store_staged_offers(date, text, boolean) to layoverhq_operator;
