drop function public.tenant_isolation_state();
drop function public.enable_tenant_isolation(regclass, name, boolean);
drop function public.current_enterprise_id();
