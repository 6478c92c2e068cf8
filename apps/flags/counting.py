"""How often each flag answered what, since the flusher last told the database.

Counting is `next(counter)` of an `itertools.count`: some 30 ns, and atomic, so that threads lose
none. What a counter has seen is read by the same call, which the reader takes off again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

UNCOUNTED: Iterator[Any] = itertools.repeat(None)
"""Counts nothing."""


class Counted(NamedTuple):
    """How often a flag gave an answer."""

    flag: str
    variant: str
    reason: str
    hits: int


class Tally:
    """Counts one answer; a snapshot that is swapped leaves it in place."""

    __slots__ = ("_reads", "_told", "counter")

    def __init__(self) -> None:
        self.counter: Iterator[int] = itertools.count()
        self._reads = 0
        self._told = 0

    def untold(self) -> int:
        """Return how often it counted since told(); for one thread at a time."""
        hits = next(self.counter) - self._reads - self._told
        self._reads += 1
        return hits

    def told(self, hits: int) -> None:
        """Take off what was told."""
        self._told += hits


class Tallies:
    """All tallies of this process, by flag, variant and reason: as many as there are answers."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, str], Tally] = {}

    def of(self, flag: str, variant: str | None, reason: str) -> Tally:
        """Return the tally of an answer, the same one however often the flag is compiled."""
        key = (flag, variant or "", reason)
        # Of two threads that compile at once both get the one that was kept.
        return self._tallies.get(key) or self._tallies.setdefault(key, Tally())

    def untold(self) -> list[Counted]:
        """Return what was counted since told()."""
        found = [(key, tally.untold()) for key, tally in list(self._tallies.items())]
        return [Counted(*key, hits) for key, hits in found if hits]

    def told(self, counted: list[Counted]) -> None:
        """Take off what the database has."""
        for flag, variant, reason, hits in counted:
            self._tallies[flag, variant, reason].told(hits)

    def reset(self) -> None:
        """Forget what a fork copied: the parent tells it."""
        self._tallies = {}


tallies = Tallies()
os.register_at_fork(after_in_child=tallies.reset)
