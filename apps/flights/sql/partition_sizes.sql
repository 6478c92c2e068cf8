-- What operators see of partitions: sizes from the file system, everything else as the last
-- analyse and the statistics have it. Nothing is counted.
create view public.partition_sizes with (security_invoker = true) as
select
    child.relname::text as name,
    parent.relname::text as parent,
    pg_get_expr(child.relpartbound, child.oid) as bounds,
    case when child.reltuples >= 0 then child.reltuples::bigint end as estimated_rows,
    s.n_dead_tup as dead_rows,
    pg_table_size(child.oid) as table_bytes,
    pg_indexes_size(child.oid) as index_bytes,
    greatest(s.last_vacuum, s.last_autovacuum) as vacuumed_at,
    greatest(s.last_analyze, s.last_autoanalyze) as analysed_at
from pg_inherits i
join pg_class parent on parent.oid = i.inhparent
join pg_class child on child.oid = i.inhrelid
left join pg_stat_all_tables s on s.relid = child.oid
where parent.relnamespace = 'public'::regnamespace and child.relkind = 'r';

create view public.partition_indexes with (security_invoker = true) as
select
    s.relname::text as partition,
    s.indexrelname::text as name,
    parent.relname::text as parent,
    pg_relation_size(s.indexrelid) as bytes,
    s.idx_scan as scans,
    s.last_idx_scan as last_scan_at,
    pg_get_indexdef(s.indexrelid) as definition
from pg_stat_all_indexes s
join pg_class child on child.oid = s.relid and child.relispartition
left join pg_inherits i on i.inhrelid = s.indexrelid
left join pg_class parent on parent.oid = i.inhparent
where s.schemaname = 'public';

grant select on public.partition_sizes, public.partition_indexes to layoverhq_operator;
