drop view public.flight_offers;
drop view public.negotiated_offers;
drop view public.priced_offers;
drop view public.shared_offers;
