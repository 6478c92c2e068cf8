drop function public.offers_by_id(public.flight_search, uuid[]);
drop function public.slice_offers(public.flight_search);
