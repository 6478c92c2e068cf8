drop table public.airports;
