"""Reads that span homes: which enterprises have alerts to check, and an offer as it is now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections
from psycopg import sql

from apps.tenants.models import Enterprise
from layoverhq.tenancy import TenantRef, current_alias

STANDING = """
select n.nspname
from pg_namespace n
join pg_class c on c.relnamespace = n.oid and c.relname = 'price_alerts'
where n.nspname = any (%s)
order by n.nspname
"""
# By the enterprise that waits longest.
DUE = """
select due.enterprise_id, due.schema
from (
    {homes}
) as due
order by due.since, due.enterprise_id
"""
DUE_IN_PUBLIC = """
select a.enterprise_id, '' as schema, min(a.next_check_at) as since
from public.price_alerts a
join public.enterprises e on e.id = a.enterprise_id and e.status = 'active'
where a.state in ('watching', 'met') and a.next_check_at <= {now}
group by a.enterprise_id
"""
DUE_IN_A_SCHEMA = """
select a.enterprise_id, {name} as schema, min(a.next_check_at) as since
from {table} a
where a.state in ('watching', 'met') and a.next_check_at <= {now}
group by a.enterprise_id
"""
OFFER = """
select offer_json(o, null::flight_search)
from flight_offers o
where o.id = %s and o.expires_at > now()
"""


def own_schemas(*, served_only: bool = False) -> list[str]:
    """Return the own schemas that stand, with the operator's role."""
    dedicated = Enterprise.objects.filter(isolation=Enterprise.Isolation.DEDICATED)
    if served_only:
        dedicated = dedicated.filter(status=Enterprise.Status.ACTIVE)
    named = list(dedicated.values_list("schema_name", flat=True))
    with connections[current_alias()].cursor() as cursor:
        # An enterprise that is being erased may have lost its schema already.
        cursor.execute(STANDING, [named])
        return [name for (name,) in cursor.fetchall()]


def enterprises_with_due_alerts(now: datetime) -> list[TenantRef]:
    """Return whose alerts are due, in whichever home, with the operator's role."""
    moment = sql.Literal(now)
    homes = [sql.SQL(DUE_IN_PUBLIC).format(now=moment)]
    homes += [
        sql.SQL(DUE_IN_A_SCHEMA).format(
            name=sql.Literal(schema), table=sql.Identifier(schema, "price_alerts"), now=moment
        )
        for schema in own_schemas(served_only=True)
    ]
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(sql.SQL(DUE).format(homes=sql.SQL(" union all ").join(homes)))
        return [TenantRef(*row) for row in cursor.fetchall()]


def home_of(table: str, row_id: UUID) -> str | None:
    """Return the own schema that holds a row, empty for `public`; None where there is no such row.

    With the operator's role: ids are unique in all homes.
    """
    homes: Sequence[str] = ["public", *own_schemas()]
    arms = [
        sql.SQL("select {name} from {table} where id = {id}").format(
            name=sql.Literal(schema), table=sql.Identifier(schema, table), id=sql.Literal(row_id)
        )
        for schema in homes
    ]
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(sql.SQL(" union all ").join(arms))
        found = cursor.fetchone()
    if found is None:
        return None
    return "" if found[0] == "public" else str(found[0])


def current_offer(offer_id: UUID) -> dict[str, Any] | None:
    """Return an offer that the running scope's enterprise may see, as the API answers it."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(OFFER, [offer_id])
        found = cursor.fetchone()
    return json.loads(found[0]) if found else None
