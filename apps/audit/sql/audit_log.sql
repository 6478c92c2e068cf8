-- The audit trail: one row for every row that people's tables gain, change or lose, with both
-- versions of it. Written by triggers alone, as the owner; nobody else may write it at all.

create table public.audit_log (
    id uuid not null default uuidv7(),
    at timestamptz not null default clock_timestamp(),
    table_name text not null,
    operation text not null check (
        operation in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'READ')
    ),
    -- the primary key as text; a JSON object where it has several columns
    row_id text,
    changed_columns text[] not null default '{}',
    old_values jsonb,
    new_values jsonb,
    -- no foreign keys: the trail outlives what it tells of
    user_id uuid,
    enterprise_id uuid,
    ip_address inet,
    user_agent text,
    request_id text,
    reason text,
    database_role text not null default session_user,
    primary key (id, at)
) partition by range (at);

create index audit_log_at on public.audit_log (at desc, id desc);
create index audit_log_row on public.audit_log (table_name, row_id, at desc);
create index audit_log_enterprise on public.audit_log (enterprise_id, at desc);
create index audit_log_user on public.audit_log (user_id, at desc);

select public.enable_tenant_isolation('public.audit_log');
grant select on public.audit_log to layoverhq_app, layoverhq_operator;

insert into public.partition_policies (parent, months_ahead, months_kept)
values ('audit_log', 3, null);

select public.ensure_month_partitions(
    'audit_log', current_date, (current_date + interval '3 months')::date
);
