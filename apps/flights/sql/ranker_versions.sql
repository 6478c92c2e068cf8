-- Weights of a score that were learned from travellers' choices, for an enterprise, or for those that
-- share theirs. What was learned stands; only whether it is used changes, and at most one is.

-- Whether they are the components' weights, of which some count.
create function public.are_ranker_weights(weights jsonb) returns boolean
language sql immutable
return case when jsonb_typeof(weights) = 'object' then (
    select count(*) = 6
        and bool_and(
            w.key in ('city', 'experience', 'weather', 'safety', 'premium', 'preference')
            and jsonb_typeof(w.value) = 'number'
            and case when jsonb_typeof(w.value) = 'number'
                then w.value::numeric between 0 and 1 end
        )
        and sum(case when jsonb_typeof(w.value) = 'number' then w.value::numeric end) > 0
    from jsonb_each(weights) as w
) else false end;

create table public.ranker_versions (
    id uuid primary key default uuidv7(),
    -- null: of the enterprises that share their choices
    enterprise_id uuid references public.enterprises (id),
    status text not null,
    weights jsonb not null,
    -- of the formula that they are for
    score_version integer not null,
    trained_at timestamptz not null,
    -- what it was learned from and tried on
    choices integer not null,
    held_out integer not null,
    newest_choice_at timestamptz not null,
    enterprises integer not null,
    -- on the choices held out, with the learned and the configured weights
    log_loss double precision not null,
    configured_log_loss double precision not null,
    top_1 double precision not null,
    configured_top_1 double precision not null,
    configured_weights jsonb not null,
    -- what the learned weights gain in log loss, and at least, with 97.5 % confidence
    gain double precision not null,
    gain_at_least double precision not null,
    -- why it is what it is
    note text not null default '',
    activated_at timestamptz,
    retired_at timestamptz,
    constraint ranker_versions_status_known check (
        status in ('candidate', 'active', 'retired', 'rejected')
    ),
    constraint ranker_versions_weights_usable check (
        status = 'rejected' or are_ranker_weights(weights)
    ),
    constraint ranker_versions_shares check (
        top_1 between 0 and 1 and configured_top_1 between 0 and 1
    ),
    constraint ranker_versions_counts check (choices > 0 and held_out >= 0 and enterprises > 0)
);

create unique index ranker_versions_one_active on public.ranker_versions (enterprise_id)
    nulls not distinct where status = 'active';

create index ranker_versions_newest on public.ranker_versions (enterprise_id, id);

-- Tenants are told the weights with their results; the rows are the operators'.
select public.enable_tenant_isolation('public.ranker_versions');
grant select, insert, update, delete on public.ranker_versions to layoverhq_operator;

select public.enable_audit('public.ranker_versions');
select public.feed_snapshot('public.ranker_versions', 'rankers');

create function public.guard_ranker_version() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
begin
    if (to_jsonb(new) - '{status,note,activated_at,retired_at}'::text[])
        is distinct from (to_jsonb(old) - '{status,note,activated_at,retired_at}'::text[])
    then
        raise check_violation using
            message = 'what a ranker learned stands',
            constraint = 'ranker_versions_learned';
    end if;
    if old.status <> new.status and (old.status, new.status) not in (
        ('candidate', 'active'), ('candidate', 'retired'), ('active', 'retired'),
        ('retired', 'active')
    ) then
        raise check_violation using
            message = format('a ranker does not go from %s to %s', old.status, new.status),
            constraint = 'ranker_versions_course';
    end if;
    return new;
end
$$;

create trigger ranker_versions_guard after update on public.ranker_versions
    for each row execute function public.guard_ranker_version();

-- What every process holds: the versions in use.
create function public.ranker_directory() returns table (
    id uuid,
    enterprise_id uuid,
    weights jsonb,
    score_version integer,
    trained_at timestamptz
)
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select r.id, r.enterprise_id, r.weights, r.score_version, r.trained_at
    from public.ranker_versions r
    where r.status = 'active';
end;

revoke execute on function public.ranker_directory() from public;
grant execute on function public.ranker_directory() to layoverhq_app;
