drop function public.store_composed_offers(date);
drop function public.open_composed_staging(date);
