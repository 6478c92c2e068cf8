"""One way to plant a row of a tenant in each tenant table; a newcomer must add its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

# Run by the operator's role with the parameter `enterprise`, null for a shared row. Tables that
# onboarding or triggers fill have an empty text.
PLANTERS: dict[str, str] = {
    "enterprises": "",
    "audit_log": "",
    "domains": """
        insert into domains (enterprise_id, domain, is_primary)
        values (%(enterprise)s, uuidv7()::text || '.example.com', true)
    """,
    "users": """
        insert into users (
            enterprise_id, email, password, name, subscription_tier, api_limits, preferences,
            is_superuser, is_staff, is_active, updated_at
        ) values (
            %(enterprise)s, uuidv7()::text || '@example.com', 'argon2$secret-hash', '', 'free',
            '{}', '{}', false, false, true, now()
        )
    """,
    "api_keys": """
        insert into api_keys (enterprise_id, name, prefix, key_hash, scopes)
        values (
            %(enterprise)s, 'planted', 'lhq_planted', sha256(uuidv7()::text::bytea),
            '{account:read}'
        )
    """,
    "offboardings": """
        insert into offboardings (
            enterprise_id, stage, rows_total, rows_done, table_now, archive, archive_sha256,
            error, updated_at
        ) values (%(enterprise)s, 'exporting', 0, 0, '', '', '', '', now())
    """,
    "travellers": """
        insert into travellers (enterprise_id, reference, name)
        values (%(enterprise)s, uuidv7()::text, 'Ann')
    """,
    "enterprise_moves": """
        insert into enterprise_moves (
            enterprise_id, target, stage, reason, tables, rows_total, rows_done, table_now,
            attempts, error, updated_at, finished_at
        ) values (%(enterprise)s, 'dedicated', 'done', '', '[]', 0, 0, '', 1, '', now(), now())
    """,
    "saved_searches": """
        insert into saved_searches (id, enterprise_id, name, query, version)
        values (uuidv7(), %(enterprise)s, 'planted', '', 1)
    """,
    "trips": """
        with traveller as (
            insert into travellers (enterprise_id, reference, name)
            values (%(enterprise)s, uuidv7()::text, 'Ann')
            returning id
        )
        insert into trips (
            id, enterprise_id, traveller_id, status, offer_id, offer, origin, destination,
            departure_at, arrival_at, price_minor, price_currency, layovers, version
        )
        select
            uuidv7(), %(enterprise)s, id, 'planned', uuidv7(), '{}', 'ORD', 'DEN', now(), now(),
            1, 'USD', '[]', 1
        from traveller
    """,
    "price_alerts": """
        with search as (
            insert into saved_searches (id, enterprise_id, name, query, version)
            values (uuidv7(), %(enterprise)s, 'planted', '', 1)
            returning id
        )
        insert into price_alerts (
            id, enterprise_id, saved_search_id, threshold_minor, layovers, state, seen, problem,
            next_check_at, version
        )
        select uuidv7(), %(enterprise)s, id, 1, '', 'paused', '{}', '', now(), 1 from search
    """,
    "alert_events": """
        with search as (
            insert into saved_searches (id, enterprise_id, name, query, version)
            values (uuidv7(), %(enterprise)s, 'planted', '', 1)
            returning id
        ), alert as (
            insert into price_alerts (
                id, enterprise_id, saved_search_id, threshold_minor, layovers, state, seen,
                problem, next_check_at, version
            )
            select uuidv7(), %(enterprise)s, id, 1, '', 'paused', '{}', '', now(), 1 from search
            returning id
        )
        insert into alert_events (
            id, enterprise_id, alert_id, event, offers, offer_count, occurred_at
        )
        select uuidv7(), %(enterprise)s, id, 'planted', '[]', 0, now() from alert
    """,
    "webhook_endpoints": """
        insert into webhook_endpoints (
            enterprise_id, url, description, events, status, status_reason, sealed_secret,
            old_sealed_secret, failures, last_error, version
        ) values (
            %(enterprise)s, 'https://planted.example.com', '', '{trip.created}', 'paused', '',
            'sealed:planted:', '', 0, '', 1
        )
    """,
    "webhook_deliveries": """
        with endpoint as (
            insert into webhook_endpoints (
                enterprise_id, url, description, events, status, status_reason, sealed_secret,
                old_sealed_secret, failures, last_error, version
            ) values (
                %(enterprise)s, 'https://planted.example.com', '', '{trip.created}', 'paused', '',
                'sealed:planted:', '', 0, '', 1
            )
            returning id
        )
        insert into webhook_deliveries (
            enterprise_id, endpoint_id, event_id, event, body, status, attempts, next_attempt_at,
            last_excerpt, last_error
        )
        select %(enterprise)s, id, uuidv7(), 'trip.created', '{}', 'pending', 0, now(), '', ''
        from endpoint
    """,
    "flights": """
        insert into flights (
            enterprise_id, departure_day, departure_at, arrival_at, duration_minutes,
            departure_minute, layover_count, price_minor, expires_at, search_hash, provider,
            origin_airport, destination_airport, segments
        ) values (
            %(enterprise)s, current_date, current_date + time '10:00', current_date + time '12:00',
            120, 600, 0, 10000, now() + interval '30 days', uuidv7(), 'planted', 'ORD', 'DEN',
            '[{}]'
        )
    """,
    "enterprise_flights": """
        insert into enterprise_flights (
            enterprise_id, departure_day, departure_at, arrival_at, duration_minutes,
            departure_minute, layover_count, price_minor, expires_at, search_hash, provider,
            origin_airport, destination_airport, segments
        ) values (
            %(enterprise)s, current_date, current_date + time '10:00', current_date + time '12:00',
            120, 600, 0, 10000, now() + interval '30 days', uuidv7(), 'planted', 'ORD', 'DEN',
            '[{}]'
        )
    """,
    "flight_layovers": """
        insert into flight_layovers (
            enterprise_id, departure_day, minutes, position, flight_id, airport
        ) values (%(enterprise)s, current_date, 95, 1, uuidv7(), 'QQQ')
    """,
    "layover_preferences": """
        insert into layover_preferences (enterprise_id, airport, share)
        values (%(enterprise)s, 'DEN', 50)
    """,
    "offer_imports": """
        insert into offer_imports (enterprise_id, content_sha256, bytes_received, file)
        values (%(enterprise)s, 'planted', 1, '')
    """,
    "offer_rejects": """
        with planted as (
            insert into offer_imports (enterprise_id, content_sha256, bytes_received, file)
            values (%(enterprise)s, 'planted', 1, '')
            returning id
        )
        insert into offer_rejects (
            enterprise_id, import_id, line, reason, field, detail, excerpt
        )
        select %(enterprise)s, id, 1, 'planted', '', '', '' from planted
    """,
    "provider_routes": """
        insert into provider_routes (
            provider_id, enterprise_id, origin, destination, days_ahead, every_minutes, is_active
        )
        select id, %(enterprise)s, 'ORD', 'DEN', 1, 10080, false
        from flight_providers where name = 'kiwi'
    """,
    "offer_confirmations": """
        insert into offer_confirmations (
            provider, origin, destination, day, enterprise_id, confirmed_at
        ) values ('planted', 'ORD', 'DEN', current_date, %(enterprise)s, now())
    """,
    "provider_fetches": """
        insert into provider_fetches (
            provider_id, enterprise_id, origin, destination, day, status, finished_at
        )
        select id, %(enterprise)s, 'ORD', 'DEN', current_date, 'done', now()
        from flight_providers where name = 'kiwi'
    """,
    "config_release_tenants": """
        with planted as (
            insert into config_change_sets (title, reason, stage, problem, updated_at)
            values ('planted', 'planted', 'draft', '', now())
            returning id
        )
        insert into config_release_tenants (enterprise_id, change_set_id)
        select %(enterprise)s, id from planted
    """,
    # The platform's value stands already, and others rely on it: its planted row is history.
    "system_configs": """
        insert into system_configs (key, tenant_id, value, value_type, category, status)
        values (
            'layover.min_duration', %(enterprise)s, '95', 'number', 'business',
            case when %(enterprise)s::uuid is null then 'superseded' else 'active' end
        )
    """,
    "flag_exposures": """
        insert into flag_exposures (
            started_at, experiment_id, enterprise_id, unit, variant, exposed_at
        ) values (current_date, uuidv7(), %(enterprise)s, uuidv7(), 'on', now())
    """,
    "tracked_events": """
        insert into tracked_events (occurred_at, enterprise_id, unit, event)
        values (now(), %(enterprise)s, uuidv7(), 'planted')
    """,
    "storefront_images": """
        insert into storefront_images (enterprise_id, digest, width, height, content)
        values (
            %(enterprise)s, encode(sha256(uuidv7()::text::bytea), 'hex'), 1, 1, 'planted'::bytea
        )
    """,
    # The trigger on system_configs tells of the rows above.
    "snapshot_changes": "",
}


def plant(connection: psycopg.Connection[Any], table: str, enterprise_id: UUID | None) -> None:
    """Add a row of this enterprise, or one that belongs to nobody."""
    if text := PLANTERS[table]:
        connection.execute(text, {"enterprise": enterprise_id})
