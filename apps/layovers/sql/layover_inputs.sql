-- What analyses at an airport are made from, as versions that rise with each change. Every process
-- holds them in memory, so that a kept analysis that is outdated is known as such without a query.

create table public.layover_inputs (
    airport_code text primary key references public.airports (iata),
    experiences_version bigint not null default 0,
    weather_version bigint not null default 0,
    -- what operators declared void, whatever its inputs
    invalidations bigint not null default 0,
    weather_fetched_at timestamptz,
    weather_failed_at timestamptz,
    weather_problem text not null default '' check (length(weather_problem) <= 300)
);

grant select on public.layover_inputs to layoverhq_app;
grant select, insert, update on public.layover_inputs to layoverhq_operator;

select public.feed_snapshot('public.layover_inputs', 'layover_inputs');

-- People raise `invalidations`; the others rise by themselves, every few minutes.
select public.enable_audit(
    'public.layover_inputs',
    ignored => '{experiences_version,weather_version,weather_fetched_at,weather_failed_at,weather_problem}'
);
