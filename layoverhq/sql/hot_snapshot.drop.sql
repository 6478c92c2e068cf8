drop function public.feed_snapshot(regclass, text, name[]);
drop function public.notify_snapshot();
drop table public.snapshot_versions;
