-- Operators change these from here on; the migration's own rows are not news.

select public.enable_audit('public.minimum_connection_times');
select public.enable_audit('public.composed_routes');
