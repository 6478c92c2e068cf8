-- Airports by IATA code: reference data that belongs to no tenant.

create table public.airports (
    iata text primary key check (iata ~ '^[A-Z]{3}$'),
    name text not null,
    city text not null,
    subdivision text not null,
    country text not null check (country ~ '^[A-Z]{2}$'),
    latitude double precision not null check (latitude between -90 and 90),
    longitude double precision not null check (longitude between -180 and 180),
    time_zone text not null check (time_zone <> ''),
    is_active boolean not null default true,
    -- from the gate to the kerb, from there to the city, and to be back before a departure: an
    -- international traveller's; null where nobody has said
    exit_minutes smallint check (exit_minutes between 0 and 600),
    transfer_minutes smallint check (transfer_minutes between 0 and 600),
    buffer_minutes smallint check (buffer_minutes between 0 and 600)
);

grant select on public.airports to layoverhq_app;
grant select, insert, update on public.airports to layoverhq_operator;

-- Every process knows the airports by heart.
select public.feed_snapshot('public.airports', 'airports');
select public.feed_snapshot('public.airports', 'ground');
