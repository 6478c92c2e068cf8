do $$
declare
    name text;
begin
    foreach name in array array[
        'flag_segments', 'flag_namespaces', 'feature_flags'
    ] loop
        execute format('drop trigger %I on public.%I', name || '_audit', name);
        execute format('drop trigger %I on public.%I', name || '_audit_truncate', name);
        execute format('revoke all on public.%I from layoverhq_operator', name);
    end loop;
end
$$;
