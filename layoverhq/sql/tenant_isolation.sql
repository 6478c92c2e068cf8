-- Row-level security by one function. Every table that holds tenants' rows calls it in the
-- migration that makes the table, in `public` and in every dedicated schema alike.

-- The enterprise of the running transaction; null outside of a tenant scope. After a local
-- setting ends PostgreSQL leaves '' behind, not null.
create function public.current_enterprise_id() returns uuid
language sql stable parallel safe
return nullif(current_setting('app.current_enterprise_id', true), '')::uuid;

-- Policies read it as a scalar subquery, which is evaluated once a query and not once a row.
-- `shared_rows` lets tenants read, and only read, the rows that belong to nobody.
create function public.enable_tenant_isolation(
    target regclass,
    tenant_column name default 'enterprise_id',
    shared_rows boolean default false
) returns void
language plpgsql
set search_path = public, pg_temp
as $$
begin
    execute format('alter table %s enable row level security, force row level security', target);
    execute format(
        'create policy tenant_isolation on %1$s for all to layoverhq_app'
        ' using (%2$I = (select public.current_enterprise_id()))'
        ' with check (%2$I = (select public.current_enterprise_id()))',
        target, tenant_column
    );
    execute format(
        'create policy operator_access on %s for all to layoverhq_operator, layoverhq_owner'
        ' using (true) with check (true)',
        target
    );
    if shared_rows then
        execute format(
            'create policy shared_rows on %s for select to layoverhq_app using (%I is null)',
            target, tenant_column
        );
    end if;
end
$$;

revoke execute on function public.enable_tenant_isolation(regclass, name, boolean) from public;

-- What every process asks before it serves. `role_breaks_rls` is true for a role that policies
-- do not bind, `role_sees_all` for one that they show every tenant's rows; `unguarded_tables` are
-- those with a tenant's column (the guide calls it tenant_id in system_configs) and no forced
-- policy.
create function public.tenant_isolation_state(
    out role_breaks_rls boolean,
    out role_sees_all boolean,
    out unguarded_tables text[]
)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
    select
        (select r.rolsuper or r.rolbypassrls from pg_roles r where r.rolname = session_user),
        pg_has_role(session_user, 'layoverhq_operator', 'member')
            or pg_has_role(session_user, 'layoverhq_owner', 'member'),
        (
            select coalesce(array_agg(c.oid::regclass::text order by c.oid::regclass::text), '{}')
            from pg_class c
            join pg_attribute a
                on a.attrelid = c.oid and a.attname in ('enterprise_id', 'tenant_id')
            where c.relkind in ('r', 'p')
                and not c.relispartition
                and not a.attisdropped
                and c.relnamespace::regnamespace::text not like 'pg\_%'
                and not (
                    c.relrowsecurity
                    and c.relforcerowsecurity
                    and exists (
                        select from pg_policy p
                        where p.polrelid = c.oid and p.polname = 'tenant_isolation'
                    )
                )
        );
end;
