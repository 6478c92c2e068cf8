"""Which units met which variant of a running experiment: noted once each, sent by the recorder."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

# Of each of two generations: a unit that is met again within them is not sent again.
REMEMBERED = 25_000
# What waits for a database that is away, some 300 bytes each.
WAITING = 50_000
LONGEST_UNIT = 1_000


@dataclass(frozen=True, slots=True)
class RunningExperiment:
    """An experiment as evaluation knows it; a rule of None is the flag's own rollout."""

    id: UUID
    rule: str | None
    started_at: datetime
    # the goals that count requests: `api:` and the name of a route
    routes: frozenset[str] = frozenset()


class Exposure(NamedTuple):
    """A unit of an enterprise that met a variant."""

    experiment: UUID
    enterprise: str
    unit: str
    variant: str
    at: datetime

    def document(self) -> dict[str, str]:
        """Return it as record_flag_exposures() takes it."""
        return {
            "experiment": str(self.experiment),
            "enterprise": self.enterprise,
            "unit": self.unit,
            "variant": self.variant,
            "at": self.at.isoformat(),
        }


class Exposures:
    """What was met in this process, and what of it still has to be sent."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Know of nothing: a fork's copy is the parent's to send."""
        self._recent: dict[tuple[UUID, str, str], str] = {}
        self._older: dict[tuple[UUID, str, str], str] = {}
        self.waiting: deque[Exposure] = deque()
        self.dropped = 0

    def see(
        self,
        experiment: RunningExperiment,
        context: Mapping[str, Any],
        unit: str | None,
        variant: str | None,
    ) -> None:
        """Note that a context's unit met a variant, unless that is known.

        A context without an enterprise is nobody's, and is not noted. What finds no room is not
        remembered either: the unit's next evaluation tries again.
        """
        enterprise = context.get("enterprise")
        if type(enterprise) is not str or unit is None or variant is None:
            return
        key = (experiment.id, enterprise, unit)
        known = self._recent.get(key)
        if known is None:
            known = self._older.get(key)
        if known == variant:
            return
        if len(unit) > LONGEST_UNIT or not storable(unit) or not _is_uuid(enterprise):
            return
        if len(self.waiting) >= WAITING:
            self.dropped += 1
            return
        if len(self._recent) >= REMEMBERED:
            self._older, self._recent = self._recent, {}
        self._recent[key] = variant
        self.waiting.append(Exposure(experiment.id, enterprise, unit, variant, datetime.now(UTC)))


def storable(text: str) -> bool:
    """Return whether PostgreSQL can hold a text: JSON spells more than it does."""
    return "\x00" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def _is_uuid(text: str) -> bool:
    """Return whether a text is a UUID as it is usually written."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


@dataclass(slots=True)
class Usage:
    """How often an enterprise asked a route since it was last sent, and when first."""

    first_at: datetime
    requests: int = 0


class ApiUsage:
    """Requests that goals of running experiments count, added up by route and enterprise."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Know of nothing."""
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, UUID], Usage] = {}

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._seen)

    def see(self, event: str, enterprise_id: UUID) -> None:
        """Count one request."""
        with self._lock:
            usage = self._seen.setdefault((event, enterprise_id), Usage(datetime.now(UTC)))
            usage.requests += 1

    def take(self) -> dict[tuple[str, UUID], Usage]:
        """Return what was counted, and begin again."""
        with self._lock:
            taken, self._seen = self._seen, {}
        return taken

    def give_back(self, taken: Mapping[tuple[str, UUID], Usage]) -> None:
        """Put back what could not be sent."""
        with self._lock:
            for key, usage in taken.items():
                kept = self._seen.setdefault(key, Usage(usage.first_at))
                kept.first_at = min(kept.first_at, usage.first_at)
                kept.requests += usage.requests


exposures = Exposures()
api_usage = ApiUsage()


def _begin_again() -> None:
    exposures.reset()
    api_usage.reset()


os.register_at_fork(after_in_child=_begin_again)
