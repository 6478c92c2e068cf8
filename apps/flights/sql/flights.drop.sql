drop table public.enterprise_flights;
drop table public.flights;
