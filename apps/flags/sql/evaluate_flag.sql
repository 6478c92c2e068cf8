-- What a flag is for a context: docs/flags.md has the order of decision, apps.flags.evaluation the
-- same in Python. Tenants ask through these functions and read no flag table.

-- What is bucketed: a text as it is, a number as digits, nothing else.
create function public.flag_unit(context jsonb, attribute text) returns text
language plpgsql immutable parallel safe
as $$
declare
    value constant jsonb := public.flag_attribute(context, attribute);
begin
    if jsonb_typeof(value) = 'string' then
        return value #>> '{}';
    end if;
    return public.flag_number_text(value);
end
$$;

-- The variant whose ranges of buckets hold the unit; null where none do.
create function public.flag_allocated(allocations jsonb, salt text, unit text) returns text
language sql immutable parallel safe
return (
    select a.variant
    from jsonb_each(allocations) as a (variant, ranges)
    cross join jsonb_array_elements(a.ranges) as r (ends)
    where public.rollout_bucket(salt || ':variant', unit) >= (r.ends ->> 0)::integer
        and public.rollout_bucket(salt || ':variant', unit) < (r.ends ->> 1)::integer
    limit 1
);

-- One expression without a query, which its callers take in instead of calling it.
create function public.flag_answer(
    flag public.feature_flags, variant text, reason text, rule text
) returns jsonb
language sql stable parallel safe
return jsonb_build_object(
    'variant', variant,
    'value', jsonb_path_query_first(
        flag.variants, '$[*] ? (@.key == $key).value', jsonb_build_object('key', variant)
    ),
    'reason', reason,
    'rule', rule
);

-- The variant that an override names: true and false are the flag's on and off.
create function public.flag_overridden(flag public.feature_flags, override jsonb) returns text
language sql immutable parallel safe
return case
    when override = 'true' then flag.on_variant
    when override = 'false' then flag.off_variant
    when jsonb_typeof(override) = 'string' then (
        select v ->> 'key'
        from jsonb_array_elements(flag.variants) as v
        where v -> 'key' = override
    )
end;

-- Whether every flag that this one stands on answers one of the variants asked for.
create function public.flag_prerequisites_hold(
    flag public.feature_flags, context jsonb, nesting integer
) returns boolean
language plpgsql stable
as $$
declare
    prerequisite jsonb;
begin
    for prerequisite in select jsonb_array_elements(flag.prerequisites) loop
        if nesting >= 10 or not coalesce(
            prerequisite -> 'variants'
                ? (public.evaluate_flag(prerequisite ->> 'flag', context, nesting + 1)
                    ->> 'variant'),
            false
        ) then
            return false;
        end if;
    end loop;
    return true;
end
$$;

-- Whether the flag's namespace gives the unit to it.
create function public.flag_in_namespace(flag public.feature_flags, unit text) returns boolean
language sql stable
return coalesce(
    (
        select public.rollout_bucket(n.salt, unit) >= flag.namespace_low
            and public.rollout_bucket(n.salt, unit)
                < least(flag.namespace_high, 10000 - n.holdout)
        from public.flag_namespaces n
        where n.id = flag.namespace_id
    ),
    false
);

-- What a rule, or the flag's own rollout, answers; null where it does not apply.
create function public.flag_rule_answer(
    flag public.feature_flags, context jsonb, unit text, conditions jsonb, rollout integer,
    variant text, allocations jsonb, rule text
) returns jsonb
language plpgsql stable
as $$
declare
    weighed constant boolean := allocations <> '{}';
    chosen text := variant;
begin
    if rollout < 10000 and (
        unit is null or public.rollout_bucket(flag.salt || ':rollout', unit) >= rollout
    ) then
        return null;
    end if;
    if weighed then
        chosen := public.flag_allocated(allocations, flag.salt, unit);
        if chosen is null then
            return null;
        end if;
    end if;
    if conditions <> '{}' and not public.flag_condition_matches(conditions, context) then
        return null;
    end if;
    return public.flag_answer(
        flag,
        chosen,
        case
            when weighed or rollout < 10000 then 'SPLIT'
            when rule is null and conditions = '{}' then 'STATIC'
            else 'TARGETING_MATCH'
        end,
        rule
    );
end
$$;

-- {"variant", "value", "reason", "rule"}; for an unknown flag or a context that is no object
-- {"reason": "ERROR", "error_code"} with nulls besides.
create function public.evaluate_flag(flag_name text, context jsonb, nesting integer default 0)
returns jsonb
language plpgsql stable
security definer
set search_path = public, pg_temp
as $$
declare
    flag feature_flags;
    unit text;
    chosen text;
    rule jsonb;
    answer jsonb;
begin
    select * into flag from feature_flags f where f.name = flag_name;
    if not found or jsonb_typeof(context) is distinct from 'object' then
        return jsonb_build_object(
            'variant', null, 'value', null, 'reason', 'ERROR', 'rule', null, 'error_code',
            case when flag.id is null then 'FLAG_NOT_FOUND' else 'INVALID_CONTEXT' end
        );
    end if;
    if flag.is_killed or flag.is_archived or not flag.enabled then
        return flag_answer(flag, flag.off_variant, 'DISABLED', null);
    end if;
    if flag.prerequisites <> '[]' and not flag_prerequisites_hold(flag, context, nesting) then
        return flag_answer(flag, flag.off_variant, 'DISABLED', 'prerequisites');
    end if;
    if flag.tenant_overrides ? (context ->> 'enterprise') then
        chosen := flag_overridden(flag, flag.tenant_overrides -> (context ->> 'enterprise'));
        if chosen is not null and jsonb_typeof(context -> 'enterprise') = 'string' then
            return flag_answer(flag, chosen, 'TARGETING_MATCH', 'tenant_overrides');
        end if;
    end if;
    if flag.user_overrides ? (context ->> 'user') then
        chosen := flag_overridden(flag, flag.user_overrides -> (context ->> 'user'));
        if chosen is not null and jsonb_typeof(context -> 'user') = 'string' then
            return flag_answer(flag, chosen, 'TARGETING_MATCH', 'user_overrides');
        end if;
    end if;
    unit := flag_unit(context, flag.bucketing_unit);
    if flag.namespace_id is not null and not flag_in_namespace(flag, unit) then
        return flag_answer(flag, flag.off_variant, 'SPLIT', 'namespace');
    end if;
    for position in 0 .. jsonb_array_length(flag.rules) - 1 loop
        rule := flag.rules -> position;
        answer := flag_rule_answer(
            flag, context, unit, rule -> 'conditions', (rule ->> 'rollout')::integer,
            rule ->> 'variant', coalesce(rule -> 'allocations', '{}'), rule ->> 'id'
        );
        exit when answer is not null;
    end loop;
    return coalesce(
        answer,
        flag_rule_answer(
            flag, context, unit, flag.conditions, flag.rollout_percentage * 100,
            flag.on_variant, flag.allocations, null
        ),
        flag_answer(flag, flag.off_variant, 'DEFAULT', null)
    );
end
$$;

revoke execute on function public.evaluate_flag(text, jsonb, integer) from public;
grant execute on function public.evaluate_flag(text, jsonb, integer)
to layoverhq_app, layoverhq_operator;

-- The guide's question: whether a switch is on, and whether any other flag answers something else
-- than its off variant. False for an unknown flag.
create function public.is_feature_enabled(
    flag_name text, user_id uuid default null, tenant_id uuid default null
) returns boolean
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select coalesce(
        (
            select case f.value_type
                when 'boolean' then e.answer -> 'value' = 'true'
                else e.answer ->> 'variant' <> f.off_variant
            end
            from feature_flags f
            cross join lateral evaluate_flag(
                f.name,
                jsonb_strip_nulls(jsonb_build_object('user', user_id, 'enterprise', tenant_id))
            ) as e (answer)
            where f.name = flag_name
        ),
        false
    );
end;

revoke execute on function public.is_feature_enabled(text, uuid, uuid) from public;
grant execute on function public.is_feature_enabled(text, uuid, uuid)
to layoverhq_app, layoverhq_operator;
