-- Itineraries that we compose ourselves of nonstops: for which city pairs in any case, and what
-- came of a day. Offers of a day and this ledger change in one transaction.

create table public.composed_routes (
    id uuid primary key default uuidv7(),
    origin text not null references public.airports (iata),
    destination text not null references public.airports (iata),
    is_active boolean not null default true,
    -- why the pair is asked for
    note text not null,
    version integer not null default 1,
    constraint composed_routes_go_somewhere check (origin <> destination),
    constraint composed_routes_once unique (origin, destination)
);

grant select, insert, update on public.composed_routes to layoverhq_operator;

create table public.composed_days (
    -- by the calendar of the first origin
    day date primary key,
    -- what the nonstops were that it was composed of; another one means that it is to be repaired
    legs_digest text not null,
    legs integer not null,
    -- pairs of flights that were looked at, whether or not one can change between them
    pairs bigint not null,
    -- city pairs that were asked for, and those that got offers
    routes_asked integer not null,
    routes integer not null,
    offers integer not null,
    inserted integer not null,
    updated integer not null,
    deleted integer not null,
    seconds double precision not null,
    composed_at timestamptz not null default now(),
    constraint composed_days_count check (
        least(legs, pairs, routes_asked, routes, offers, inserted, updated, deleted, seconds) >= 0
    )
);

grant select, insert, update, delete on public.composed_days to layoverhq_operator;

-- The nonstops of a few days, without the month's other offers.
create index flights_legs on public.flights (departure_day)
    where layover_count = 0 and enterprise_id is null;

-- What a day has of ours, to compare with.
create index flights_composed on public.flights (departure_day, search_hash)
    where provider = 'layoverhq-composed' and enterprise_id is null;
