-- The providers that offers are pulled from, what is pulled, and what came of each fetch. Tenants
-- read none of it; rows with an enterprise are of offers that a provider prices for it alone.

create table public.flight_providers (
    id uuid primary key default uuidv7(),
    -- what its offers are known by
    name text not null constraint flight_providers_name_once unique,
    kind text not null,
    base_url text not null,
    -- empty: the plan is followed
    pause_reason text not null default '',
    -- null in a pause: until somebody resumes
    paused_until timestamptz,
    -- the lower, the earlier it is asked
    priority smallint not null default 100,
    -- null: unbounded
    quota_per_minute integer,
    quota_per_day integer,
    -- ISO 3166-1 alpha-2, or empty
    market text not null default '',
    currency text not null default 'USD',
    last_success_at timestamptz,
    last_error_at timestamptz,
    last_error text not null default '',
    consecutive_failures integer not null default 0,
    -- it said to come back then
    retry_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint flight_providers_name_shape check (name ~ '^[a-z0-9][a-z0-9._-]{0,49}$'),
    constraint flight_providers_kind_known check (kind in ('amadeus', 'duffel', 'kiwi')),
    constraint flight_providers_address check (base_url ~ '^https?://[^/?#]+$'),
    constraint flight_providers_pause_has_a_reason
        check (paused_until is null or pause_reason <> ''),
    constraint flight_providers_quotas_positive
        check (quota_per_minute >= 1 and quota_per_day >= 1),
    constraint flight_providers_market_is_iso check (market ~ '^([A-Z]{2})?$'),
    constraint flight_providers_currency_is_iso check (currency ~ '^[A-Z]{3}$')
);

grant select, insert, update, delete on public.flight_providers to layoverhq_operator;

-- One of each kind; until it has credentials and a plan it asks nobody anything.
insert into public.flight_providers (name, kind, base_url, quota_per_minute, quota_per_day)
values
    ('amadeus', 'amadeus', 'https://test.api.amadeus.com', 60, 1000),
    ('duffel', 'duffel', 'https://api.duffel.com', 60, 1000),
    ('kiwi', 'kiwi', 'https://api.tequila.kiwi.com', 60, 1000);

select public.enable_audit(
    'public.flight_providers',
    ignored => '{last_success_at,last_error_at,last_error,consecutive_failures,retry_at,updated_at}'
);

-- The pull plan: routes, how many days ahead, and how often.
create table public.provider_routes (
    id uuid primary key default uuidv7(),
    provider_id uuid not null references public.flight_providers (id) on delete cascade,
    -- null: for the shared inventory
    enterprise_id uuid references public.enterprises (id),
    origin text not null references public.airports (iata),
    destination text not null references public.airports (iata),
    -- from tomorrow on, by the origin's calendar
    days_ahead smallint not null,
    every_minutes integer not null,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint provider_routes_once
        unique nulls not distinct (provider_id, origin, destination, enterprise_id),
    constraint provider_routes_go_somewhere check (origin <> destination),
    constraint provider_routes_days check (days_ahead between 1 and 330),
    constraint provider_routes_interval check (every_minutes between 15 and 10080)
);

create index provider_routes_buyer on public.provider_routes (enterprise_id)
    where enterprise_id is not null;

select public.enable_tenant_isolation('public.provider_routes');
grant select, insert, update, delete on public.provider_routes to layoverhq_operator;
select public.enable_audit('public.provider_routes', ignored => '{updated_at}');

-- A fetch is one answer for one route and day. Once it is done, what stands of that provider, route
-- and day (and enterprise) is what this answer said, so that its time is how fresh each of those
-- offers is (offer_confirmations has the last one's).
create table public.provider_fetches (
    id uuid primary key default uuidv7(),
    provider_id uuid not null references public.flight_providers (id) on delete cascade,
    enterprise_id uuid references public.enterprises (id),
    origin text not null,
    destination text not null,
    day date not null,
    status text not null,
    -- sent to the provider, repeated ones counted
    requests integer not null default 0,
    inserted integer not null default 0,
    updated integer not null default 0,
    unchanged integer not null default 0,
    -- stood before, and are not in the answer
    withdrawn integer not null default 0,
    -- the same journey and fare again, not cheaper
    duplicates integer not null default 0,
    rejected integer not null default 0,
    error_code text not null default '',
    error text not null default '',
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint provider_fetches_status_known
        check (status in ('queued', 'running', 'done', 'failed')),
    constraint provider_fetches_failed_says_why check ((status = 'failed') = (error_code <> '')),
    constraint provider_fetches_finished
        check ((status in ('done', 'failed')) = (finished_at is not null))
);

create index provider_fetches_journey on public.provider_fetches
    (provider_id, origin, destination, day, started_at);
create index provider_fetches_log on public.provider_fetches (provider_id, created_at);
create index provider_fetches_age on public.provider_fetches (created_at);
create index provider_fetches_open on public.provider_fetches (created_at)
    where status in ('queued', 'running');
create index provider_fetches_buyer on public.provider_fetches (enterprise_id)
    where enterprise_id is not null;

select public.enable_tenant_isolation('public.provider_fetches');
grant select, insert, update, delete on public.provider_fetches to layoverhq_operator;

-- What could not be used of an answer. It goes with its fetch, and so with the enterprise.
create table public.provider_rejects (
    id uuid primary key default uuidv7(),
    fetch_id uuid not null references public.provider_fetches (id) on delete cascade,
    -- in the answer, from 0
    position integer not null check (position >= 0),
    reason text not null check (reason <> ''),
    field text not null,
    detail text not null,
    excerpt text not null,
    constraint provider_rejects_position_once unique (fetch_id, position)
);

grant select, insert, update, delete on public.provider_rejects to layoverhq_operator;
