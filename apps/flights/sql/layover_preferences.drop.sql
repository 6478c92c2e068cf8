drop table public.layover_preferences;
