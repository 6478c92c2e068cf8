drop table public.layover_weather;
drop table public.layover_places;
