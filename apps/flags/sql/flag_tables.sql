-- Who may touch the tables of flags. The runtime role reads none of them: overrides name other
-- tenants, and what a flag is for one it learns from evaluate_flag() and from the snapshot.
grant select, insert, update, delete on public.flag_segments, public.flag_namespaces
to layoverhq_operator;
grant select, insert, update on public.feature_flags to layoverhq_operator;
-- A version's definition is never rewritten.
grant select, insert on public.feature_flag_versions to layoverhq_operator;
grant update (
    status, approved_by_id, approved_at, activate_at, activated_at, problem, updated_at
) on public.feature_flag_versions to layoverhq_operator;

select public.enable_audit('public.flag_segments', ignored => '{updated_at}');
select public.enable_audit('public.flag_namespaces');
select public.enable_audit('public.feature_flags', ignored => '{updated_at}');
select public.enable_audit('public.feature_flag_versions', ignored => '{updated_at}');
