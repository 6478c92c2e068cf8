drop function public.claim_webhook_deliveries(uuid, integer, integer, interval);
alter table public.webhook_deliveries drop constraint webhook_deliveries_endpoint;
drop trigger webhook_deliveries_audit_ping on public.webhook_deliveries;
drop trigger webhook_deliveries_audit_replay on public.webhook_deliveries;
drop trigger webhook_endpoints_audit on public.webhook_endpoints;
drop trigger webhook_endpoints_audit_truncate on public.webhook_endpoints;
do $$
declare
    name text;
begin
    foreach name in array array['webhook_endpoints', 'webhook_deliveries'] loop
        execute format('revoke all on public.%I from layoverhq_app, layoverhq_operator', name);
        execute format('drop policy tenant_isolation on public.%I', name);
        execute format('drop policy operator_access on public.%I', name);
        execute format(
            'alter table public.%I no force row level security, disable row level security', name
        );
    end loop;
end
$$;
