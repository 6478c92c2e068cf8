"""Which journeys of a file came before: 24 bytes apiece, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Run:
    """Digests in the order of their first half, with the lines that they came from."""

    first: Words
    second: Words
    lines: NDArray[np.int64]

    @classmethod
    def of(cls, first: Words, second: Words, lines: NDArray[np.int64]) -> _Run:
        order = np.argsort(first, kind="stable")
        return cls(first[order], second[order], lines[order])

    def joined(self, other: _Run) -> _Run:
        return _Run.of(
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.lines, other.lines]),
        )

    def candidates(self, first: Words) -> NDArray[np.intp]:
        """Return where a first half stands here that is also among those."""
        at = np.searchsorted(self.first, first)
        at[at == len(self.first)] = 0
        return np.flatnonzero(self.first[at] == first)

    def line_of(self, first: np.uint64, second: np.uint64) -> int | None:
        at = int(np.searchsorted(self.first, first))
        while at < len(self.first) and self.first[at] == first:
            if self.second[at] == second:
                return int(self.lines[at])
            at += 1
        return None


class Journeys:
    """The journeys of a file so far: sorted runs, each at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def repeated(self, digests: Sequence[bytes], lines: Sequence[int]) -> dict[int, int]:
        """Note the journeys of some lines.

        Returns the positions of those that came before, each with the line that had it first.
        """
        before: dict[int, int] = {}
        words = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)
        first, second = words[:, 0], words[:, 1]
        for run in self._runs:
            for position in run.candidates(first).tolist():
                line = run.line_of(first[position], second[position])
                if line is not None:
                    before[position] = line
        here: dict[bytes, int] = {}
        for position, digest in enumerate(digests):
            if position not in before:
                line = here.setdefault(digest, lines[position])
                if line != lines[position]:
                    before[position] = line
        if here:
            self._note(here)
        return before

    def _note(self, here: dict[bytes, int]) -> None:
        words = np.frombuffer(b"".join(here), dtype=np.uint64).reshape(-1, 2)
        lines = np.fromiter(here.values(), dtype=np.int64, count=len(here))
        self._runs.append(_Run.of(words[:, 0], words[:, 1], lines))
        while len(self._runs) > 1 and len(self._runs[-2].lines) < 2 * len(self._runs[-1].lines):
            last = self._runs.pop()
            self._runs[-1] = self._runs[-1].joined(last)
