"""Weights that were learned from travellers' choices, in memory; the search's SQL applies them.

Whatever is wrong with them costs nobody a search: the configured weights hold then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog

from apps.configs.runtime import configs
from apps.flights.weights import SCORE_VERSION, Weights, usable_weights
from layoverhq.snapshot import Snapshot
from layoverhq.tenancy import TenantRef

log = structlog.get_logger(__name__)

# The key of the version that enterprises share.
SHARED: Final = None


@dataclass(frozen=True, slots=True)
class Learned:
    """A version in use."""

    id: UUID
    weights: Weights
    score_version: int
    trained_at: datetime


class Rankers(Snapshot[Mapping[UUID | None, Learned]]):
    """The version in use of each enterprise, and the shared one."""

    name = "rankers"

    def reset(self) -> None:
        super().reset()
        self._told: tuple[int, set[tuple[Any, ...]]] = (-1, set())

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[UUID | None, Learned]:
        found: dict[UUID | None, Learned] = {}
        for row in connection.execute("select * from ranker_directory()"):
            try:
                weights = usable_weights(row["weights"])
            except ValueError as error:
                # A row that no operation wrote takes itself out of use, and no other with it.
                log.error("ranker_unusable", ranker=str(row["id"]), fault=str(error))
                continue
            found[row["enterprise_id"]] = Learned(
                row["id"], weights, row["score_version"], row["trained_at"]
            )
        return MappingProxyType(found)

    def tell(self, tenant: TenantRef, why: str, **facts: Any) -> None:
        """Log why a tenant is ranked by its configuration, once for what is held."""
        version, told = self._told
        if version != self.version:
            version, told = self.version, set()
            self._told = (version, told)
        if (tenant.id, why) not in told:
            told.add((tenant.id, why))
            log.warning("ranked_by_configuration", tenant_id=str(tenant.id), why=why, **facts)


rankers = Rankers()


def learned_ranking(
    tenant: TenantRef, counted: Mapping[str, bool], *, now: datetime
) -> Learned | None:
    """Return the tenant's version, or the shared one if it shares; None, and a line in the log,
    where none can be used.

    Its weights are those of the components that count.
    """
    try:
        held = rankers.get()
    except psycopg.Error as error:
        # This process holds none yet, and the database is away.
        rankers.tell(tenant, "not_loaded", error=str(error).strip())
        return None
    learned = held.get(tenant.id)
    if learned is None and configs.get("ranking.share_choices", tenant):
        learned = held.get(SHARED)
    if learned is None:
        rankers.tell(tenant, "no_version")
        return None
    if learned.score_version != SCORE_VERSION:
        rankers.tell(tenant, "other_formula", ranker=str(learned.id))
        return None
    if now - learned.trained_at > timedelta(days=configs.get("ranking.fresh_days", tenant)):
        rankers.tell(tenant, "stale", ranker=str(learned.id))
        return None
    weights = learned.weights.of(counted)
    if not weights.total > 0:
        rankers.tell(tenant, "nothing_counts", ranker=str(learned.id))
        return None
    return Learned(learned.id, weights, learned.score_version, learned.trained_at)
