-- Offers by departure day, one partition a month: shared inventory, which belongs to nobody,
-- and offers that a provider priced for one enterprise.
--
-- departure_day is the origin's own date: a search names a day, and a day's equality with price
-- order is served by one index walk. There is no foreign key to airports, because its check a row
-- would cost more than the load itself: loads compare with airports as a set.

create table public.flights (
    departure_at timestamptz not null,
    arrival_at timestamptz not null,
    price_minor bigint not null,
    seen_at timestamptz not null default now(),
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    departure_day date not null,
    duration_minutes integer not null,
    -- null, like the longest, where there is no layover: a range then matches no nonstop
    layover_min_minutes integer,
    layover_max_minutes integer,
    -- the most that one layover leaves for its city, and of that with daylight; null as above, and
    -- where it was never worked out
    usable_minutes integer,
    daylight_minutes integer,
    -- minutes after midnight on the origin's clock
    departure_minute smallint not null,
    layover_count smallint not null,
    -- whether parts of the offer are modelled, as all of the demo's are
    modelled boolean not null default false,
    -- of any layover: from one o'clock to five of a night; on tickets of one's own; to another
    -- terminal or airport
    overnight boolean not null default false,
    self_transfer boolean not null default false,
    terminal_change boolean not null default false,
    id uuid not null default uuidv7(),
    -- null: shared inventory
    enterprise_id uuid references public.enterprises (id),
    -- what makes two offers the same journey of the same provider
    search_hash uuid not null,
    provider text not null,
    origin_airport text not null,
    destination_airport text not null,
    price_currency text not null default 'USD',
    -- the lowest of the journey; empty where nobody says
    cabin text not null default '',
    -- what the provider named, where that was in another currency, and the rate's day
    fare_minor bigint,
    fare_currency text,
    rate_date date,
    carriers text[] not null default '{}',
    layover_airports text[] not null default '{}',
    layovers jsonb not null default '[]',
    -- what a traveller reads, in order, ready for the answer
    segments json not null,
    primary key (departure_day, id),
    constraint flights_provider_named check (provider <> ''),
    constraint flights_airports_are_iata check (
        origin_airport ~ '^[A-Z]{3}$' and destination_airport ~ '^[A-Z]{3}$'
    ),
    constraint flights_goes_somewhere check (origin_airport <> destination_airport),
    constraint flights_times_agree check (
        duration_minutes > 0
        and extract(epoch from arrival_at - departure_at) = duration_minutes * 60
    ),
    constraint flights_minute_of_day check (departure_minute between 0 and 1439),
    constraint flights_price_not_negative check (price_minor >= 0),
    constraint flights_fare_agrees check (
        (fare_minor is null) = (fare_currency is null)
        and (fare_minor is null) = (rate_date is null)
        and (fare_minor is null or fare_minor >= 0)
    ),
    constraint flights_cabin_known check (
        cabin in ('', 'economy', 'premium_economy', 'business', 'first')
    ),
    constraint flights_ground_minutes_agree check (
        usable_minutes between 0 and layover_max_minutes
        and daylight_minutes between 0 and layover_max_minutes
    ),
    -- Prices are ordered by minor units, which compares one currency only.
    constraint flights_price_in_usd check (price_currency = 'USD'),
    constraint flights_layovers_agree check (
        layover_count >= 0
        and cardinality(layover_airports) = layover_count
        and jsonb_array_length(layovers) = layover_count
        and json_array_length(segments) = layover_count + 1
        and (layover_count = 0) = (layover_min_minutes is null)
        and (layover_count = 0) = (layover_max_minutes is null)
    ),
    constraint flights_layover_minutes_agree check (
        layover_min_minutes >= 0
        and layover_max_minutes between layover_min_minutes and duration_minutes
    )
) partition by range (departure_day);

-- Shared and private offers have an index each, so that one tenant's millions of private offers
-- do not stand in the way of another's search. Under row-level security only leakproof operators
-- reach an index: equality of text, date and uuid, order of bigint and uuid, and comparisons of
-- rows of these are; && of arrays and jsonb_path_exists are not, and only filter what was found.
create index flights_shared_search on public.flights
    (origin_airport, destination_airport, departure_day, price_minor, id)
    where enterprise_id is null;

create index flights_private_search on public.flights
    (enterprise_id, origin_airport, destination_airport, departure_day, price_minor, id)
    where enterprise_id is not null;

create index flights_expiry on public.flights (expires_at);

select public.enable_tenant_isolation('public.flights', shared_rows => true);

grant select on public.flights to layoverhq_app;
grant select, insert, update, delete on public.flights to layoverhq_operator;

-- Offers that an enterprise negotiated for itself: the same columns, spread by enterprise.
create table public.enterprise_flights (
    like public.flights including defaults including constraints,
    primary key (enterprise_id, id),
    foreign key (enterprise_id) references public.enterprises (id)
) partition by hash (enterprise_id);

create index enterprise_flights_search on public.enterprise_flights
    (enterprise_id, origin_airport, destination_airport, departure_day, price_minor, id);

-- By what an import finds the offers that stand already; the demo makes its own.
create unique index enterprise_flights_journey on public.enterprise_flights
    (enterprise_id, search_hash)
    where not modelled;

create index enterprise_flights_expiry on public.enterprise_flights (expires_at);

do $$
begin
    for remainder in 0..7 loop
        execute format(
            'create table public.enterprise_flights_h%s partition of public.enterprise_flights'
            ' for values with (modulus 8, remainder %s)',
            remainder, remainder
        );
    end loop;
end
$$;

select public.enable_tenant_isolation('public.enterprise_flights');

grant select on public.enterprise_flights to layoverhq_app;
grant select, insert, update, delete on public.enterprise_flights to layoverhq_operator;
