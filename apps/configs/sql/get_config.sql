-- What a key is for a tenant (null: for the platform). Callers see what their policies show
-- them: a tenant that asks for another one is told the platform's value.

-- Whether a staged release reaches a tenant: by name, or by its share of all tenants.
create function public.in_config_release(release uuid, percentage integer, tenant uuid)
returns boolean
language sql stable parallel safe
return public.rollout_bucket(release::text, tenant::text) < percentage * 100
    or exists (
        select from public.config_release_tenants t
        where t.change_set_id = release and t.enterprise_id = tenant
    );

-- Every value that stands, the one that holds first: the tenant's, a staged release's, the
-- platform's, the declared default.
create function public.config_layers(config_key text, tenant uuid)
returns table (precedence integer, layer text, value jsonb, config_id uuid, version integer)
language sql stable parallel safe
begin atomic
    select 1, 'tenant', c.value, c.id, c.version
    from public.system_configs c
    where c.key = config_key
        and coalesce(c.tenant_id, '00000000-0000-0000-0000-000000000000'::uuid) = tenant
        and c.tenant_id is not null
        and c.is_active
        and not c.unset
    union all
    select 2, 'release', c.value, c.id, c.version
    from public.system_configs c
    where c.key = config_key
        and c.status = 'staged'
        and tenant is not null
        and public.in_config_release(c.change_set_id, c.release_percentage, tenant)
    union all
    select 3, 'platform', c.value, c.id, c.version
    from public.system_configs c
    where c.key = config_key
        and coalesce(c.tenant_id, '00000000-0000-0000-0000-000000000000'::uuid)
            = '00000000-0000-0000-0000-000000000000'
        and c.is_active
        and not c.unset
    union all
    select 4, 'default', k.default_value, null, null
    from public.config_keys k
    where k.key = config_key and k.default_value is not null;
end;

-- The guide's question. A secret is answered sealed: only applications hold the keys. A key that
-- is not declared, or has neither value nor default, is null.
create function public.get_config(config_key text, tenant uuid default null) returns jsonb
language sql stable parallel safe
return (
    select l.value from public.config_layers(config_key, tenant) l order by l.precedence limit 1
);

grant execute on function
    public.in_config_release(uuid, integer, uuid),
    public.config_layers(text, uuid),
    public.get_config(text, uuid)
to layoverhq_app, layoverhq_operator;
