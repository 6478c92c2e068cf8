"""Which units met which variant of a running experiment: noted once each, sent by the recorder."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

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

    event: str
    enterprise: UUID
    first_at: datetime
    # what is sent again, since nobody knows whether it arrived, is the same and kept once
    id: UUID = field(default_factory=uuid4)
    requests: int = 0

    def document(self) -> dict[str, Any]:
        """Return it as record_api_usage() takes it."""
        return {
            "id": str(self.id),
            "enterprise": str(self.enterprise),
            "event": self.event,
            "value": self.requests,
            "at": self.first_at.isoformat(),
        }


class ApiUsage:
    """Requests that goals of running experiments count, added up by route and enterprise."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Know of nothing."""
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, UUID], Usage] = {}
        self._taken: list[Usage] = []

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._seen or self._taken)

    def see(self, event: str, enterprise_id: UUID) -> None:
        """Count one request."""
        with self._lock:
            key = (event, enterprise_id)
            if (usage := self._seen.get(key)) is None:
                usage = self._seen[key] = Usage(event, enterprise_id, datetime.now(UTC))
            usage.requests += 1

    def take(self) -> list[Usage]:
        """Return what is to be sent, the same until sent(); for one thread at a time."""
        if not self._taken:
            with self._lock:
                self._taken, self._seen = [*self._seen.values()], {}
        return self._taken

    def sent(self) -> None:
        """Forget what was taken: the database has it."""
        self._taken = []


exposures = Exposures()
api_usage = ApiUsage()


def _begin_again() -> None:
    exposures.reset()
    api_usage.reset()


os.register_at_fork(after_in_child=_begin_again)
