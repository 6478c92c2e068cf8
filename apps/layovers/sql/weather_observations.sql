-- The weather of each hour at the airports that travellers ask for, as its source saw or foresaw
-- it last. Reference data that belongs to no tenant.

create table public.weather_observations (
    airport_code text not null references public.airports (iata),
    hour timestamptz not null,
    temperature_tenths smallint not null check (temperature_tenths between -1000 and 700),
    precipitation_tenths smallint not null check (precipitation_tenths between 0 and 5000),
    wind_kmh smallint not null check (wind_kmh between 0 and 500),
    cloud_percent smallint not null check (cloud_percent between 0 and 100),
    weather_code smallint not null check (weather_code between 0 and 99),
    source text not null check (source <> '' and length(source) <= 50),
    fetched_at timestamptz not null,
    primary key (airport_code, hour),
    constraint weather_observations_hour_is_whole check (date_trunc('hour', hour, 'UTC') = hour)
);

create index weather_observations_hour on public.weather_observations (hour);

grant select on public.weather_observations to layoverhq_app;
grant select, delete on public.weather_observations to layoverhq_operator;

-- Stores what a source answered: a list of {"airport", "source", "hours": [{"hour" in seconds
-- since 1970, "temperature_tenths", …}]}. An airport's version rises where a value is another one.
-- Called by whoever asked the source, the runtime role too: weather is nobody's own.
create function public.record_weather(observed jsonb) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    with answers as (
        select a.airport, a.source, a.hours
        from jsonb_to_recordset(observed) as a (airport text, source text, hours jsonb)
    ), written as (
        insert into public.weather_observations as w (
            airport_code, hour, temperature_tenths, precipitation_tenths, wind_kmh,
            cloud_percent, weather_code, source, fetched_at
        )
        select
            a.airport, to_timestamp(h.hour), h.temperature_tenths, h.precipitation_tenths,
            h.wind_kmh, h.cloud_percent, h.weather_code, a.source, now()
        from answers a
        cross join jsonb_to_recordset(a.hours) as h (
            hour bigint, temperature_tenths smallint, precipitation_tenths smallint,
            wind_kmh smallint, cloud_percent smallint, weather_code smallint
        )
        order by a.airport, h.hour
        on conflict (airport_code, hour) do update set
            temperature_tenths = excluded.temperature_tenths,
            precipitation_tenths = excluded.precipitation_tenths,
            wind_kmh = excluded.wind_kmh,
            cloud_percent = excluded.cloud_percent,
            weather_code = excluded.weather_code,
            source = excluded.source,
            fetched_at = excluded.fetched_at
        returning w.airport_code, (
            old.temperature_tenths, old.precipitation_tenths, old.wind_kmh,
            old.cloud_percent, old.weather_code
        ) is distinct from (
            new.temperature_tenths, new.precipitation_tenths, new.wind_kmh,
            new.cloud_percent, new.weather_code
        ) as is_changed
    )
    insert into public.layover_inputs as i (airport_code, weather_version, weather_fetched_at)
    select airport_code, 1, now() from written group by airport_code order by airport_code
    on conflict (airport_code) do update set
        weather_version = i.weather_version + (
            select bool_or(is_changed) from written where written.airport_code = i.airport_code
        )::integer,
        weather_fetched_at = excluded.weather_fetched_at,
        weather_problem = '';
end;

revoke execute on function public.record_weather(jsonb) from public;
grant execute on function public.record_weather(jsonb) to layoverhq_app, layoverhq_operator;

-- Notes that a source had no weather for these airports, so that nobody asks again at once.
create function public.record_weather_failure(airports text[], problem text) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    insert into public.layover_inputs (airport_code, weather_failed_at, weather_problem)
    select distinct airport, now(), left(problem, 300) from unnest(airports) as airport order by 1
    on conflict (airport_code) do update set
        weather_failed_at = excluded.weather_failed_at,
        weather_problem = excluded.weather_problem;
end;

revoke execute on function public.record_weather_failure(text[], text) from public;
grant execute on function
    public.record_weather_failure(text[], text) to layoverhq_app, layoverhq_operator;
