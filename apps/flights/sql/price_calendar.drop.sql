drop function public.price_calendar(public.flight_search, date[]);
