"""The best combinations of several sorted lists, in exact order, read only as far as needed.

A slice of a journey is a list of offers in the order of a key (price or duration) and then of
their ids. A combination takes one of each slice; an offer departs some minutes after the one
before has arrived. Combinations are in the order of the sum of their keys, then of their ids.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

FIRST_READ: Final = 32
# So many combinations of one search can be walked through; each page begins at the first.
MOST: Final = 1_000
NEVER: Final = float("inf")


class Choice(NamedTuple):
    """An offer as a list has it; times are minutes since 1970."""

    key: int
    id: UUID
    departs: int
    arrives: int


class Combination(NamedTuple):
    """One offer of each slice, and what their keys come to."""

    total: int
    ids: tuple[UUID, ...]


# Reads so many offers more, past that one or from the beginning; fewer mean the list's end.
Read = Callable[[Choice | None, int], list[Choice]]


@dataclass(slots=True)
class Slice:
    """A list that is read in growing pages, up to a limit."""

    read: Read
    limit: int
    choices: list[Choice] = field(default_factory=list)
    is_whole: bool = False

    @property
    def can_grow(self) -> bool:
        return not self.is_whole and len(self.choices) < self.limit

    def grow(self) -> None:
        """Read as many again as there are."""
        wanted = min(max(FIRST_READ, len(self.choices)), self.limit - len(self.choices))
        found = self.read(self.choices[-1] if self.choices else None, wanted)
        self.choices += found
        self.is_whole = len(found) < wanted


@dataclass(frozen=True, slots=True)
class Combined:
    """What was found; `is_whole` unless there may be more than that."""

    combinations: list[Combination]
    is_whole: bool


def best_combinations(
    slices: Sequence[Slice], *, wait: int, count: int, after: Combination | None = None
) -> Combined:
    """Return the next combinations after one, up to `count`.

    Lists are read until nothing unread can come before what is answered: whatever takes an unread
    offer costs at least its list's last key and the others' first. Lists that are at their limit
    end the answer where that is no longer certain, as does combination number `MOST`.
    """
    for each in slices:
        if not each.choices and each.can_grow:
            each.grow()
    while True:
        if any(not each.choices for each in slices):
            return Combined([], is_whole=True)
        certain = [_certain_below(slices, place) for place in range(len(slices))]
        bound = min(certain)
        found: list[Combination] = []
        for number, combination in enumerate(_ordered(slices, wait)):
            if combination.total >= bound or len(found) == count:
                break
            if number == MOST:
                return Combined(found, is_whole=False)
            if after is None or combination > after:
                found.append(combination)
        if len(found) == count or bound == NEVER:
            return Combined(found, is_whole=len(found) < count)
        growing = [each for each, low in zip(slices, certain, strict=True) if low == bound]
        if not all(each.can_grow for each in growing):
            return Combined(found, is_whole=False)
        for each in growing:
            each.grow()


def _certain_below(slices: Sequence[Slice], place: int) -> float:
    """Return the sum below which no combination takes an unread offer of that slice."""
    own = slices[place]
    if own.is_whole:
        return NEVER
    others = sum(each.choices[0].key for number, each in enumerate(slices) if number != place)
    return own.choices[-1].key + others


def _ordered(slices: Sequence[Slice], wait: int) -> Iterator[Combination]:
    """Yield the combinations of what was read, in order.

    A heap of beginnings, each valued at the least that it can be completed for; the next of a
    beginning's siblings enters when it leaves, so that a step costs a heap's operation.
    """
    values = _completions(slices, wait)
    followers: dict[tuple[int, int], _Siblings] = {}
    ranked = [
        sorted(
            (value, choice.id, number)
            for number, (value, choice) in enumerate(zip(worth, each.choices, strict=True))
            if value < NEVER
        )
        for worth, each in zip(values, slices, strict=True)
    ]
    last = len(slices) - 1
    heap: list[tuple[float, tuple[UUID, ...], tuple[int, ...], int]] = []

    def siblings(beginning: tuple[int, ...]) -> _Siblings:
        level = len(beginning)
        key = (level, beginning[-1]) if beginning else (0, 0)
        if key not in followers:
            earliest = (
                slices[level - 1].choices[beginning[-1]].arrives + wait if beginning else None
            )
            followers[key] = _Siblings(ranked[level], slices[level].choices, earliest)
        return followers[key]

    def enter(beginning: tuple[int, ...], spent: int, ids: tuple[UUID, ...], rank: int) -> None:
        sibling = siblings(beginning).at(rank)
        if sibling is not None:
            value, identifier, number = sibling
            heapq.heappush(heap, (spent + value, (*ids, identifier), (*beginning, number), rank))

    enter((), 0, (), 0)
    while heap:
        total, ids, numbers, rank = heapq.heappop(heap)
        before = numbers[:-1]
        keys = [slices[level].choices[number].key for level, number in enumerate(numbers)]
        enter(before, sum(keys[:-1]), ids[:-1], rank + 1)
        if len(numbers) > last:
            yield Combination(int(total), ids)
        else:
            enter(numbers, sum(keys), ids, 0)


@dataclass(slots=True)
class _Siblings:
    """What can follow one offer, the best first, found as it is asked for."""

    ranked: list[tuple[float, UUID, int]]
    choices: list[Choice]
    earliest: int | None
    found: list[tuple[float, UUID, int]] = field(default_factory=list)
    looked: int = 0

    def at(self, rank: int) -> tuple[float, UUID, int] | None:
        while len(self.found) <= rank and self.looked < len(self.ranked):
            sibling = self.ranked[self.looked]
            self.looked += 1
            if self.earliest is None or self.choices[sibling[2]].departs >= self.earliest:
                self.found.append(sibling)
        return self.found[rank] if rank < len(self.found) else None


def _completions(slices: Sequence[Slice], wait: int) -> list[list[float]]:
    """Return for every offer the least that it and one of each later slice cost."""
    values: list[list[float]] = [[] for _ in slices]
    departures: list[int] = []
    least: list[float] = []
    for level in reversed(range(len(slices))):
        choices = slices[level].choices
        if level == len(slices) - 1:
            values[level] = [float(choice.key) for choice in choices]
        else:
            values[level] = [
                choice.key + (least[place] if place < len(least) else NEVER)
                for choice in choices
                for place in [bisect_left(departures, choice.arrives + wait)]
            ]
        in_order = sorted(zip((c.departs for c in choices), values[level], strict=True))
        departures = [departs for departs, _ in in_order]
        # The least of all that depart then or later.
        least = [value for _, value in in_order]
        for place in reversed(range(len(least) - 1)):
            least[place] = min(least[place], least[place + 1])
    return values
