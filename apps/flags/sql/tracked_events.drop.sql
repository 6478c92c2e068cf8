drop function public.record_api_usage(jsonb);
drop function public.record_tracked_events(jsonb);
delete from public.partition_policies where parent = 'tracked_events';
drop table public.tracked_events;
