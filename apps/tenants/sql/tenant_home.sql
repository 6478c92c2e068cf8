-- Where the rows of the apps live that can have an own schema: in `public`, or in the enterprise's
-- own. A move from one to the other holds the enterprise's lock alone, everybody else shares it,
-- so that nobody reads or writes while rows are in two places.

create function public.home_lock(tenant uuid) returns bigint
language sql immutable
return hashtextextended('home of ' || tenant::text, 0);

-- Enters the home of the running scope's enterprise until its transaction ends, and returns the own
-- schema, empty if there is none. A caller that has not yet heard of a move is led to where the
-- rows are. Waits while rows move, and then fails with lock_not_available.
create function public.enter_home() returns text
language plpgsql
set lock_timeout = '2s'
as $$
declare
    tenant constant uuid := public.current_enterprise_id();
    home text;
begin
    perform pg_advisory_xact_lock_shared(public.home_lock(tenant));
    -- A statement of its own sees what was committed while the lock was awaited.
    select case when e.isolation = 'dedicated' then e.schema_name else '' end
    into home
    from public.enterprises e
    where e.id = tenant;
    perform set_config(
        'search_path', case when home = '' then 'public' else format('%I, public', home) end, true
    );
    return home;
end
$$;

-- Refuses what a scope writes where its enterprise does not live: code that never asked for the
-- home. What moves the rows is no scope.
create function public.guard_home() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
declare
    home constant text := (
        select case when e.isolation = 'dedicated' then e.schema_name else 'public' end
        from enterprises e
        where e.id = new.enterprise_id
    );
begin
    if home <> tg_table_schema then
        raise exception 'enterprise % lives in %, not in %', new.enterprise_id, home,
            tg_table_schema
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end
$$;

create function public.enable_home_guard(target regclass) returns void
language plpgsql
set search_path = public, pg_temp
as $$
begin
    execute format(
        'create trigger home_guard before insert or update on %s for each row'
        ' when (current_user = ''layoverhq_app'') execute function public.guard_home()',
        target
    );
end
$$;

revoke execute on function public.enable_home_guard(regclass) from public;
