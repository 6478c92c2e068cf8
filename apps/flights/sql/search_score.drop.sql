drop function public.score_explanation(
    text, public.offer_components, public.flight_search, bigint, integer
);
drop function public.offer_components_of(
    public.flight_offers, public.flight_search, bigint, integer
);
drop function public.components_of(
    smallint, text[], jsonb, integer, integer, integer, timestamptz, integer, bigint,
    public.flight_search, bigint, integer
);
drop function public.score_tenths(public.offer_components, public.flight_search);
drop function public.weighted_score(public.offer_components, public.flight_search);
drop function public.known_weight(public.offer_components, public.flight_search);
drop function public.on_time_share_of(public.arrival_delays, double precision);
drop type public.offer_components;
