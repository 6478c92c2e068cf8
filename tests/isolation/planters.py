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
    # The trigger on system_configs tells of the rows above.
    "snapshot_changes": "",
}


def plant(connection: psycopg.Connection[Any], table: str, enterprise_id: UUID | None) -> None:
    """Add a row of this enterprise, or one that belongs to nobody."""
    if text := PLANTERS[table]:
        connection.execute(text, {"enterprise": enterprise_id})
