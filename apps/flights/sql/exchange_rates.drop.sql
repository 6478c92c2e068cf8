drop function public.reprice_offers(date, text[], numeric[], date[], integer);
drop function public.half_even(numeric);
drop index public.enterprise_flights_rate_date;
drop index public.flights_rate_date;
drop table public.exchange_rate_fetches;
drop table public.exchange_rates;
