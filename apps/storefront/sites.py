"""Host names in memory: whose storefront a request is for, without a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
from django.http import HttpRequest

from apps.flags.runtime import flags
from layoverhq.hosts import is_platforms, requested_host
from layoverhq.snapshot import Snapshot
from layoverhq.tenancy import TenantRef

FLAG = "white_label_v2"
ACTIVE = "active"


def flag_context(enterprise_id: UUID, plan: str) -> dict[str, Any]:
    """Return the context of an enterprise's storefront."""
    of = str(enterprise_id)
    return {"enterprise": of, "user": of, "plan": plan}


@dataclass(frozen=True, slots=True)
class Site:
    """A host name and the enterprise whose pages it shows."""

    host: str
    tenant: TenantRef
    enterprise_name: str
    enterprise_status: str
    subscription_plan: str

    @property
    def is_open(self) -> bool:
        """Whether travellers are served: the enterprise is active and has the flag."""
        return self.enterprise_status == ACTIVE and flags.enabled(
            "white_label_v2", self.flag_context
        )

    @property
    def flag_context(self) -> dict[str, Any]:
        """What flags are evaluated in: of visitors nothing is known, so that the enterprise is its
        own unit of a rollout."""
        return flag_context(self.tenant.id, self.subscription_plan)


class SiteDirectory(Snapshot[Mapping[str, Site]]):
    """Every enterprise's host names, in lower case."""

    name = "sites"

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[str, Site]:
        rows = connection.execute("select * from site_directory()")
        return MappingProxyType(
            {
                row["host"]: Site(
                    host=row["host"],
                    tenant=TenantRef(row["enterprise_id"], row["own_schema"]),
                    enterprise_name=row["enterprise_name"],
                    enterprise_status=row["enterprise_status"],
                    subscription_plan=row["subscription_plan"],
                )
                for row in rows
            }
        )


sites = SiteDirectory()


def site_of(request: HttpRequest) -> Site | None:
    """Return whose storefront the request is for; None for the platform's own hosts and unknown
    ones. Raises psycopg.Error where this process knows no hosts yet and the database is away."""
    host = requested_host(request)
    if not host or is_platforms(host):
        return None
    return sites.get().get(host)
