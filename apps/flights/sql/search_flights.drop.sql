drop function public.search_flights(public.flight_search);
drop function public.search_emptied(public.flight_search, jsonb);
drop function public.explained_offer(public.flight_offers, public.flight_search, bigint, integer);
drop function public.offer_json(public.flight_offers, public.flight_search, numeric, json);
drop function public.last_seen_at(public.flight_offers);
