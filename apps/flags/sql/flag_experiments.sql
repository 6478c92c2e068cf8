-- Who may touch experiments, what is fixed once one has started, and how processes learn which run.
grant select, insert, update, delete on public.flag_experiments, public.flag_experiment_goals
to layoverhq_operator;

select public.enable_audit('public.flag_experiments', ignored => '{updated_at}');
select public.enable_audit('public.flag_experiment_goals');

-- What was promised at the start stands: nobody chooses the flag, the control, the goals or the
-- error rate after having seen the numbers.
create function public.guard_flag_experiment() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
begin
    if tg_op = 'DELETE' then
        if old.status = 'draft' then
            return old;
        end if;
        raise check_violation using
            message = format('the experiment %s is %s: it stays', old.name, old.status),
            constraint = 'flag_experiments_history';
    end if;
    if (
        old.status <> 'draft' and (
            new.flag_id, new.rule, new.control_variant, new.alpha, new.unit, new.split,
            new.started_at
        ) is distinct from (
            old.flag_id, old.rule, old.control_variant, old.alpha, old.unit, old.split,
            old.started_at
        )
    ) or (
        old.status <> new.status and (old.status, new.status) not in (
            ('draft', 'running'), ('running', 'stopped'), ('running', 'shipped'),
            ('stopped', 'shipped')
        )
    ) then
        raise check_violation using
            message = format('the experiment %s is %s', old.name, old.status),
            constraint = 'flag_experiments_history';
    end if;
    return new;
end
$$;

create trigger flag_experiments_guard before update or delete on public.flag_experiments
    for each row execute function public.guard_flag_experiment();

create function public.guard_flag_experiment_goal() returns trigger
language plpgsql
set search_path = public, pg_temp
as $$
begin
    if exists (
        select from flag_experiments x
        where x.id in (old.experiment_id, new.experiment_id) and x.status <> 'draft'
    ) then
        raise check_violation using
            message = 'goals are chosen before an experiment starts',
            constraint = 'flag_experiments_history';
    end if;
    return coalesce(new, old);
end
$$;

create trigger flag_experiment_goals_guard
    before insert or update or delete on public.flag_experiment_goals
    for each row execute function public.guard_flag_experiment_goal();

-- The experiments that run, with the routes of the API that their goals ask for. One whose flag
-- divides by something else than at the start is none: other units would be counted with its own.
create function public.flag_experiment_directory()
returns table (id uuid, flag text, rule text, started_at timestamptz, routes text[])
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select
        x.id, f.name, x.rule, x.started_at,
        array(
            select g.event from flag_experiment_goals g
            where g.experiment_id = x.id and g.event ^@ 'api:'
            order by g.event
        )
    from flag_experiments x
    join feature_flags f on f.id = x.flag_id
    where x.status = 'running' and f.bucketing_unit = x.unit;
end;

revoke execute on function public.flag_experiment_directory() from public;
grant execute on function public.flag_experiment_directory() to layoverhq_app;

-- Subjects of changes are `experiment <id>`.
create function public.notify_experiment_change() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
begin
    insert into snapshot_changes (snapshot, version, subject)
    values ('flags', raise_snapshot('flags'), 'experiment ' || new.id);
    return null;
end
$$;

revoke execute on function public.notify_experiment_change() from public;

create trigger flag_experiments_notify after update of status on public.flag_experiments
    for each row when (new.status is distinct from old.status)
    execute function public.notify_experiment_change();
create trigger flag_experiments_truncate after truncate on public.flag_experiments
    for each statement execute function public.notify_snapshot('flags');
