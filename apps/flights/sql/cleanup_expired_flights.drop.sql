drop function public.cleanup_expired_flights(integer);
