drop function public.get_config(text, uuid);
drop function public.config_layers(text, uuid);
drop function public.in_config_release(uuid, integer, uuid);
