revoke all on
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
    public.django_session,
    public.django_migrations
from layoverhq_operator;
