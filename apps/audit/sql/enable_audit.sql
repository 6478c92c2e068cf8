-- The generic audit trigger and its enrolment. What differs between tables is the trigger's
-- argument: {"key": [...], "redacted": [...], "ignored": [...], "tenant": "enterprise_id",
-- "secret_value": "", "secret_when": ""}.

-- Replaces what must never be kept (hashes, secrets) by a mark; nulls stay null.
create function public.audit_redacted(record jsonb, columns jsonb) returns jsonb
language sql immutable
return record || coalesce(
    (
        select jsonb_object_agg(name, '[redacted]')
        from jsonb_array_elements_text(columns) as name
        where record ->> name is not null
    ),
    '{}'
);

-- The same for a column that is a secret in some rows only: where `flag` is true.
create function public.audit_masked(record jsonb, secret text, flag text) returns jsonb
language sql immutable
return case
    when record -> flag = 'true' and record -> secret <> 'null'
        then record || jsonb_build_object(secret, '[redacted]')
    else record
end;

create function public.audit_row_id(record jsonb, key_columns jsonb) returns text
language sql immutable
return case
    when record is null then null
    when jsonb_array_length(key_columns) = 1 then record ->> (key_columns ->> 0)
    else (
        select jsonb_object_agg(name, record -> name)::text
        from jsonb_array_elements_text(key_columns) as name
    )
end;

create function public.audit_trigger_function() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    options constant jsonb := tg_argv[0];
    before jsonb := case when tg_op in ('UPDATE', 'DELETE') then to_jsonb(old) end;
    after jsonb := case when tg_op in ('INSERT', 'UPDATE') then to_jsonb(new) end;
    known constant jsonb := coalesce(after, before);
    changed text[] := '{}';
begin
    if tg_op = 'UPDATE' then
        select coalesce(array_agg(key order by key), '{}') into changed
        from jsonb_each(after)
        where value is distinct from before -> key and not options -> 'ignored' ? key;
        if changed = '{}' then
            return null;
        end if;
    end if;
    insert into audit_log (
        table_name, operation, row_id, changed_columns, old_values, new_values,
        user_id, enterprise_id, ip_address, user_agent, request_id, reason
    ) values (
        case when tg_table_schema = 'public' then '' else tg_table_schema || '.' end || tg_table_name,
        tg_op,
        audit_row_id(known, options -> 'key'),
        changed,
        audit_masked(
            audit_redacted(before, options -> 'redacted'),
            options ->> 'secret_value', options ->> 'secret_when'
        ),
        audit_masked(
            audit_redacted(after, options -> 'redacted'),
            options ->> 'secret_value', options ->> 'secret_when'
        ),
        nullif(current_setting('app.current_user_id', true), '')::uuid,
        coalesce(
            (known ->> (options ->> 'tenant'))::uuid,
            nullif(current_setting('app.current_enterprise_id', true), '')::uuid
        ),
        nullif(current_setting('app.current_ip', true), '')::inet,
        nullif(current_setting('app.current_user_agent', true), ''),
        nullif(current_setting('app.request_id', true), ''),
        nullif(current_setting('app.reason', true), '')
    );
    return null;
end
$$;

-- Triggers fire without this privilege; with it, whoever may make a temporary table could write
-- events of their own invention.
revoke execute on function public.audit_trigger_function() from public;

-- Enrols a table. `redacted` columns never enter the trail, nor does `secret_value` of the rows
-- where the column `secret_when` is true; a change of `ignored` ones alone is no event;
-- `tenant_column` tells whose row it is.
create function public.enable_audit(
    target regclass,
    redacted text[] default '{}',
    ignored text[] default '{}',
    tenant_column text default 'enterprise_id',
    secret_value text default '',
    secret_when text default ''
) returns void
language plpgsql
set search_path = public, pg_temp
as $$
declare
    name constant text := (select relname from pg_class where oid = target);
    options constant text := jsonb_build_object(
        'key', (
            select jsonb_agg(a.attname order by k.position)
            from pg_index i
            cross join unnest(i.indkey) with ordinality as k (number, position)
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
            where i.indrelid = target and i.indisprimary
        ),
        'redacted', to_jsonb(redacted),
        'ignored', to_jsonb(ignored),
        'tenant', tenant_column,
        'secret_value', secret_value,
        'secret_when', secret_when
    );
begin
    execute format(
        'create trigger %I after insert or update or delete on %s'
        ' for each row execute function public.audit_trigger_function(%L)',
        name || '_audit', target, options
    );
    execute format(
        'create trigger %I after truncate on %s'
        ' for each statement execute function public.audit_trigger_function(%L)',
        name || '_audit_truncate', target, options
    );
end
$$;

revoke execute on function
    public.enable_audit(regclass, text[], text[], text, text, text) from public;

-- Notes that somebody read what is not for every eye: who, when, from where and why, and never
-- what it held.
create function public.audit_reading(read_table text, read_row text, read_tenant uuid)
returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    insert into public.audit_log (
        table_name, operation, row_id,
        user_id, enterprise_id, ip_address, user_agent, request_id, reason
    ) values (
        read_table, 'READ', read_row,
        nullif(current_setting('app.current_user_id', true), '')::uuid,
        read_tenant,
        nullif(current_setting('app.current_ip', true), '')::inet,
        nullif(current_setting('app.current_user_agent', true), ''),
        nullif(current_setting('app.request_id', true), ''),
        nullif(current_setting('app.reason', true), '')
    );
end;

revoke execute on function public.audit_reading(text, text, uuid) from public;
grant execute on function public.audit_reading(text, text, uuid) to layoverhq_operator;

-- Blanks what the trail kept of an erased enterprise's rows; who did what and when stays. Granted
-- to nobody: whoever knows that the enterprise is leaving calls it with the owner's rights.
create function public.erase_audit_values(erased uuid) returns bigint
language plpgsql
set search_path = public, pg_temp
as $$
declare
    blanked bigint;
begin
    update audit_log
    set old_values = null, new_values = null, ip_address = null, user_agent = null
    where enterprise_id = erased
        and table_name <> 'enterprises'
        and (old_values is not null or new_values is not null);
    get diagnostics blanked = row_count;
    return blanked;
end
$$;

revoke execute on function public.erase_audit_values(uuid) from public;
