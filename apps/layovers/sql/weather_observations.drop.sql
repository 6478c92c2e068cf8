drop function public.record_weather(jsonb);
drop function public.record_weather_failure(text[], text);
drop table public.weather_observations;
