drop index public.flights_composed;
drop index public.flights_legs;
drop table public.composed_days;
drop table public.composed_routes;
