drop function public.negotiate_demo_offers(uuid, text, text[], text[], integer);
