drop trigger api_keys_snapshot on public.enterprises;
drop trigger api_keys_snapshot on public.api_keys;
drop function public.touch_api_key(uuid);
drop function public.api_key_directory();
