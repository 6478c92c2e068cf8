drop function public.search_layovers(public.layover_search, public.flight_search);
drop function public.layover_json(
    public.flight_layovers, public.flight_offers, public.flight_search
);
drop function public.place_offer_matches(
    public.flight_offers, public.layover_search, public.flight_search
);
drop function public.layover_matches(public.flight_layovers, public.layover_search);
drop type public.layover_search;
