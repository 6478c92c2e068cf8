-- Synthetic keys %(first)s up to %(last)s, each with a platform value and an override of each of
-- %(overrides)s tenants: of ten keys four are numbers, three texts, two switches, one an object.
-- Triggers are off, hence versions and declarations by hand.
insert into config_keys (
    key, value_type, schema, default_value, description, category, requires_restart, is_secret,
    tenant_visible, tenant_overridable, version, updated_at
)
select
    'bench.key_' || lpad(n::text, 6, '0'),
    kind.value_type,
    kind.schema,
    kind.default_value,
    'Synthetic',
    'runtime',
    false,
    false,
    true,
    true,
    1,
    now()
from generate_series(%(first)s::bigint, %(last)s::bigint - 1) as n,
    lateral (
        select
            case
                when n %% 10 < 4 then 'number'
                when n %% 10 < 7 then 'string'
                when n %% 10 < 9 then 'boolean'
                else 'json'
            end as value_type
    ) as typed,
    lateral (
        select
            typed.value_type,
            case typed.value_type
                when 'number' then '{"type": "integer", "minimum": 0}'
                when 'string' then '{"type": "string", "maxLength": 100}'
                when 'boolean' then '{}'
                else '{"required": ["low", "high"]}'
            end::jsonb as schema,
            case typed.value_type
                when 'number' then '0'
                when 'string' then '""'
                when 'boolean' then 'false'
                else '{"low": 0, "high": 0}'
            end::jsonb as default_value
    ) as kind;

insert into system_configs (
    key, tenant_id, value, value_type, description, category, requires_restart, is_secret,
    status, version, activated_at
)
select
    k.key,
    tenant.id,
    case k.value_type
        when 'number' then to_jsonb(drawn %% 100000)
        when 'string' then to_jsonb('value-' || md5(drawn::text))
        when 'boolean' then to_jsonb(drawn %% 2 = 0)
        else jsonb_build_object('low', drawn %% 100, 'high', 100 + drawn %% 1000)
    end,
    k.value_type,
    k.description,
    k.category,
    k.requires_restart,
    k.is_secret,
    'active',
    1,
    now()
from config_keys k
cross join (
    select null::uuid as id
    union all
    select e.id
    from generate_series(1, %(overrides)s) as n
    join enterprises e on e.slug = 'bench-' || n
) as tenant
cross join lateral (
    select abs(hashtextextended(k.key || coalesce(tenant.id::text, ''), 0)::numeric)::bigint
        as drawn
) as hashed
where k.key >= 'bench.key_' || lpad(%(first)s::text, 6, '0')
    and k.key < 'bench.key_' || lpad(%(last)s::text, 6, '0')
