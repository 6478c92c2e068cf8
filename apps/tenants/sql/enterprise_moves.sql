-- Moves of enterprises between the shared tables and an own schema: see apps/tenants/moving.py.
select public.enable_tenant_isolation('public.enterprise_moves');
grant select, insert, update, delete on public.enterprise_moves to layoverhq_operator;
select public.enable_audit(
    'public.enterprise_moves', ignored => '{rows_done,rows_total,table_now,updated_at}'
);
