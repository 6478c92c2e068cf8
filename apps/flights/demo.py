"""The demo's offers: nonstops and one-stop itineraries of one day, pruned and priced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache

import numpy as np
from numpy.typing import NDArray

from apps.flights.connections import allowed_routings, connections, in_turns, pareto_front
from apps.flights.fares import digests, drawn_carriers, drawn_prices, fares, mixed, unit_draws
from apps.flights.ground import Places, Spendable, Stays, spendable
from apps.flights.network import DAY_MINUTES, Schedule, local_time_texts, network, schedule

PROVIDER = "demo-network"

# Below it a traveller would miss the second flight, however short a layover may be otherwise.
MINIMUM_CONNECTION_MINUTES = 45
MAXIMUM_LAYOVER_MINUTES = 20 * 60
DETOUR = 1.6

# A layover's length is a wish and not a cost: a traveller who wants to see the city is not
# served by a shorter one. So offers compete on price and duration within a class of length only.
LAYOVER_CLASS_MINUTES = (90, 180, 300, 480, 660, 840, 1020)

# How many one-stop offers a city pair keeps a day grows with the passengers who fly it, more
# slowly than their number: the trunk routes show plenty and the 14,000 thin ones fit as well.
OFFERS_PER_PASSENGER = 0.04
PASSENGER_EXPONENT = 0.7
OFFERS_PER_PAIR = (2, 60)

_NONE = -1


@dataclass(frozen=True, slots=True)
class DemoOffers:
    """One day's offers as parallel arrays, sorted by city pair and price.

    `first` and `second` are positions in the schedule's legs; `second` is -1 for a nonstop.
    `carrier` is a position in the fares' carriers.
    """

    day: date
    schedule: Schedule
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    price_minor: NDArray[np.int64]
    carrier: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)


def demo_offers(day: date, *, minimum_layover_minutes: int) -> DemoOffers:
    """Compose the offers that depart on the day, by the origin's calendar; always the same.

    No layover is shorter than `minimum_layover_minutes`, nor than the minimum connection time.
    """
    net = network()
    fare = fares(net.codes)
    # The second leg of a late departure with a long layover leaves two days later; one day
    # before the first leg's own date where that flies west over midnight.
    plan = schedule(day, before_days=1, after_days=2)
    shortest = max(minimum_layover_minutes, MINIMUM_CONNECTION_MINUTES)
    first, second, price = _one_stops(plan, shortest)
    direct = plan.on_day[fare.known[_pairs(plan, plan.on_day, plan.on_day)]]
    direct_price = _prices(plan, direct, np.full(len(direct), _NONE, dtype=np.int32))
    first = np.concatenate([direct, first])
    second = np.concatenate([np.full(len(direct), _NONE, dtype=np.int32), second])
    price = np.concatenate([direct_price, price])
    pair = _pairs(plan, first, np.where(second == _NONE, first, second))
    order = np.lexsort((price, pair))
    first, second, price, pair = first[order], second[order], price[order], pair[order]
    draw = unit_draws(mixed(_identity(plan, first, second)))
    return DemoOffers(day, plan, first, second, price, drawn_carriers(fare, pair, draw))


def _one_stops(
    plan: Schedule, minimum_minutes: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Return first legs, second legs and prices of the one-stop itineraries worth offering."""
    legs, fare = plan.legs, fares(network().codes)
    classes = len(LAYOVER_CLASS_MINUTES) + 1
    none, no_legs = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    fronts = [(none, none, none, no_legs, no_legs)]
    for part in connections(
        legs,
        plan.on_day,
        _routings(),
        minimum_minutes=minimum_minutes,
        maximum_minutes=MAXIMUM_LAYOVER_MINUTES,
    ):
        group = _pairs(plan, part.first, part.second) * classes + np.searchsorted(
            LAYOVER_CLASS_MINUTES, legs.departure[part.second] - legs.arrival[part.first], "right"
        )
        minutes = legs.arrival[part.second] - legs.departure[part.first]
        price = _prices(plan, part.first, part.second)
        # Whoever is beaten within a chunk is beaten in the whole.
        kept = pareto_front(group, price, minutes)
        fronts.append(
            (group[kept], price[kept], minutes[kept], part.first[kept], part.second[kept])
        )
    group, price, minutes, first, second = (
        np.concatenate(column) for column in zip(*fronts, strict=True)
    )
    front = pareto_front(group, price, minutes)
    owner, kind = np.divmod(group[front], classes)
    offered = OFFERS_PER_PASSENGER * fare.passengers.astype(np.float64) ** PASSENGER_EXPONENT
    allowance = np.clip(np.rint(offered), *OFFERS_PER_PAIR).astype(np.int64)
    chosen = front[in_turns(owner, kind, allowance)]
    return first[chosen], second[chosen], price[chosen]


def prepare() -> None:
    """Read what every day needs, so that threads which compose days share it."""
    _routings()


@cache
def _routings() -> NDArray[np.bool_]:
    net = network()
    wanted = fares(net.codes).known.reshape(len(net.codes), len(net.codes))
    return allowed_routings(net.miles, wanted, detour=DETOUR)


def _pairs(plan: Schedule, first: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the city pair of each itinerary, as `Fares` counts them."""
    airports = len(network().codes)
    return plan.legs.origin[first].astype(np.int64) * airports + plan.legs.destination[last]


def _prices(
    plan: Schedule, first: NDArray[np.int32], second: NDArray[np.int32]
) -> NDArray[np.int64]:
    pair = _pairs(plan, first, np.where(second == _NONE, first, second))
    draw = unit_draws(_identity(plan, first, second))
    return drawn_prices(fares(network().codes), pair, draw)


def _identity(
    plan: Schedule, first: NDArray[np.int32], second: NDArray[np.int32]
) -> NDArray[np.uint64]:
    """Return a hash of each itinerary's legs: airports and times, never array positions."""
    legs = plan.legs
    leg = digests([legs.origin, legs.destination, legs.departure, legs.arrival])
    nothing = np.zeros(1, dtype=np.uint64)
    return mixed(leg[first] ^ np.concatenate([leg * np.uint64(3), nothing])[second])


def busiest_routes(count: int) -> list[tuple[str, str]]:
    """Return the city pairs that most passengers fly, as IATA codes."""
    codes = network().codes
    order = np.argsort(-fares(codes).passengers, kind="stable")[:count]
    return [(codes[pair // len(codes)], codes[pair % len(codes)]) for pair in order.tolist()]


def copy_lines(offers: DemoOffers, *, known: Places) -> Iterator[str]:
    """Yield the offers as lines for COPY, one each, with the columns of `staged_offers`.

    Airports, times and carriers hold nothing that COPY's text format would need to escape.
    """
    legs, plan, net = offers.schedule.legs, offers.schedule, network()
    codes = net.codes
    used = np.unique(np.concatenate([offers.first, offers.second[offers.second != _NONE]]))
    segments = dict(zip(used.tolist(), _segment_texts(plan, used), strict=True))
    last = np.where(offers.second == _NONE, offers.first, offers.second)
    layover = np.where(offers.second == _NONE, 0, legs.departure[last] - legs.arrival[offers.first])
    carriers = fares(codes).carriers
    spent = _spendable(offers, known)
    columns = zip(
        offers.first.tolist(),
        offers.second.tolist(),
        legs.origin[offers.first].tolist(),
        legs.destination[last].tolist(),
        legs.departure[offers.first].tolist(),
        legs.arrival[last].tolist(),
        (plan.departure_local[offers.first] % DAY_MINUTES).tolist(),
        offers.price_minor.tolist(),
        legs.destination[offers.first].tolist(),
        layover.tolist(),
        spent.usable.tolist(),
        spent.daylight.tolist(),
        spent.overnight.tolist(),
        offers.carrier.tolist(),
        strict=True,
    )
    for (
        first,
        second,
        origin,
        destination,
        departs,
        arrives,
        minute,
        price,
        via,
        wait,
        usable,
        daylight,
        night,
        by,
    ) in columns:
        carrier = carriers[by]
        head = f"{departs}\t{arrives}\t{minute}\t{price}\t{codes[origin]}\t{codes[destination]}\t"
        if second == _NONE:
            yield (
                f"{head}\\N\t\\N\t\\N\t\\N\tf\t{{{carrier}}}\t{{}}\t{{}}\t{{}}\t{{}}\t{{}}\t[]\t"
                f'[{segments[first]}{carrier}"}}]\n'
            )
        else:
            overnight = ',"overnight":true' if night else ""
            yield (
                f"{head}{wait}\t{wait}\t{usable}\t{daylight}\t{'ft'[night]}\t{{{carrier}}}\t"
                f"{{{codes[via]}}}\t{{{wait}}}\t{{{usable}}}\t{{{daylight}}}\t{{{'ft'[night]}}}\t"
                f'[{{"airport":"{codes[via]}","minutes":{wait},"usable_minutes":{usable},'
                f'"daylight_minutes":{daylight}{overnight}}}]\t'
                f'[{segments[first]}{carrier}"}},{segments[second]}{carrier}"}}]\n'
            )


def _spendable(offers: DemoOffers, known: Places) -> Spendable:
    """Return what each offer's layover leaves for the city; a nonstop's numbers mean nothing."""
    legs, plan = offers.schedule.legs, offers.schedule
    place = np.array([known.index[code] for code in network().codes], dtype=np.int64)
    last = np.where(offers.second == _NONE, offers.first, offers.second)
    arrival = legs.arrival[offers.first]
    offset = plan.arrival_local[offers.first] - arrival
    return spendable(
        known,
        Stays(
            airport=place[legs.destination[offers.first]],
            origin=place[legs.origin[offers.first]],
            destination=place[legs.destination[last]],
            arrival=arrival,
            departure=np.maximum(legs.departure[last], arrival),
            offset=offset,
            change=plan.departure_local[last] - legs.departure[last] - offset,
        ),
    )


def _segment_texts(plan: Schedule, positions: NDArray[np.int32]) -> list[str]:
    """Return each leg as the JSON of a segment, up to and without its carrier's code."""
    legs, codes = plan.legs, network().codes
    departure, arrival = legs.departure[positions], legs.arrival[positions]
    return [
        f'{{"origin":"{codes[origin]}","destination":"{codes[destination]}",'
        f'"departs_at":"{departs}","arrives_at":"{arrives}","minutes":{minutes},"carrier":"'
        for origin, destination, departs, arrives, minutes in zip(
            legs.origin[positions].tolist(),
            legs.destination[positions].tolist(),
            local_time_texts(plan.departure_local[positions], departure),
            local_time_texts(plan.arrival_local[positions], arrival),
            (arrival - departure).tolist(),
            strict=True,
        )
    ]
