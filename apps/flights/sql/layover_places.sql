-- What a search needs to know of the cities where layovers are, beside the airports: written by
-- whoever keeps the sights and the weather, read for every offer that is ranked by its score.
-- Reference data that belongs to no tenant.

-- How much a city has to offer for so many usable hours, 0 to 16, from 0 (nothing) to 100.
create table public.layover_places (
    airport text primary key references public.airports (iata),
    appeal smallint[] not null,
    updated_at timestamptz not null default now(),
    constraint layover_places_appeal_by_hour check (
        array_ndims(appeal) = 1 and cardinality(appeal) = 17 and array_lower(appeal, 1) = 1
        and 0 <= all (appeal) and 100 >= all (appeal)
    )
);

grant select on public.layover_places to layoverhq_app;
grant select, insert, update, delete on public.layover_places to layoverhq_operator;

-- How pleasant an hour is outdoors, from 0 to 100, as it was last observed or forecast.
create table public.layover_weather (
    airport text not null references public.airports (iata),
    hour timestamptz not null,
    comfort smallint not null,
    observed_at timestamptz not null,
    primary key (airport, hour),
    constraint layover_weather_full_hour check (hour = date_trunc('hour', hour, 'UTC')),
    constraint layover_weather_comfort_percent check (comfort between 0 and 100)
);

create index layover_weather_hour on public.layover_weather (hour);

grant select on public.layover_weather to layoverhq_app;
grant select, insert, update, delete on public.layover_weather to layoverhq_operator;
