-- What one euro was worth, by currency and day: the reference rates of the European Central Bank,
-- which it publishes on working days, and what operators entered. Reference data that belongs to no
-- tenant.

create table public.exchange_rates (
    -- Django's admin refuses models with a composite key
    id uuid not null default uuidv7() unique,
    currency text not null,
    rate_date date not null,
    per_euro numeric(20, 10) not null,
    source text not null,
    noted_at timestamptz not null default now(),
    primary key (currency, rate_date),
    constraint exchange_rates_currency_is_iso check (currency ~ '^[A-Z]{3}$' and currency <> 'EUR'),
    constraint exchange_rates_positive check (per_euro > 0),
    constraint exchange_rates_source_known check (source in ('ecb', 'file', 'manual'))
);

create index exchange_rates_day on public.exchange_rates (rate_date desc, currency);

grant select on public.exchange_rates to layoverhq_app;
grant select, insert, update, delete on public.exchange_rates to layoverhq_operator;

-- Every process knows the newest by heart.
select public.feed_snapshot('public.exchange_rates', 'exchange_rates');

-- By what offers in other currencies are found that are due for a newer rate.
create index flights_rate_date on public.flights (rate_date) where rate_date is not null;
create index enterprise_flights_rate_date on public.enterprise_flights (rate_date)
    where rate_date is not null;

-- When the central bank was asked, and what came of it.
create table public.exchange_rate_fetches (
    id uuid primary key default uuidv7(),
    address text not null,
    began_at timestamptz not null,
    -- the newest day that was told; null where nothing usable came
    newest_date date,
    changed integer not null default 0 check (changed >= 0),
    problem_code text not null default '',
    problem text not null default '',
    constraint exchange_rate_fetches_says_why check (
        (problem_code = '') = (newest_date is not null)
    )
);

grant select, insert, update, delete on public.exchange_rate_fetches to layoverhq_operator;

-- Prices standing offers anew whose rate is older than some days, a batch of them; returns how many
-- it wrote. `factors` has, for each currency, what turns its minor units into those of the base
-- currency, and `days` the day of that rate. Offers whose new rate is no newer are left alone, so
-- that to run it again changes nothing.
create function public.reprice_offers(
    older_than date,
    currencies text[],
    factors numeric[],
    days date[],
    batch integer
) returns integer
language plpgsql
set search_path = public, pg_temp
as $$
declare
    shared integer;
    negotiated integer;
begin
    with rate as (
        select * from unnest(currencies, factors, days) as r (currency, factor, day)
    ), chosen as (
        select f.departure_day, f.id, r.factor, r.day
        from flights f join rate r on r.currency = f.fare_currency
        where f.rate_date < older_than and f.rate_date < r.day and f.departure_day >= current_date
        limit batch
        for update of f skip locked
    )
    update flights f
    set price_minor = half_even(f.fare_minor * c.factor), rate_date = c.day
    from chosen c
    where f.departure_day = c.departure_day and f.id = c.id;
    get diagnostics shared = row_count;

    with rate as (
        select * from unnest(currencies, factors, days) as r (currency, factor, day)
    ), chosen as (
        select f.enterprise_id, f.id, r.factor, r.day
        from enterprise_flights f join rate r on r.currency = f.fare_currency
        where f.rate_date < older_than and f.rate_date < r.day
        limit batch
        for update of f skip locked
    )
    update enterprise_flights f
    set price_minor = half_even(f.fare_minor * c.factor), rate_date = c.day
    from chosen c
    where f.enterprise_id = c.enterprise_id and f.id = c.id;
    get diagnostics negotiated = row_count;
    return shared + negotiated;
end
$$;

-- The nearest whole number, and of two the even one, as a load rounds.
create function public.half_even(amount numeric) returns bigint
language sql immutable strict parallel safe
begin atomic
    select case
        when amount - floor(amount) = 0.5 then (2 * round(amount / 2))::bigint
        else round(amount)::bigint
    end;
end;

revoke execute on function public.reprice_offers(date, text[], numeric[], date[], integer)
    from public;
grant execute on function public.reprice_offers(date, text[], numeric[], date[], integer)
    to layoverhq_operator;
