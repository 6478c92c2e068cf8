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
    airports = allowed.shape[0]
    routing = (legs.origin[first].astype(np.int64) * airports + legs.destination[first]) * airports
    flat = allowed.reshape(-1)
    landed = legs.arrival[first]
    for start, row, second in followers(
        legs, legs.destination[first], landed + minimum_minutes, landed + maximum_minutes
    ):
        keep = flat[routing[start:][row] + legs.destination[second]]
        yield Connections(first[start:][row[keep]], second[keep])


def followers(
    legs: Legs,
    airport: NDArray[np.int32],
    earliest: NDArray[np.int64],
    latest: NDArray[np.int64],
) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    """Yield, in chunks, the legs that leave each `airport` from `earliest` to `latest`, inclusive.

    A chunk is the position of its first row in the arguments, the rows counted from there, and
    the positions of the legs.
    """
    if len(legs) == 0 or len(airport) == 0:
        return
    base = min(int(legs.departure.min()), int(earliest.min()), int(latest.min()))
    stride = max(int(legs.departure.max()), int(earliest.max()), int(latest.max())) - base + 1
    departures = legs.origin.astype(np.int64) * stride + (legs.departure - base)
    place = airport.astype(np.int64) * stride - base
    low = np.searchsorted(departures, place + earliest, side="left")
    high = np.searchsorted(departures, place + latest, side="right")
    counts = np.maximum(high - low, 0)
    for start, stop in _chunks(counts):
        part = counts[start:stop]
        total = int(part.sum())
        if total == 0:
            continue
        ends = np.cumsum(part)
        row = np.repeat(np.arange(stop - start, dtype=np.int32), part)
        shift = (low[start:stop] - (ends - part)).astype(np.int32)
        yield start, row, np.arange(total, dtype=np.int32) + shift[row]


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


def skyline(
    group: NDArray[np.int64],
    price: NDArray[np.int64],
    minutes: NDArray[np.int64],
    quality: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the positions that no other of their group beats in price, minutes and quality.

    A low price, few minutes and a high quality are good. Sorted by (group, price). Of equals the
    one stays that comes first. All values are non-negative; quality has few levels.
    """
    order = _by_group(group, price, minutes, quality)
    level, span = quality[order], int(minutes.max(initial=0)) + 1
    # Each group lies a whole stride below the one before, so a running minimum starts afresh.
    place = minutes[order] - group[order] * span
    kept = np.zeros(len(order), dtype=np.bool_)
    for least in np.unique(level):
        # Only those of the same quality or a better one can beat.
        rivals = np.flatnonzero(level >= least)
        before = np.minimum.accumulate(place[rivals])
        before[1:] = before[:-1]
        before[:1] = np.iinfo(np.int64).max
        kept[rivals[(place[rivals] < before) & (level[rivals] == least)]] = True
    return order[kept]


def _by_group(
    group: NDArray[np.int64],
    price: NDArray[np.int64],
    minutes: NDArray[np.int64],
    quality: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the stable order by group, price, minutes and falling quality."""
    best = int(quality.max(initial=0))
    parts = (group, price, minutes, best - quality)
    bits = [int(part.max(initial=0)).bit_length() for part in parts]
    if sum(bits) > 63:
        return np.lexsort(parts[::-1])
    # One packed key sorts several times faster than a lexsort over four arrays.
    key = np.zeros(len(group), dtype=np.int64)
    for part, width in zip(parts, bits, strict=True):
        key = (key << width) | part
    return np.argsort(key, kind="stable")


def in_turns(
    owner: NDArray[np.int64], kind: NDArray[np.int64], allowance: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the positions kept when each owner takes from its kinds in turns.

    Within one owner and kind the earlier position goes first; owner `i` keeps at most
    `allowance[i]`. `owner` and `kind` are sorted together, as `pareto_front` leaves them.
    """
    return np.flatnonzero(places_in_turn(owner, kind) < allowance[owner])


def places_in_turn(owner: NDArray[np.int64], kind: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each position's place, from 0, when its owner takes from its kinds in turns.

    Within one owner and kind the earlier position goes first; both are sorted together.
    """
    if len(owner) == 0:
        return np.empty(0, dtype=np.int64)
    turn = _rank_in_run(owner * (int(kind.max()) + 1) + kind)
    order = np.lexsort((kind, turn, owner))
    place = np.empty(len(owner), dtype=np.int64)
    place[order] = _rank_in_run(owner[order])
    return place


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
