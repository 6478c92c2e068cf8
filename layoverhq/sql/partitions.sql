-- Monthly range partitions, made ahead and dropped behind. An app registers its parent table
-- in partition_policies; the scheduled task calls maintain_partitions().

create table public.partition_policies (
    parent text primary key,
    months_ahead integer not null check (months_ahead between 1 and 60),
    -- null keeps them for ever
    months_kept integer check (months_kept >= 0)
);

comment on table public.partition_policies is
    'Parents of monthly partitions: how many months to make ahead and to keep behind.';

-- Keeping stays with the owner: a shorter one would drop the audit trail.
grant select, update (months_ahead) on public.partition_policies to layoverhq_operator;

-- Makes `<parent>_y2026m03` unless it stands; returns its name if it made it. Attaching takes a
-- weaker lock on the parent than `create table … partition of`. Partitions are granted to
-- nobody: one that is addressed directly would bypass its parent's policy.
create function public.create_month_partition(parent regclass, month date) returns text
language plpgsql
set search_path = public, pg_temp
set timezone = 'UTC'
set lock_timeout = '5s'
as $$
declare
    first_day constant date := date_trunc('month', month);
    next_first_day constant date := first_day + interval '1 month';
    family record;
    child text;
begin
    select c.relname, n.nspname into family
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = parent;
    child := family.relname || to_char(first_day, '"_y"YYYY"m"MM');
    if to_regclass(format('%I.%I', family.nspname, child)) is not null then
        return null;
    end if;
    execute format('create table %I.%I (like %s including all)', family.nspname, child, parent);
    execute format(
        'alter table %s attach partition %I.%I for values from (%L) to (%L)',
        parent, family.nspname, child, first_day, next_first_day
    );
    return child;
end
$$;

revoke execute on function public.create_month_partition(regclass, date) from public;

-- Whether a parent has the partition of an instant: what has none is refused with all that comes with
-- it, and functions that take many rows leave it out beforehand.
create function public.month_partition_stands(parent text, at timestamptz) returns boolean
language sql stable
set search_path = public, pg_temp
begin atomic
    select case
        when at is not null then to_regclass(
            format('public.%I', parent || to_char(at at time zone 'UTC', '"_y"YYYY"m"MM'))
        ) is not null
    end;
end;

revoke execute on function public.month_partition_stands(text, timestamptz) from public;

-- Makes the partitions of a registered parent for every month that the days touch.
create function public.ensure_month_partitions(parent text, from_date date, to_date date)
returns setof text
language plpgsql
security definer
set search_path = public, pg_temp
as $$
begin
    if not exists (select from partition_policies p where p.parent = $1) then
        raise exception 'table % is not in partition_policies', parent;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('layoverhq.partitions', 0));
    return query
        select made.name
        from generate_series(date_trunc('month', from_date), to_date, '1 month') as month
        cross join lateral create_month_partition(to_regclass(parent), month::date) as made (name)
        where made.name is not null;
end
$$;

revoke execute on function public.ensure_month_partitions(text, date, date) from public;
grant execute on function public.ensure_month_partitions(text, date, date) to layoverhq_operator;

-- Brings every registered parent to its policy, as of the day given; says what it did.
create function public.maintain_partitions(anchor date default current_date)
returns table (action text, partition text)
language plpgsql
security definer
set search_path = public, pg_temp
set timezone = 'UTC'
set lock_timeout = '5s'
as $$
declare
    policy partition_policies;
    expired text;
begin
    for policy in select * from partition_policies order by parent loop
        return query
            select 'created', made
            from ensure_month_partitions(
                policy.parent,
                anchor,
                (anchor + make_interval(months => policy.months_ahead))::date
            ) as made;
        continue when policy.months_kept is null;
        for expired in
            select child.relname
            from pg_inherits i
            join pg_class child on child.oid = i.inhrelid
            where i.inhparent = to_regclass(policy.parent)
                and child.relname ~ '_y\d{4}m\d{2}$'
                and to_date(right(child.relname, 7), 'YYYY"m"MM')
                    < date_trunc('month', anchor) - make_interval(months => policy.months_kept)
            order by child.relname
        loop
            execute format('drop table public.%I', expired);
            action := 'dropped';
            partition := expired;
            return next;
        end loop;
    end loop;
end
$$;

revoke execute on function public.maintain_partitions(date) from public;
grant execute on function public.maintain_partitions(date) to layoverhq_operator;
