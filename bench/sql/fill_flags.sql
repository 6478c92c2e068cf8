-- The flags of the benchmarks: bench.half, bench.conditions and bench.nearly_all are evaluated,
-- bench.followed is killed and revived, and %(bulk)s that tenants may ask for are answered at once,
-- of each six two plain rollouts, two with conditions, one switch and one text of three.
insert into feature_flags (
    name, enabled, rollout_percentage, conditions, value_type, variants, on_variant, off_variant,
    allocations, salt, tenant_visible
)
select
    'bench.' || f.name, true, f.percentage,
    case when f.conditional then %(conditions)s::jsonb else '{}' end,
    case when f.text then 'string' else 'boolean' end,
    case
        when f.text then '[
            {"key": "control", "value": "grey"},
            {"key": "first", "value": "blue"},
            {"key": "second", "value": "green"}
        ]'
        else '[{"key": "on", "value": true}, {"key": "off", "value": false}]'
    end::jsonb,
    case when f.text then 'first' else 'on' end,
    case when f.text then 'control' else 'off' end,
    case
        when f.text then '{
            "control": [[0, 4000]], "first": [[4000, 7000]], "second": [[7000, 10000]]
        }'
        else '{}'
    end::jsonb,
    md5(f.name), f.visible
from (
    values
        ('half', 50, false, false, false),
        ('conditions', 50, true, false, false),
        ('nearly_all', 99, true, false, false),
        ('followed', 100, false, false, false)
    union all
    select
        'bulk_' || lpad(n::text, 4, '0'),
        case when n %% 6 < 4 then 50 else 100 end,
        n %% 6 in (2, 3),
        n %% 6 = 5,
        true
    from generate_series(1, %(bulk)s::integer) as n
) as f (name, percentage, conditional, text, visible);
