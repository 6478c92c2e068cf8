-- Who may touch the tables of flags. The runtime role reads none of them: overrides name other
-- tenants, and what a flag is for one it learns from evaluate_flag() and from the snapshot.
grant select, insert, update, delete on public.flag_segments, public.flag_namespaces
to layoverhq_operator;
grant select, insert, update on public.feature_flags, public.flag_versions to layoverhq_operator;

select public.enable_audit('public.flag_segments', ignored => '{updated_at}');
select public.enable_audit('public.flag_namespaces');
select public.enable_audit('public.feature_flags', ignored => '{updated_at}');
select public.enable_audit('public.flag_versions', ignored => '{updated_at}');

-- What a version says can be edited while it is a draft and not afterwards, and a version that was
-- obeyed or given up never becomes anything else but superseded.
create function public.guard_flag_version() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
begin
    if new.flag_id <> old.flag_id or new.number <> old.number
        or old.status in ('superseded', 'rejected')
        or (old.status = 'active' and new.status not in ('active', 'superseded'))
        or (
            new.definition is distinct from old.definition
            and not (old.status in ('draft', 'in_review', 'approved') and new.status = 'draft')
        )
    then
        raise check_violation using
            message = format('version %s of a flag is history', old.number),
            constraint = 'flag_versions_history';
    end if;
    return new;
end
$$;

create trigger flag_versions_guard before update on public.flag_versions
    for each row execute function public.guard_flag_version();

alter table public.flag_versions
    add constraint flag_versions_definition_size check (octet_length(definition::text) <= 2000000);

-- The shapes that code relies on. What stands in them is checked when a definition is saved.
alter table public.feature_flags
    add constraint feature_flags_shapes check (
        jsonb_typeof(variants) = 'array'
        and jsonb_typeof(rules) = 'array'
        and jsonb_typeof(prerequisites) = 'array'
        and jsonb_typeof(steps) = 'array'
        and jsonb_typeof(allocations) = 'object'
        and jsonb_typeof(tenant_overrides) = 'object'
        and jsonb_typeof(user_overrides) = 'object'
    ),
    add constraint feature_flags_members check (
        not variants @? '$[*] ? (!(@.key.type() == "string") || !exists(@.value))'
        and not rules @? '$[*] ? (
            !(@.id.type() == "string") || !(@.rollout.type() == "number") || !exists(@.conditions)
        )'
        and not prerequisites @? '$[*] ? (
            !(@.flag.type() == "string") || !exists(@.variants)
        )'
        and not steps @? '$[*] ? (!(@.at.type() == "string"))'
        -- Filters look into lists by themselves: what they see are the ranges.
        and not allocations @? '$.* ? (
            @.type() != "array" || @.size() != 2 || @[*].type() != "number"
        )'
        and not rules @? '$[*].allocations ? (@.type() != "object")'
        and not rules @? '$[*].allocations.* ? (
            @.type() != "array" || @.size() != 2 || @[*].type() != "number"
        )'
    );
