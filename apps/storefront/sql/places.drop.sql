drop trigger places_snapshot on public.airports;
