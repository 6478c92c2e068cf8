drop view public.partition_indexes;
drop view public.partition_sizes;
