drop function public.store_staged_offers(date, text, boolean);
drop function public.open_offer_staging();
drop table public.inventory_loads;
