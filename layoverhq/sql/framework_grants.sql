-- The operator's role uses the tables of Django and django-celery-beat; the runtime role has no
-- business there. Named one by one: default privileges would open new partitions as well.
grant select, insert, update, delete on
    public.auth_group,
    public.auth_group_permissions,
    public.auth_permission,
    public.django_admin_log,
    public.django_celery_beat_clockedschedule,
    public.django_celery_beat_crontabschedule,
    public.django_celery_beat_intervalschedule,
    public.django_celery_beat_periodictask,
    public.django_celery_beat_periodictasks,
    public.django_celery_beat_solarschedule,
    public.django_content_type,
    public.django_session
to layoverhq_operator;

-- Health asks which migrations are applied.
grant select on public.django_migrations to layoverhq_operator;
