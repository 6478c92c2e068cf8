-- Webhooks live in the shared tables for every enterprise: one worker's claim finds what is due for
-- all of them. What they tell names travellers by id alone.

alter table public.webhook_deliveries add constraint webhook_deliveries_endpoint
    foreign key (enterprise_id, endpoint_id)
    references public.webhook_endpoints (enterprise_id, id) on delete cascade;

select public.enable_tenant_isolation('public.webhook_endpoints');
select public.enable_tenant_isolation('public.webhook_deliveries');

grant select, insert, update, delete on public.webhook_endpoints
    to layoverhq_app, layoverhq_operator;
grant select, insert on public.webhook_deliveries to layoverhq_app;
-- To replay one: what it says is never changed.
grant update (status, attempts, next_attempt_at, claim, finished_at) on public.webhook_deliveries
    to layoverhq_app;
grant select, insert, update, delete on public.webhook_deliveries to layoverhq_operator;

select public.enable_audit(
    'public.webhook_endpoints',
    redacted => '{sealed_secret,old_sealed_secret}',
    ignored => '{failing_since,failures,last_success_at,last_failure_at,last_error,updated_at}'
);

-- Of deliveries only what somebody asks for is an event, with the reason: that one is sent again, or
-- a trial is. What is told, and each attempt, are none.
create trigger webhook_deliveries_audit_replay
    after update of status on public.webhook_deliveries
    for each row when (old.status <> 'pending' and new.status = 'pending')
    execute function public.audit_trigger_function(
        '{"key": ["id"], "redacted": ["body", "last_excerpt"], "ignored": [], "tenant": "enterprise_id"}'
    );
create trigger webhook_deliveries_audit_ping
    after insert on public.webhook_deliveries
    for each row when (new.event = 'webhook.ping')
    execute function public.audit_trigger_function(
        '{"key": ["id"], "redacted": ["body", "last_excerpt"], "ignored": [], "tenant": "enterprise_id"}'
    );

-- Takes deliveries that are due, at most `each` of one endpoint, and none of one that another
-- worker is at, so that a slow one holds up neither the others nor every worker; nobody else gets
-- them before `lease` has passed. Called by apps.webhooks.delivering.
create function public.claim_webhook_deliveries(
    worker uuid, most integer, each integer, lease interval
) returns setof public.webhook_deliveries
language sql
set search_path = public, pg_temp
begin atomic
    update webhook_deliveries d
    set claim = worker,
        next_attempt_at = clock_timestamp() + lease,
        attempts = d.attempts + 1,
        last_attempt_at = clock_timestamp()
    where d.id in (
        select due.id
        from webhook_deliveries due
        where due.status = 'pending'
            and due.next_attempt_at <= clock_timestamp()
            and due.id in (
                select numbered.id
                from (
                    select
                        w.id,
                        w.next_attempt_at,
                        row_number() over (
                            partition by w.endpoint_id order by w.next_attempt_at, w.id
                        ) as place
                    from webhook_deliveries w
                    join webhook_endpoints e
                        on e.enterprise_id = w.enterprise_id
                        and e.id = w.endpoint_id
                        and e.status = 'active'
                    join enterprises o on o.id = w.enterprise_id and o.status = 'active'
                    where w.status = 'pending'
                        and w.next_attempt_at <= clock_timestamp()
                        and w.endpoint_id not in (
                            select held.endpoint_id
                            from webhook_deliveries held
                            where held.status = 'pending'
                                and held.claim is not null
                                and held.next_attempt_at > clock_timestamp()
                                and held.next_attempt_at <= clock_timestamp() + lease
                        )
                ) as numbered
                where numbered.place <= each
                order by numbered.next_attempt_at
                limit most
            )
        for update skip locked
    )
    returning d.*;
end;

revoke execute on function public.claim_webhook_deliveries(uuid, integer, integer, interval)
    from public;
grant execute on function public.claim_webhook_deliveries(uuid, integer, integer, interval)
    to layoverhq_operator;
