"""What layovers leave for the city, worked out again where an airport's ground times changed."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import structlog
from django.db import connections

from apps.flights.airports import ground
from apps.flights.ground import Places, Spendable, Stays, minute_of, spendable
from layoverhq.tenancy import atomic, current_alias

log = structlog.get_logger(__name__)

# Shared and private layovers have an index each.
DAYS = """
select departure_day from flight_layovers
where enterprise_id is null and airport = %(airport)s and departure_day >= %(first)s
union
select departure_day from flight_layovers
where enterprise_id is not null and airport = %(airport)s and departure_day >= %(first)s
order by departure_day
"""
STAYS = """
select flight_id, position, origin, destination, arrives_at, departs_at from stays_at(%s, %s)
"""
COPY = """
copy pg_temp.staged_ground (flight_id, position, usable_minutes, daylight_minutes) from stdin
"""


def restate_layovers(*, airport: str, now: datetime) -> int:
    """Work out again what layovers at the airport leave; return how many changed.

    A departure day is a transaction: one that was cut off is begun again, and changes nothing of
    what stands already. With the operator's role.
    """
    # The earliest day that still departs somewhere on Earth.
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(DAYS, {"airport": airport, "first": (now - timedelta(days=1)).date()})
        days = [day for (day,) in cursor.fetchall()]
    changed = 0
    for day in days:
        with atomic(), connections[current_alias()].cursor() as cursor:
            cursor.execute(STAYS, [airport, day])
            stays = cursor.fetchall()
            if not stays:
                continue
            spent = _spendable(ground.get(), airport, stays)
            cursor.execute("select open_ground_staging()")
            with cursor.copy(COPY) as copy:
                for stay, usable, daylight in zip(
                    stays, spent.usable.tolist(), spent.daylight.tolist(), strict=True
                ):
                    copy.write_row((stay[0], stay[1], usable, daylight))
            cursor.execute("select store_staged_ground(%s)", [day])
            changed += int(cursor.fetchone()[0])
    log.info("layovers_restated", airport=airport, days=len(days), layovers=changed)
    return changed


def _spendable(
    known: Places, airport: str, stays: list[tuple[object, int, str, str, str, str]]
) -> Spendable:
    rows = []
    for _, _, origin, destination, arrives, departs in stays:
        arrival, departure = datetime.fromisoformat(arrives), datetime.fromisoformat(departs)
        offset, after = (
            (at.utcoffset() or timedelta()) // timedelta(minutes=1) for at in (arrival, departure)
        )
        rows.append(
            (
                known.index[airport],
                known.index[origin],
                known.index[destination],
                minute_of(arrival),
                minute_of(departure),
                offset,
                after - offset,
            )
        )
    return spendable(known, Stays(*np.array(rows, dtype=np.int64).T))
