"""Build one-stop connections from a schedule, as pure functions on numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bounds what one expansion holds in memory; larger chunks fall out of the processor's cache.
PAIRS_PER_CHUNK = 1_000_000


@dataclass(frozen=True, slots=True)
class Legs:
    """Departures as parallel arrays: airports as indices, times as minutes since 1970 in UTC.

    Sorted by (origin, departure); `sorted_legs` makes it so.
    """

    origin: NDArray[np.int32]
    destination: NDArray[np.int32]
    departure: NDArray[np.int64]
    arrival: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.origin)


@dataclass(frozen=True, slots=True)
class Connections:
    """Pairs of positions in a `Legs`: the second leg leaves from where the first one lands."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.first)


def sorted_legs(
    origin: NDArray[np.int32],
    destination: NDArray[np.int32],
    departure: NDArray[np.int64],
    arrival: NDArray[np.int64],
) -> tuple[Legs, NDArray[np.int64]]:
    """Return the legs in order of (origin, departure), and that order as positions of the input."""
    order = np.lexsort((arrival, departure, origin))
    legs = Legs(origin[order], destination[order], departure[order], arrival[order])
    return legs, order


def allowed_routings(
    miles: NDArray[np.float64], wanted: NDArray[np.bool_], *, detour: float
) -> NDArray[np.bool_]:
    """Return which (origin, via, destination) are worth building.

    `miles` is the distance between any two airports, `wanted` the city pairs asked for. A routing
    backtracks if via is origin or destination, and is a detour if it flies more than `detour`
    times the direct distance.
    """
    flown = miles[:, :, None] + miles[None, :, :]
    allowed = wanted[:, None, :] & (flown <= detour * miles[:, None, :])
    airports = np.arange(len(miles))
    allowed[airports, airports, :] = False
    allowed[:, airports, airports] = False
    allowed[airports, :, airports] = False
    return allowed


def connections(
    legs: Legs,
    first: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    *,
    minimum_minutes: int,
    maximum_minutes: int,
) -> Iterator[Connections]:
    """Yield, in chunks, every allowed connection from the legs at the positions `first`.

    A layover lasts from `minimum_minutes` to `maximum_minutes`, both included: there is none
    where the one exceeds the other.
    """
    if len(legs) == 0 or len(first) == 0:
        return
    base = int(legs.departure.min())
    stride = int(legs.arrival.max()) - base + maximum_minutes + 1
    departures = legs.origin.astype(np.int64) * stride + (legs.departure - base)
    landed = legs.destination[first].astype(np.int64) * stride + (legs.arrival[first] - base)
    low = np.searchsorted(departures, landed + minimum_minutes, side="left")
    high = np.searchsorted(departures, landed + maximum_minutes, side="right")
    counts = np.maximum(high - low, 0)

    airports = allowed.shape[0]
    routing = (legs.origin[first].astype(np.int64) * airports + legs.destination[first]) * airports
    flat = allowed.reshape(-1)
    for start, stop in _chunks(counts):
        part = counts[start:stop]
        total = int(part.sum())
        if total == 0:
            continue
        ends = np.cumsum(part)
        row = np.repeat(np.arange(stop - start, dtype=np.int32), part)
        shift = (low[start:stop] - (ends - part)).astype(np.int32)
        second = np.arange(total, dtype=np.int32) + shift[row]
        keep = flat[routing[start:stop][row] + legs.destination[second]]
        yield Connections(first[start:stop][row[keep]], second[keep])


def pareto_front(
    group: NDArray[np.int64], price: NDArray[np.int64], minutes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the positions that no other of their group beats in both price and minutes.

    Sorted by (group, price). Of equals the one stays that comes first. All values are non-negative.
    """
    if len(group) == 0:
        return np.empty(0, dtype=np.int64)
    price_bits = int(price.max()).bit_length()
    minute_bits = int(minutes.max()).bit_length()
    if int(group.max()).bit_length() + price_bits + minute_bits > 63:
        raise ValueError("group, price and minutes do not fit one 63-bit sort key")
    # One packed key sorts several times faster than a lexsort over three arrays.
    key = (((group << price_bits) | price) << minute_bits) | minutes
    order = np.argsort(key, kind="stable")
    best = minutes[order] - (group[order] << minute_bits)
    # Each group lies a whole stride below the one before, so the running minimum starts afresh.
    before = np.empty_like(best)
    before[0] = np.iinfo(np.int64).max
    np.minimum.accumulate(best[:-1], out=before[1:])
    return order[best < before]


def in_turns(
    owner: NDArray[np.int64], kind: NDArray[np.int64], allowance: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the positions kept when each owner takes from its kinds in turns.

    Within one owner and kind the earlier position goes first; owner `i` keeps at most
    `allowance[i]`. `owner` and `kind` are sorted together, as `pareto_front` leaves them.
    """
    if len(owner) == 0:
        return np.empty(0, dtype=np.int64)
    turn = _rank_in_run(owner * (int(kind.max()) + 1) + kind)
    order = np.lexsort((kind, turn, owner))
    place = _rank_in_run(owner[order])
    return np.sort(order[place < allowance[owner[order]]])


def _rank_in_run(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each position's distance from the start of its run of equal values."""
    position = np.arange(len(values))
    starts = np.concatenate(([True], values[1:] != values[:-1]))
    return position - np.maximum.accumulate(np.where(starts, position, 0))


def _chunks(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges of positions whose counts add up to about PAIRS_PER_CHUNK."""
    cumulative = np.cumsum(counts)
    start, spent = 0, 0
    while start < len(counts):
        stop = int(np.searchsorted(cumulative, spent + PAIRS_PER_CHUNK, side="right"))
        stop = max(stop, start + 1)
        yield start, stop
        start, spent = stop, int(cumulative[stop - 1])
