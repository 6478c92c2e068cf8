-- Installed in `public` for pooled enterprises and in each dedicated enterprise's schema, where
-- the same names, found first on the search path, shadow those in `public`.
select public.enable_tenant_isolation('travellers');
select public.enable_audit('travellers');
grant select, insert, update, delete on travellers to layoverhq_app, layoverhq_operator;
