-- Whose storefront a host name is, as every web process holds it in memory.

-- All host names with what their enterprise allows. The runtime role cannot read other tenants'
-- domains; what it gets here stands on their public pages anyway. The suspended and departed are
-- in it too, so that their hosts lead nowhere and not to somebody else's pages.
create function public.site_directory() returns table (
    host text,
    enterprise_id uuid,
    enterprise_name text,
    enterprise_status text,
    subscription_plan text,
    own_schema text
)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select
        lower(d.domain), e.id, e.name, e.status, e.subscription_plan,
        case when e.isolation = 'dedicated' then e.schema_name else '' end
    from public.domains d
    join public.enterprises e on e.id = d.enterprise_id;
end;

revoke execute on function public.site_directory() from public;
grant execute on function public.site_directory() to layoverhq_app;

select public.feed_snapshot('public.domains', 'sites');
select public.feed_snapshot(
    'public.enterprises', 'sites',
    '{name,status,subscription_plan,isolation,schema_name,deleted_at}'
);
