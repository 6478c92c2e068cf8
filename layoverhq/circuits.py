"""A circuit breaker for each who is asked: who fails again and again is left alone for a while.

pybreaker (1.4.1) was tried: it keeps its state in several Redis keys without a transaction, lets
every process through at once when half open, counts nothing while Redis is away, and reads the
clock by itself. What is needed instead is one document and three transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog

from layoverhq.remote import OUTAGES, RemoteFault
from layoverhq.shared_state import Document, SharedState, shared_state

log = structlog.get_logger(__name__)

# Each failed probe doubles the time until the next one, up to this.
LONGEST_COOL_DOWN: Final = timedelta(minutes=30)
# Whoever probes may have been killed: after this somebody else does.
PROBE_LEASE: Final = timedelta(minutes=5)


class State(StrEnum):
    """Closed: everybody asks. Open: nobody. Half open: one asks, to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitOpen(RemoteFault):
    """They are left alone until `retry_at`."""

    def __init__(self, retry_at: datetime) -> None:
        self.retry_at = retry_at
        until = f"{retry_at:%H:%M:%S} UTC"
        super().__init__(
            "circuit_open", f"It failed again and again, and is left alone until {until}."
        )


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of somebody's failures in a row."""

    failures: int = 0
    # How often it opened without closing in between.
    openings: int = 0
    retry_at: datetime | None = None
    probe_until: datetime | None = None

    def state(self, now: datetime) -> State:
        if self.retry_at is None:
            return State.CLOSED
        return State.OPEN if now < self.retry_at else State.HALF_OPEN

    @classmethod
    def of(cls, document: Document) -> Circuit:
        """Return the circuit of a stored document."""

        def instant(name: str) -> datetime | None:
            text = document.get(name)
            return datetime.fromisoformat(text) if text else None

        return cls(
            failures=document.get("failures", 0),
            openings=document.get("openings", 0),
            retry_at=instant("retry_at"),
            probe_until=instant("probe_until"),
        )

    def document(self) -> Document:
        return {
            "failures": self.failures,
            "openings": self.openings,
            "retry_at": self.retry_at.isoformat() if self.retry_at else None,
            "probe_until": self.probe_until.isoformat() if self.probe_until else None,
        }

    def admitting(self, now: datetime) -> tuple[Circuit, datetime | None]:
        """Return the circuit once somebody asks, and until when they may not, if so."""
        if self.retry_at is None:
            return self, None
        if now < self.retry_at:
            return self, self.retry_at
        if self.probe_until is not None and now < self.probe_until:
            return self, self.probe_until
        return replace(self, probe_until=now + PROBE_LEASE), None

    def after_failure(self, now: datetime, *, failures: int, cool_down: timedelta) -> Circuit:
        """Return the circuit after one more failure; it opens at `failures`, or at a probe's."""
        counted = replace(self, failures=self.failures + 1)
        if self.state(now) is State.OPEN:
            # Whoever had begun before it opened: nothing new.
            return counted
        if self.retry_at is None and counted.failures < failures:
            return counted
        # Bounded before it is doubled: 2**openings has no end.
        rest = min(cool_down * 2 ** min(self.openings, 16), LONGEST_COOL_DOWN)
        return replace(counted, openings=self.openings + 1, retry_at=now + rest, probe_until=None)


class CircuitBreaker:
    """The breaker of one who is asked, by name; `against` are the faults that count."""

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        cool_down: timedelta,
        against: Set[str] = OUTAGES,
        shared: SharedState = shared_state,
    ) -> None:
        self.name = name
        self._document = f"circuit:{name}"
        self._failures = failures
        self._cool_down = cool_down
        self._against = against
        self._shared = shared

    @contextmanager
    def asking(self, clock: Callable[[], datetime]) -> Iterator[None]:
        """Ask in the block, and note what comes of it. Raises CircuitOpen."""
        self.admit(clock())
        try:
            yield
        except RemoteFault as fault:
            if fault.code in self._against:
                self.failed(clock())
            else:
                self.release()
            raise
        self.succeeded(clock())

    def admit(self, now: datetime) -> None:
        """Raise CircuitOpen unless they may be asked; of a half-open one once."""

        def change(document: Document) -> tuple[Document, datetime | None]:
            circuit, until = Circuit.of(document).admitting(now)
            return circuit.document(), until

        if until := self._shared.change(self._document, change):
            raise CircuitOpen(until)

    def succeeded(self, now: datetime) -> None:
        """Close the circuit."""

        def change(document: Document) -> tuple[Document, State]:
            return Circuit().document(), Circuit.of(document).state(now)

        if self._shared.change(self._document, change) is not State.CLOSED:
            log.info("circuit_closed", name=self.name)

    def failed(self, now: datetime) -> None:
        """Count a failure, and open the circuit if it is one too many."""

        def change(document: Document) -> tuple[Document, datetime | None]:
            before = Circuit.of(document)
            after = before.after_failure(now, failures=self._failures, cool_down=self._cool_down)
            opened = after.retry_at if after.openings > before.openings else None
            return after.document(), opened

        if until := self._shared.change(self._document, change):
            log.error("circuit_opened", name=self.name, until=until.isoformat())

    def release(self) -> None:
        """Let somebody else probe: whoever was admitted did not come to ask."""

        def change(document: Document) -> tuple[Document, None]:
            return replace(Circuit.of(document), probe_until=None).document(), None

        self._shared.change(self._document, change)

    def reset(self) -> None:
        """Close the circuit because somebody says so."""
        self._shared.forget(self._document)
        log.info("circuit_reset", name=self.name)

    def look(self) -> tuple[Circuit, bool]:
        """Return the circuit, and whether it is the one that all processes share."""
        document, is_shared = self._shared.read(self._document)
        return Circuit.of(document), is_shared
