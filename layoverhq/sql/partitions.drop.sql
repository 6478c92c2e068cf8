drop function public.maintain_partitions(date);
drop function public.ensure_month_partitions(text, date, date);
drop function public.month_partition_stands(text, timestamptz);
drop function public.create_month_partition(regclass, date);
drop table public.partition_policies;
