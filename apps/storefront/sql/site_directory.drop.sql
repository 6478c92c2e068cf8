drop trigger sites_snapshot on public.enterprises;
drop trigger sites_snapshot on public.domains;
drop function public.site_directory();
