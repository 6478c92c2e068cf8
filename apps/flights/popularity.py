"""How many offers each route has: counted by day, ranked by route. Shared inventory only.

Run with the operator's role: open an operator_scope around them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from django.db import connections
from django.db.models import F

from apps.flights.models import PopularLayoverRoute, RouteDayRefresh
from layoverhq.tenancy import TenantRef, atomic, current_alias, tenant_scope

# Its own days aside, nobody else refreshes meanwhile.
LOCK = "select pg_advisory_xact_lock(hashtextextended('layoverhq.route_days', 0))"

MOST_USED = """
    select stop.key, sum(stop.value::bigint)::bigint
    from route_days d cross join lateral jsonb_each_text(d.layover_airports) as stop
    group by stop.key
    order by 2 desc, 1
    limit %s
"""


def refresh_popular_routes(*, now: datetime) -> int:
    """Count the days that are stale anew, a transaction each; return how many there were.

    Readers are not locked, and see each day's routes before or after. Twice at once, the later
    one waits for the other's day.
    """
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("select stale_route_days(%s)", [now])
        days: list[date] = [day for (day,) in cursor.fetchall()]
    for day in days:
        refresh_route_day(day=day, now=now)
    RouteDayRefresh.objects.filter(day__lt=now.date() - timedelta(days=1), offers=0).delete()
    return len(days)


def refresh_route_day(*, day: date, now: datetime) -> int:
    """Count one day anew and rank its routes; return how many of them changed."""
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(LOCK)
        cursor.execute("select origins, destinations from refresh_route_day(%s, %s)", [day, now])
        origins, destinations = cursor.fetchone()
        if origins:
            cursor.execute("select rank_layover_routes(%s, %s, %s)", [origins, destinations, now])
        return len(origins)


def popular_routes(
    tenant: TenantRef, *, origin: str, destination: str, limit: int, after: tuple[int, str] | None
) -> list[PopularLayoverRoute]:
    """Return the routes with the most offers first, from or to an airport if one is given.

    `after` is the count and the route that the page before ended with.
    """
    routes = PopularLayoverRoute.objects.order_by(F("flight_count").desc(), "route")
    if origin:
        routes = routes.filter(origin_airport=origin)
    if destination:
        routes = routes.filter(destination_airport=destination)
    if after:
        count, route = after
        routes = routes.filter(flight_count__lte=count).exclude(
            flight_count=count, route__lte=route
        )
    with tenant_scope(tenant):
        return list(routes[:limit])


def most_used_layover_airports(*, limit: int) -> Iterable[tuple[str, int]]:
    """Return the airports where most shared offers have a layover, with how many."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(MOST_USED, [limit])
        return [(airport, offers) for airport, offers in cursor.fetchall()]
