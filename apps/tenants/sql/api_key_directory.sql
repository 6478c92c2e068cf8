-- API keys as every web process holds them in memory, and the trace of their use.

-- All keys that are not revoked, with what their enterprise allows. The runtime role cannot
-- read other tenants' keys; it gets hashes of random tokens here, from which nothing follows.
create function public.api_key_directory() returns table (
    id uuid,
    name text,
    prefix text,
    key_hash bytea,
    scopes text[],
    expires_at timestamptz,
    enterprise_id uuid,
    enterprise_status text,
    subscription_plan text,
    own_schema text
)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select
        k.id, k.name, k.prefix, k.key_hash, k.scopes::text[], k.expires_at,
        e.id, e.status, e.subscription_plan,
        case when e.isolation = 'dedicated' then e.schema_name else '' end
    from public.api_keys k
    join public.enterprises e on e.id = k.enterprise_id
    where k.revoked_at is null;
end;

revoke execute on function public.api_key_directory() from public;
grant execute on function public.api_key_directory() to layoverhq_app;

-- Notes that a key was used, at most once a minute; a row that another process is noting is
-- left to it.
create function public.touch_api_key(used uuid) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    update public.api_keys
    set last_used_at = now()
    where id = (
        select k.id
        from public.api_keys k
        where k.id = used
            and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute')
        for update skip locked
    );
end;

revoke execute on function public.touch_api_key(uuid) from public;
grant execute on function public.touch_api_key(uuid) to layoverhq_app;

select public.feed_snapshot(
    'public.api_keys', 'api_keys',
    '{enterprise_id,name,key_hash,scopes,expires_at,revoked_at}'
);
select public.feed_snapshot(
    'public.enterprises', 'api_keys',
    '{status,subscription_plan,isolation,schema_name,deleted_at}'
);
