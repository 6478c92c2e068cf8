-- Every offer that the caller may buy, from three places: whatever reads them names the enterprise,
-- so that each is found by an index of its own. They run with their caller's rights, so that
-- policies bind them; without a tenant they hold shared offers only.

create view public.shared_offers with (security_invoker = true) as
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, fare_minor, fare_currency, rate_date, origin_airport, destination_airport,
    layover_count, layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes,
    overnight, self_transfer, terminal_change, carriers, cabin, layover_airports, layovers,
    segments, provider, modelled, seen_at, expires_at,
    false as private
from public.flights
where enterprise_id is null;

-- Offers that a provider priced for the caller's enterprise.
create view public.priced_offers with (security_invoker = true) as
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, fare_minor, fare_currency, rate_date, origin_airport, destination_airport,
    layover_count, layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes,
    overnight, self_transfer, terminal_change, carriers, cabin, layover_airports, layovers,
    segments, provider, modelled, seen_at, expires_at,
    true as private
from public.flights
where enterprise_id = public.current_enterprise_id();

-- Offers that the caller's enterprise negotiated.
create view public.negotiated_offers with (security_invoker = true) as
select
    id, departure_day, departure_at, arrival_at, departure_minute, duration_minutes, price_minor,
    price_currency, fare_minor, fare_currency, rate_date, origin_airport, destination_airport,
    layover_count, layover_min_minutes, layover_max_minutes, usable_minutes, daylight_minutes,
    overnight, self_transfer, terminal_change, carriers, cabin, layover_airports, layovers,
    segments, provider, modelled, seen_at, expires_at,
    true as private
from public.enterprise_flights
where enterprise_id = public.current_enterprise_id();

-- Every offer that the caller may buy.
create view public.flight_offers with (security_invoker = true) as
table public.shared_offers
union all
table public.priced_offers
union all
table public.negotiated_offers;

grant select
    on public.shared_offers, public.priced_offers, public.negotiated_offers, public.flight_offers
    to layoverhq_app, layoverhq_operator;
