drop table public.provider_rejects;
drop table public.provider_fetches;
drop table public.provider_routes;
drop table public.flight_providers;
