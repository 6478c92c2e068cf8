drop function public.store_provider_offers(uuid);
drop function public.withdraw_provider_offers(public.provider_fetches, text);
drop index public.flights_journey;
