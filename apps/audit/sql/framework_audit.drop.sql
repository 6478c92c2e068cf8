do $$
declare
    name text;
begin
    foreach name in array array[
        'auth_group', 'auth_group_permissions', 'django_celery_beat_clockedschedule',
        'django_celery_beat_crontabschedule', 'django_celery_beat_intervalschedule',
        'django_celery_beat_solarschedule', 'django_celery_beat_periodictask',
        'partition_policies'
    ] loop
        execute format('drop trigger %I on public.%I', name || '_audit', name);
        execute format('drop trigger %I on public.%I', name || '_audit_truncate', name);
    end loop;
end
$$;
