-- What operators change in tables that are not ours: schedules, groups, partition policies. What
-- the scheduler itself notes on a schedule is no event.
select public.enable_audit('public.auth_group');
select public.enable_audit('public.auth_group_permissions');
select public.enable_audit('public.django_celery_beat_clockedschedule');
select public.enable_audit('public.django_celery_beat_crontabschedule');
select public.enable_audit('public.django_celery_beat_intervalschedule');
select public.enable_audit('public.django_celery_beat_solarschedule');
select public.enable_audit(
    'public.django_celery_beat_periodictask',
    ignored => '{date_changed,last_run_at,total_run_count}'
);
select public.enable_audit('public.partition_policies');
