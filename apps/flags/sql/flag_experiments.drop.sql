drop trigger flag_experiments_truncate on public.flag_experiments;
drop trigger flag_experiments_notify on public.flag_experiments;
drop function public.notify_experiment_change();
drop function public.flag_experiment_directory();
drop trigger flag_experiment_goals_guard on public.flag_experiment_goals;
drop function public.guard_flag_experiment_goal();
drop trigger flag_experiments_guard on public.flag_experiments;
drop function public.guard_flag_experiment();

do $$
declare
    name text;
begin
    foreach name in array array['flag_experiment_goals', 'flag_experiments'] loop
        execute format('drop trigger %I on public.%I', name || '_audit', name);
        execute format('drop trigger %I on public.%I', name || '_audit_truncate', name);
        execute format('revoke all on public.%I from layoverhq_operator', name);
    end loop;
end
$$;
