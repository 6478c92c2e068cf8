-- How often a flag answered what, by the hour in which processes told of it. No foreign key: the
-- counts are of what code asked for.

create table public.flag_evaluations (
    hour timestamptz not null check (hour = date_trunc('hour', hour, 'UTC')),
    flag text not null,
    -- '' where the answer had none
    variant text not null,
    reason text not null,
    hits bigint not null check (hits > 0),
    last_at timestamptz not null,
    primary key (flag, hour, variant, reason)
) partition by range (hour);

grant select on public.flag_evaluations to layoverhq_operator;

insert into public.partition_policies (parent, months_ahead, months_kept)
values ('flag_evaluations', 3, 13);

select public.ensure_month_partitions(
    'flag_evaluations', current_date, (current_date + interval '3 months')::date
);

-- Adds what a process counted: [{"flag", "variant", "reason", "hits"}]. In order, so that two
-- processes never wait for each other.
create function public.record_flag_evaluations(counted jsonb) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    insert into flag_evaluations as e (hour, flag, variant, reason, hits, last_at)
    select date_trunc('hour', now(), 'UTC'), c.flag, c.variant, c.reason, sum(c.hits), now()
    from jsonb_to_recordset(counted) as c (flag text, variant text, reason text, hits bigint)
    where c.hits > 0
    group by c.flag, c.variant, c.reason
    order by c.flag, c.variant, c.reason
    on conflict (flag, hour, variant, reason) do update set
        hits = e.hits + excluded.hits,
        last_at = excluded.last_at;
end;

revoke execute on function public.record_flag_evaluations(jsonb) from public;
grant execute on function public.record_flag_evaluations(jsonb) to layoverhq_app;
