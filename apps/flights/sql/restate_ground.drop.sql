drop function public.restated_layovers(uuid, jsonb);
drop function public.store_staged_ground(date);
drop function public.open_ground_staging();
drop function public.stays_at(text, date);
