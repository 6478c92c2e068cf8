drop function public.warm_popular_caches(date, integer, integer, integer);
