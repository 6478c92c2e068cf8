drop function public.search_flights(public.flight_search);
drop function public.offer_json(public.flight_offers);
drop function public.offer_matches(public.flight_offers, public.flight_search);
drop type public.flight_search;
drop view public.flight_offers;
drop view public.negotiated_offers;
drop view public.priced_offers;
drop view public.shared_offers;
