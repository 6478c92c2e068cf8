-- Which processes run, and what they hold: each reports itself when it starts to follow
-- snapshots and every half minute. One that has not been heard of for a while is gone.

create table public.processes (
    id uuid primary key,
    kind text not null,
    host text not null,
    pid integer not null,
    started_at timestamptz not null,
    seen_at timestamptz not null,
    -- by snapshot: the version held, and what was pinned when the process started
    holds jsonb not null default '{}'
);

grant select on public.processes to layoverhq_operator;

create function public.report_process(
    id uuid, kind text, host text, pid integer, started_at timestamptz, holds jsonb
) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    delete from public.processes p where p.seen_at < now() - interval '1 day';
    insert into public.processes (id, kind, host, pid, started_at, seen_at, holds)
    values ($1, $2, $3, $4, $5, now(), $6)
    on conflict (id) do update set seen_at = now(), holds = excluded.holds;
end;

revoke execute on function
    public.report_process(uuid, text, text, integer, timestamptz, jsonb) from public;
grant execute on function
    public.report_process(uuid, text, text, integer, timestamptz, jsonb) to layoverhq_app;

-- A process that ends in order says so.
create function public.report_process_end(ended uuid) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    delete from public.processes p where p.id = ended;
end;

revoke execute on function public.report_process_end(uuid) from public;
grant execute on function public.report_process_end(uuid) to layoverhq_app;
