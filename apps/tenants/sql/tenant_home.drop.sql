drop function public.enable_home_guard(regclass);
drop function public.guard_home();
drop function public.enter_home();
drop function public.home_lock(uuid);
