-- Who may touch the tables of flags. The runtime role reads none of them: overrides name other
-- tenants, and what a flag is for one it learns from evaluate_flag() and from the snapshot.
grant select, insert, update, delete on public.flag_segments, public.flag_namespaces
to layoverhq_operator;
grant select, insert, update on public.feature_flags to layoverhq_operator;

select public.enable_audit('public.flag_segments', ignored => '{updated_at}');
select public.enable_audit('public.flag_namespaces');
select public.enable_audit('public.feature_flags', ignored => '{updated_at}');
