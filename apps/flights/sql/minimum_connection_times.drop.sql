drop function public.minimum_connection_minutes(text, text, text, text, text, text);
drop function public.fitting_connection_times(text, text, text, text, text, text);
drop table public.minimum_connection_times;
