drop function public.forget_snapshot_changes(timestamptz);
drop function public.snapshot_changes_since(text, bigint);
drop function public.feed_snapshot(regclass, text, name[]);
drop function public.notify_snapshot();
drop function public.raise_snapshot(text, boolean);
drop table public.snapshot_changes;
drop table public.snapshot_versions;
