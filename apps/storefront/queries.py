"""Reads of the storefront's own tables, and which airports shared offers leave from."""

from __future__ import annotations

import time

import structlog

from apps.layovers.models import Experience
from apps.storefront.models import StorefrontImage
from layoverhq.errors import Unavailable
from layoverhq.middleware import UNREACHABLE
from layoverhq.tenancy import TenantRef, fetch_in_scope, tenant_scope

log = structlog.get_logger(__name__)

SERVED_SECONDS = 600.0
SERVED_TIMEOUT_SECONDS = 1.0
# One probe of the index for each airport, instead of a look at every offer.
SERVED = """
with recursive served as (
    (
        select f.origin_airport
        from flights f
        where f.enterprise_id is null
            and f.departure_day between current_date and current_date + 13
        order by f.origin_airport
        limit 1
    )
    union all
    select (
        select f.origin_airport
        from flights f
        where f.enterprise_id is null
            and f.departure_day between current_date and current_date + 13
            and f.origin_airport > s.origin_airport
        order by f.origin_airport
        limit 1
    )
    from served s
    where s.origin_airport is not null
)
select origin_airport from served where origin_airport is not null
"""


def image_content(tenant: TenantRef, digest: str) -> bytes | None:
    """Return the tenant's image of that digest as PNG, None where it has none such."""
    with tenant_scope(tenant):
        content = (
            StorefrontImage.objects.filter(enterprise_id=tenant.id, digest=digest)
            .values_list("content", flat=True)
            .first()
        )
    return None if content is None else bytes(content)


def sights(tenant: TenantRef, airport: str) -> list[Experience]:
    """Return what there is to do around an airport, in the order of the names."""
    with tenant_scope(tenant):
        return list(Experience.objects.active().filter(airport=airport).order_by("name"))


class ServedAirports:
    """The airports that shared offers of the coming fortnight leave from, as of some minutes ago.

    They only order suggestions: while the database is away, what was known stays.
    """

    def __init__(self) -> None:
        self._codes: frozenset[str] = frozenset()
        self._fresh_until = 0.0

    def get(self, tenant: TenantRef) -> frozenset[str]:
        """Return the codes; shared offers are the same for every tenant."""
        now = time.monotonic()
        if now >= self._fresh_until:
            self._fresh_until = now + SERVED_SECONDS
            try:
                rows = fetch_in_scope(tenant, SERVED, {}, timeout_seconds=SERVED_TIMEOUT_SECONDS)
                self._codes = frozenset(code for (code,) in rows)
            except (*UNREACHABLE, Unavailable) as error:
                log.warning("served_airports_unknown", error=str(error).splitlines()[0])
        return self._codes


served_airports = ServedAirports()
