drop function public.on_time_share(text, double precision);
drop table public.arrival_delays;
