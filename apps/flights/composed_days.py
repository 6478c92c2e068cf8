"""Composed itineraries day by day: read the nonstops on sale, compose, store what changed.

Runs with the operator's role. A day is one transaction: it stands whole, or as it was before.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, Final

import numpy as np
import structlog
from django.db import connections

from apps.configs.runtime import configs
from apps.flights.airports import airports, ground
from apps.flights.composing import (
    DAY_MINUTES,
    NONE,
    Asked,
    Itineraries,
    Limits,
    Nonstops,
    compose,
    distances,
    minimums,
    stays,
)
from apps.flights.connection_times import connection_times
from apps.flights.connections import sorted_legs
from apps.flights.ground import Places, Spendable, spendable
from apps.flights.models import ComposedDay, ComposedRoute
from apps.flights.offers.staging import COLUMNS
from layoverhq.tenancy import atomic, current_alias

log = structlog.get_logger(__name__)

PROVIDER: Final = "layoverhq-composed"
KEPT_FOR: Final = timedelta(days=30)
COPY_LINES: Final = 1_000

# The first flights leave on the day. What follows them leaves on the day before at the earliest,
# where the first one flies west over the date line.
WINDOW = """
    f.layover_count = 0
    and f.enterprise_id is null
    and f.departure_day between %(day)s - 1 and %(last)s
    and f.departure_at >= (
        select min(own.departure_at)
        from flights own
        where own.layover_count = 0 and own.enterprise_id is null and own.departure_day = %(day)s
    )
"""

DIGEST = f"""
select
    count(*),
    coalesce(sum(f.price_minor), 0),
    coalesce(bit_xor(hashtextextended(
        concat_ws(' ', f.id, f.price_minor, f.expires_at, f.segments), 0
    )), 0)
from flights f
where {WINDOW}
"""  # noqa: S608  # a constant

LEGS = f"""
copy (
    select
        f.id, f.provider, f.search_hash, f.departure_day = %(day)s,
        (extract(epoch from f.departure_at) / 60)::bigint,
        (extract(epoch from f.arrival_at) / 60)::bigint,
        f.departure_minute, f.price_minor, f.fare_minor, f.fare_currency, f.rate_date,
        f.origin_airport, f.destination_airport, f.cabin, f.modelled,
        extract(epoch from f.expires_at)::bigint, extract(epoch from f.seen_at)::bigint,
        leg ->> 'carrier', coalesce(leg ->> 'origin_terminal', ''),
        coalesce(leg ->> 'destination_terminal', ''), right(leg ->> 'arrives_at', 6), leg
    from flights f
    cross join lateral (select f.segments -> 0 as leg) as flown
    where {WINDOW} and f.expires_at > %(now)s and leg ->> 'carrier' <> ''
    order by f.price_minor, f.id
) to stdout
"""  # noqa: S608  # a constant

OWN_OFFERS = """
select origin_airport, destination_airport, count(*)
from flights
where departure_day = %s and enterprise_id is null and provider <> %s and expires_at > %s
group by origin_airport, destination_airport
"""

COPY = f"copy pg_temp.imported_offers ({COLUMNS}, modelled, seen_at) from stdin"
STORE = "select inserted, updated, deleted from store_composed_offers(%s)"

# As COPY writes it.
NULL: Final = "\\N"
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Leg:
    """A nonstop on sale, its texts as COPY writes and reads them."""

    id: str
    provider: str
    search_hash: str
    on_day: bool
    departs: int
    arrives: int
    departure_minute: int
    price: int
    fare: tuple[int, str, str] | None
    origin: str
    destination: str
    cabin: str
    modelled: bool
    expires: int
    seen: int
    carrier: str
    terminals: tuple[str, str]
    offset: int
    segment: str


def limits() -> Limits:
    """Return what is configured for the platform."""
    return Limits(
        max_stops=configs.get("composing.max_stops"),
        max_layover=configs.get("composing.max_layover"),
        max_two_stop_layover=configs.get("composing.max_two_stop_layover"),
        max_journey=configs.get("composing.max_journey"),
        shortest_layover=configs.get("layover.min_duration"),
        few_offers=configs.get("composing.few_offers"),
        per_route=configs.get("composing.per_route"),
        per_day=configs.get("composing.per_day"),
    )


def changed_days(*, now: datetime) -> list[date]:
    """Return the days of the horizon whose nonstops changed, or what they are composed by."""
    today = now.astimezone(UTC).date()
    days = [today + timedelta(days=shift) for shift in range(configs.get("composing.horizon"))]
    known = dict(ComposedDay.objects.filter(day__in=days).values_list("day", "legs_digest"))
    rules = limits()
    with atomic(), connections[current_alias()].cursor() as cursor:
        return [day for day in days if _digest(cursor, day, rules) != known.get(day, "")]


def compose_day(*, day: date, now: datetime, anew: bool = False) -> ComposedDay | None:
    """Make the day's composed offers what its nonstops allow now; return the ledger's row.

    Where nothing changed nothing is done, and None returned, unless it is asked for `anew`. What
    stands as it is composed is not written.
    """
    began = time.monotonic()
    rules = limits()
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"compose {day}"])
        digest = _digest(cursor, day, rules)
        standing = ComposedDay.objects.filter(day=day).values_list("legs_digest", flat=True)
        if not anew and digest == (standing.first() or ""):
            return None
        legs = _read_legs(cursor, day, rules, now)
        codes = tuple(sorted({code for leg in legs for code in (leg.origin, leg.destination)}))
        asked = _asked(cursor, day, now, rules, codes)
        known = _subset(ground.get(), codes)
        # What is lost with the server is composed again.
        cursor.execute("set local synchronous_commit = off")
        cursor.execute("select open_composed_staging(%s)", [day])
        offers = pairs = 0
        routes: set[int] = set()
        with cursor.copy(COPY) as copy:
            # Nobody changes from business to economy for the sake of a price.
            for cabin in sorted({leg.cabin for leg in legs}):
                nonstops, sorted_ = _nonstops(
                    [leg for leg in legs if leg.cabin == cabin], codes, known
                )
                left = replace(rules, per_day=rules.per_day - offers)
                found = compose(nonstops, asked, left, known, distances(known))
                lines = _lines(day, nonstops, sorted_, found, known)
                while chunk := "".join(islice(lines, COPY_LINES)):
                    copy.write(chunk)
                offers += len(found)
                pairs += found.examined
                routes.update(found.pair.tolist())
        cursor.execute(STORE, [day])
        inserted, updated, deleted = cursor.fetchone()
        composed, _ = ComposedDay.objects.update_or_create(
            day=day,
            defaults={
                "legs_digest": digest,
                "legs": len(legs),
                "pairs": pairs,
                "routes_asked": int(asked.wanted.sum()),
                "routes": len(routes),
                "offers": offers,
                "inserted": inserted,
                "updated": updated,
                "deleted": deleted,
                "seconds": time.monotonic() - began,
                "composed_at": now,
            },
        )
        ComposedDay.objects.filter(day__lt=now.date() - KEPT_FOR).delete()
    log.info("day_composed", day=day.isoformat(), offers=offers, written=inserted + updated)
    return composed


def _window(day: date, rules: Limits) -> dict[str, Any]:
    return {"day": day, "last": day + timedelta(days=1 + -(-rules.max_journey // DAY_MINUTES))}


def _digest(cursor: Any, day: date, rules: Limits) -> str:
    """Return what changes with the legs and with what they are composed by; empty without legs."""
    cursor.execute(DIGEST, _window(day, rules))
    count, *sums = cursor.fetchone()
    if not count:
        return ""
    connection_times.get(), ground.get(), airports.get()
    versions = (connection_times.version, ground.version, airports.version)
    transfer = configs.get("composing.self_transfer")
    told = repr((count, [str(each) for each in sums], rules, transfer, versions, sorted(_routes())))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _routes() -> list[tuple[str, str]]:
    """Return the city pairs that are always asked for."""
    routes = ComposedRoute.objects.filter(is_active=True)
    return list(routes.values_list("origin_id", "destination_id"))


def _read_legs(cursor: Any, day: date, rules: Limits, now: datetime) -> list[Leg]:
    """Return the nonstops on sale between active airports, of each flight the cheapest."""
    with cursor.copy(LEGS, {**_window(day, rules), "now": now}) as copy:
        text = b"".join(copy).decode()
    active = airports.get()
    legs: dict[tuple[Any, ...], Leg] = {}
    for line in text.split("\n")[:-1]:
        leg = _leg(line.split("\t"))
        if leg is None or leg.origin not in active or leg.destination not in active:
            continue
        flight = (leg.origin, leg.destination, leg.departs, leg.arrives, leg.carrier, leg.cabin)
        # They come in the order of their prices.
        legs.setdefault(flight, leg)
    return list(legs.values())


def _leg(cells: list[str]) -> Leg | None:
    """Return a line's leg; None where its arrival does not tell the clock's offset."""
    offset = _OFFSET.fullmatch(cells[20])
    if offset is None:
        return None
    sign, hours, minutes = offset.groups()
    fare = None if cells[8] == NULL else (int(cells[8]), cells[9], cells[10])
    return Leg(
        id=cells[0],
        provider=cells[1],
        search_hash=cells[2],
        on_day=cells[3] == "t",
        departs=int(cells[4]),
        arrives=int(cells[5]),
        departure_minute=int(cells[6]),
        price=int(cells[7]),
        fare=fare,
        origin=cells[11],
        destination=cells[12],
        cabin=cells[13],
        modelled=cells[14] == "t",
        expires=int(cells[15]),
        seen=int(cells[16]),
        carrier=cells[17],
        terminals=(cells[18], cells[19]),
        offset=(int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1),
        segment=cells[21],
    )


def _asked(cursor: Any, day: date, now: datetime, rules: Limits, codes: tuple[str, ...]) -> Asked:
    """Return which city pairs get composed offers: those with few of their own, and the chosen."""
    index = {code: position for position, code in enumerate(codes)}
    own = np.zeros((len(codes), len(codes)), dtype=np.int64)
    always = np.zeros((len(codes), len(codes)), dtype=np.bool_)
    cursor.execute(OWN_OFFERS, [day, PROVIDER, now])
    for origin, destination, count in cursor.fetchall():
        if origin in index and destination in index:
            own[index[origin], index[destination]] = count
    for origin, destination in _routes():
        if origin in index and destination in index:
            always[index[origin], index[destination]] = True
    wanted = always | (own < rules.few_offers)
    np.fill_diagonal(wanted, False)
    return Asked(wanted=wanted, own=own, always=always)


def _subset(known: Places, codes: Sequence[str]) -> Places:
    """Return the airports of the codes, in their order."""
    chosen = np.array([known.index[code] for code in codes], dtype=np.int64)
    return Places(
        index={code: position for position, code in enumerate(codes)},
        latitude=known.latitude[chosen],
        longitude=known.longitude[chosen],
        exit=known.exit[chosen],
        transfer=known.transfer[chosen],
        buffer=known.buffer[chosen],
        border=known.border[chosen],
    )


def _nonstops(
    legs: Sequence[Leg], codes: tuple[str, ...], known: Places
) -> tuple[Nonstops, list[Leg]]:
    """Return the legs as arrays, and in the arrays' order."""
    columns = np.array(
        [
            (known.index[leg.origin], known.index[leg.destination], leg.departs, leg.arrives)
            for leg in legs
        ],
        dtype=np.int64,
    ).T
    origin, destination = columns[:2].astype(np.int32)
    arrays, order = sorted_legs(origin, destination, columns[2], columns[3])
    ordered = [legs[position] for position in order.tolist()]
    arriving, departing, minimum, minimum_of = minimums(
        codes,
        arrays,
        [leg.carrier for leg in ordered],
        [leg.terminals for leg in ordered],
        known.border,
        connection_times.get(),
        self_transfer=configs.get("composing.self_transfer"),
    )
    return Nonstops(
        codes=codes,
        legs=arrays,
        price=np.array([leg.price for leg in ordered], dtype=np.int64),
        offset=np.array([leg.offset for leg in ordered], dtype=np.int64),
        clock=np.array([leg.departure_minute for leg in ordered], dtype=np.int64),
        on_day=np.flatnonzero([leg.on_day for leg in ordered]).astype(np.int32),
        arriving=arriving,
        departing=departing,
        minimum=minimum,
        minimum_of=minimum_of,
    ), ordered


def _lines(
    day: date, nonstops: Nonstops, legs: Sequence[Leg], found: Itineraries, known: Places
) -> Iterator[str]:
    """Yield the itineraries as lines for COPY."""
    second = np.where(found.legs[:, 2] == NONE, found.legs[:, 0], found.legs[:, 1])
    third = np.where(found.legs[:, 2] == NONE, found.legs[:, 1], found.legs[:, 2])
    changes = [
        spendable(known, stays(nonstops, one, other))
        for one, other in ((found.legs[:, 0], found.legs[:, 1]), (second, third))
    ]
    for number, positions in enumerate(found.legs.tolist()):
        parts = [legs[position] for position in positions if position != NONE]
        yield _line(day, parts, _stops(parts, changes, number))


@dataclass(frozen=True, slots=True)
class _Stop:
    """A layover of an itinerary."""

    airport: str
    minutes: int
    usable: int
    daylight: int
    overnight: bool
    terminal_change: bool

    @property
    def document(self) -> str:
        """As a traveller reads it: like other offers' layovers."""
        change = ',"terminal_change":true' if self.terminal_change else ""
        overnight = ',"overnight":true' if self.overnight else ""
        return (
            f'{{"airport":"{self.airport}","minutes":{self.minutes}{change},"self_transfer":true,'
            f'"bag_recheck":true,"usable_minutes":{self.usable},'
            f'"daylight_minutes":{self.daylight}{overnight}}}'
        )


def _stops(parts: Sequence[Leg], changes: Sequence[Spendable], number: int) -> list[_Stop]:
    return [
        _Stop(
            airport=before.destination,
            minutes=after.departs - before.arrives,
            usable=int(spent.usable[number]),
            daylight=int(spent.daylight[number]),
            overnight=bool(spent.overnight[number]),
            terminal_change=bool(
                before.terminals[1]
                and after.terminals[0]
                and before.terminals[1] != after.terminals[0]
            ),
        )
        for before, after, spent in zip(parts, parts[1:], changes, strict=False)
    ]


def _line(day: date, parts: Sequence[Leg], stops: Sequence[_Stop]) -> str:
    """Return a line; nothing of ours holds what COPY escapes, and segments are as it wrote them."""
    first, last = parts[0], parts[-1]
    journey = " ".join([PROVIDER, *(leg.search_hash for leg in parts)])
    # Each leg keeps who sells it, and as what: that is where it is bought.
    segments = ",".join(
        f'{leg.segment[:-1]},"provider":"{leg.provider}","offer_id":"{leg.id}"}}' for leg in parts
    )
    cells = (
        "0",
        hashlib.sha256(journey.encode()).hexdigest()[:32],
        PROVIDER,
        _instant(first.departs * 60),
        _instant(last.arrives * 60),
        _instant(min(first.departs * 60, *(leg.expires for leg in parts))),
        day.isoformat(),
        str(first.departure_minute),
        str(last.arrives - first.departs),
        str(sum(leg.price for leg in parts)),
        "USD",
        *_fare(parts),
        first.origin,
        last.destination,
        "t",
        "ft"[any(stop.terminal_change for stop in stops)],
        _array(sorted({leg.carrier for leg in parts})),
        first.cabin,
        _array(stop.airport for stop in stops),
        _array(stop.minutes for stop in stops),
        _array(stop.usable for stop in stops),
        _array(stop.daylight for stop in stops),
        _array("ft"[stop.overnight] for stop in stops),
        f"[{','.join(stop.document for stop in stops)}]",
        f"[{segments}]",
        "ft"[any(leg.modelled for leg in parts)],
        # No fresher than the price that was named first.
        _instant(min(leg.seen for leg in parts)),
    )
    return "\t".join(cells) + "\n"


def _fare(parts: Sequence[Leg]) -> tuple[str, str, str]:
    """Return the sum in the providers' currency, where all name one and of the same day's rate."""
    fares = [leg.fare for leg in parts if leg.fare is not None]
    if len(fares) < len(parts) or len({fare[1:] for fare in fares}) > 1:
        return NULL, NULL, NULL
    return str(sum(fare[0] for fare in fares)), fares[0][1], fares[0][2]


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _array(values: Iterable[Any]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
