-- Installed in `public` for pooled enterprises and in each dedicated enterprise's schema: names
-- without a schema are of the one that is being migrated.

alter table saved_searches add constraint saved_searches_traveller
    foreign key (enterprise_id, traveller_id)
    references travellers (enterprise_id, id) on delete cascade;
alter table trips add constraint trips_traveller
    foreign key (enterprise_id, traveller_id)
    references travellers (enterprise_id, id) on delete cascade;
alter table price_alerts add constraint price_alerts_saved_search
    foreign key (enterprise_id, saved_search_id)
    references saved_searches (enterprise_id, id) on delete cascade;
alter table alert_events add constraint alert_events_alert
    foreign key (enterprise_id, alert_id)
    references price_alerts (enterprise_id, id) on delete cascade;

-- A deleted traveller's rows are found by these, and a list is read by them.
create index saved_searches_of_traveller on saved_searches (enterprise_id, traveller_id);
create index trips_of_traveller on trips (enterprise_id, traveller_id);
create index price_alerts_of_search on price_alerts (enterprise_id, saved_search_id);
create index alert_events_of_alert on alert_events (enterprise_id, alert_id, id);
create index alert_events_age on alert_events (occurred_at);

select public.enable_tenant_isolation('saved_searches');
select public.enable_tenant_isolation('trips');
select public.enable_tenant_isolation('price_alerts');
select public.enable_tenant_isolation('alert_events');

select public.enable_home_guard('travellers');
select public.enable_home_guard('saved_searches');
select public.enable_home_guard('trips');
select public.enable_home_guard('price_alerts');
select public.enable_home_guard('alert_events');

grant select, insert, update, delete on saved_searches, trips, price_alerts
    to layoverhq_app, layoverhq_operator;
-- News is written once.
grant select, insert on alert_events to layoverhq_app;
grant select, insert, update, delete on alert_events to layoverhq_operator;

select public.enable_audit('saved_searches', ignored => '{updated_at}');
select public.enable_audit('trips', ignored => '{updated_at}');
-- Each check notes what it saw: that is no event, the alert's settings are.
select public.enable_audit(
    'price_alerts',
    ignored => '{best_price_minor,best_offer,told_price_minor,seen,problem,checked_at,'
        'next_check_at,updated_at}'
);
