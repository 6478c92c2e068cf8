drop function public.erase_offboarded_trail(uuid);
