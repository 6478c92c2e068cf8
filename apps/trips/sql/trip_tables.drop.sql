do $$
declare
    name text;
begin
    foreach name in array array['saved_searches', 'trips', 'price_alerts'] loop
        execute format('drop trigger %I on %I', name || '_audit', name);
        execute format('drop trigger %I on %I', name || '_audit_truncate', name);
    end loop;
    foreach name in array array['saved_searches', 'trips', 'price_alerts', 'alert_events'] loop
        execute format('drop policy tenant_isolation on %I', name);
        execute format('drop policy operator_access on %I', name);
        execute format('alter table %I disable row level security, no force row level security', name);
        execute format('revoke all on %I from layoverhq_app, layoverhq_operator', name);
        execute format('drop trigger home_guard on %I', name);
    end loop;
end
$$;
drop trigger home_guard on travellers;
drop index saved_searches_of_traveller;
drop index trips_of_traveller;
drop index price_alerts_of_search;
drop index alert_events_of_alert;
drop index alert_events_age;
alter table alert_events drop constraint alert_events_alert;
alter table price_alerts drop constraint price_alerts_saved_search;
alter table trips drop constraint trips_traveller;
alter table saved_searches drop constraint saved_searches_traveller;
