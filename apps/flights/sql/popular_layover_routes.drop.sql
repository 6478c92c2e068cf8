drop function public.stale_route_days(timestamptz);
drop function public.rank_layover_routes(text[], text[], timestamptz);
drop function public.refresh_route_day(date, timestamptz);
drop table public.popular_layover_routes;
drop table public.route_day_refreshes;
drop table public.route_days;
