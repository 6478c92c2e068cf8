alter table public.feature_flags
    drop constraint feature_flags_members,
    drop constraint feature_flags_shapes;
alter table public.flag_versions drop constraint flag_versions_definition_size;
drop trigger flag_versions_guard on public.flag_versions;
drop function public.guard_flag_version();

do $$
declare
    name text;
begin
    foreach name in array array[
        'flag_segments', 'flag_namespaces', 'flag_versions', 'feature_flags'
    ] loop
        execute format('drop trigger %I on public.%I', name || '_audit', name);
        execute format('drop trigger %I on public.%I', name || '_audit_truncate', name);
        execute format('revoke all on public.%I from layoverhq_operator', name);
    end loop;
end
$$;
