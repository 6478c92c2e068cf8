"""Writes of operators: airports, minimum connection times, routes that are composed.

All run with the operator's role: open an operator_scope around them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from celery import current_app
from django.db import transaction

from apps.flights.models import Airport, ComposedRoute, MinimumConnectionTime
from apps.flights.offers.normalised import CARRIER, NAME
from apps.tenants.models import User
from layoverhq.errors import Conflict, FieldError, InvalidInput, StaleVersion
from layoverhq.tenancy import atomic, current_alias

Kind = MinimumConnectionTime.Kind

# What names a row; the rest is what it says.
KEY: Final = (
    "airport_id", "kind", "arriving_carrier", "departing_carrier", "arriving_terminal",
    "departing_terminal",
)  # fmt: skip
LONGEST_MINUTES: Final = 1440
LONGEST_GROUND_MINUTES: Final = 600
LONGEST_TEXT: Final = 200
RESTATE_TASK: Final = "apps.flights.tasks.restate_layovers"


@dataclass(frozen=True, slots=True)
class ConnectionTimesPlan:
    """What an import would do: rows to add, rows with what they would become, and the rest."""

    added: list[MinimumConnectionTime] = field(default_factory=list)
    changed: list[tuple[MinimumConnectionTime, MinimumConnectionTime]] = field(default_factory=list)
    same: list[MinimumConnectionTime] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def effective(self) -> int:
        return len(self.added) + len(self.changed)


def change_airport(
    *,
    airport: Airport,
    is_active: bool,
    exit_minutes: int | None,
    transfer_minutes: int | None,
    buffer_minutes: int | None,
    actor: User | None = None,
) -> Airport:
    """Change whether searches may name an airport, and its ground times; null is the default.

    Raises InvalidInput. Where ground times change a task works out again what layovers there leave.
    """
    times = {
        "exit_minutes": exit_minutes,
        "transfer_minutes": transfer_minutes,
        "buffer_minutes": buffer_minutes,
    }
    detail = f"Between 0 and {LONGEST_GROUND_MINUTES} minutes, or empty."
    faults = [
        FieldError(name, "out_of_range", detail)
        for name, minutes in times.items()
        if minutes is not None and not 0 <= minutes <= LONGEST_GROUND_MINUTES
    ]
    if faults:
        raise InvalidInput(faults)
    with atomic():
        standing = Airport.objects.select_for_update().get(pk=airport.pk)
        wanted = {"is_active": is_active, **times}
        changed = [name for name, value in wanted.items() if getattr(standing, name) != value]
        for name in changed:
            setattr(standing, name, wanted[name])
        if changed:
            standing.save(update_fields=changed)
        if times.keys() & set(changed):
            transaction.on_commit(
                lambda: current_app.send_task(RESTATE_TASK, kwargs={"airport": standing.pk}),
                using=current_alias(),
                robust=True,
            )
        return standing


def save_connection_time(
    *,
    connection_time: MinimumConnectionTime,
    base_version: int | None = None,
    actor: User | None = None,
) -> MinimumConnectionTime:
    """Add a minimum connection time, or change one that was read at `base_version`.

    What names it never changes. Raises InvalidInput, Conflict and StaleVersion.
    """
    wanted = connection_time
    faults = list(connection_time_faults(wanted, _known_airports([wanted])))
    if faults:
        raise InvalidInput(faults)
    with atomic():
        if base_version is None:
            if MinimumConnectionTime.objects.filter(**_key(wanted)).exists():
                raise Conflict(f"There is one for {wanted} already: change that one.")
            wanted.version = 1
            wanted.save(force_insert=True)
            return wanted
        standing = MinimumConnectionTime.objects.select_for_update().get(pk=wanted.pk)
        if standing.version != base_version:
            raise StaleVersion(f"{standing} was changed meanwhile: reload it.")
        return _rewrite(standing, wanted)


def set_connection_times_active(
    *,
    connection_times: Sequence[MinimumConnectionTime],
    is_active: bool,
    actor: User | None = None,
) -> None:
    """Let rows hold, or no longer. Raises InvalidInput of a default that would not."""
    with atomic():
        keys = [each.pk for each in connection_times]
        rows = MinimumConnectionTime.objects.select_for_update().filter(pk__in=keys)
        for standing in rows.order_by("pk"):
            if standing.is_default and not is_active:
                raise InvalidInput.of("is_active", DEFAULT_STANDS)
            if standing.is_active != is_active:
                standing.is_active = is_active
                standing.version += 1
                standing.save(update_fields=["is_active", "version"])


def plan_connection_times(
    *, rows: Sequence[tuple[int, MinimumConnectionTime]]
) -> ConnectionTimesPlan:
    """Return what an import of rows, each with its line, would do; nothing is written."""
    plan = ConnectionTimesPlan()
    airports = _known_airports([row for _, row in rows])
    standing = {_names(each): each for each in MinimumConnectionTime.objects.all()}
    lines: dict[tuple[Any, ...], int] = {}
    for line, row in rows:
        faults = [
            f"line {line}: {fault.field}: {fault.detail}"
            for fault in connection_time_faults(row, airports)
        ]
        earlier = lines.setdefault(_names(row), line)
        if earlier != line:
            faults.append(f"line {line}: line {earlier} is for the same connections.")
        if faults:
            plan.faults.extend(faults)
        elif (known := standing.get(_names(row))) is None:
            plan.added.append(row)
        elif (known.minutes, known.source, known.is_active) != (row.minutes, row.source, True):
            plan.changed.append((known, row))
        else:
            plan.same.append(row)
    return plan


def import_connection_times(
    *, rows: Sequence[tuple[int, MinimumConnectionTime]], actor: User | None = None
) -> ConnectionTimesPlan:
    """Add and change rows, all of them or none; what is not named stays. Raises InvalidInput."""
    with atomic():
        plan = plan_connection_times(rows=rows)
        if plan.faults:
            raise InvalidInput.of("text", plan.faults[0])
        MinimumConnectionTime.objects.bulk_create(plan.added)
        for known, row in plan.changed:
            standing = MinimumConnectionTime.objects.select_for_update().get(pk=known.pk)
            row.is_active = True
            _rewrite(standing, row)
        return plan


def save_composed_route(
    *, route: ComposedRoute, base_version: int | None = None, actor: User | None = None
) -> ComposedRoute:
    """Have itineraries composed for a city pair, or no longer. Raises InvalidInput and Conflict."""
    faults = []
    if route.origin_id == route.destination_id:
        faults.append(FieldError("destination", "same", "A route goes somewhere else."))
    if not route.note.strip() or len(route.note) > LONGEST_TEXT:
        detail = f"Say why, in at most {LONGEST_TEXT} characters."
        faults.append(FieldError("note", "invalid", detail))
    if faults:
        raise InvalidInput(faults)
    with atomic():
        if base_version is None:
            pair = {"origin": route.origin_id, "destination": route.destination_id}
            if ComposedRoute.objects.filter(**pair).exists():
                raise Conflict(f"{route} is in the list already: change that one.")
            route.version = 1
            route.save(force_insert=True)
            return route
        standing = ComposedRoute.objects.select_for_update().get(pk=route.pk)
        if standing.version != base_version:
            raise StaleVersion(f"{standing} was changed meanwhile: reload it.")
        standing.is_active, standing.note = route.is_active, route.note
        standing.version += 1
        standing.save(update_fields=["is_active", "note", "version"])
        return standing


DEFAULT_STANDS: Final = "This holds wherever nothing else does: change its minutes instead."


def connection_time_faults(
    row: MinimumConnectionTime, airports: Collection[str]
) -> Iterator[FieldError]:
    """Yield what is wrong with a row; `airports` are those of its code that are known."""
    if row.airport_id is not None and row.airport_id not in airports:
        yield FieldError("airport", "unknown", "We know no airport of this code.")
    if row.kind not in Kind.values:
        yield FieldError("kind", "unknown", f"Choose from {', '.join(Kind.values)}.")
    for name in ("arriving_carrier", "departing_carrier"):
        carrier = getattr(row, name)
        if carrier is not None and not CARRIER.fullmatch(carrier):
            yield FieldError(name, "invalid", "Give the airline's IATA code, such as UA.")
    terminals = (row.arriving_terminal, row.departing_terminal)
    for name, terminal in zip(("arriving_terminal", "departing_terminal"), terminals, strict=True):
        if terminal is not None and not NAME.fullmatch(terminal):
            detail = "Up to 40 letters, digits, spaces and . _ / -"
            yield FieldError(name, "invalid", detail)
    if (terminals[0] is None) != (terminals[1] is None):
        yield FieldError("departing_terminal", "incomplete", "Give both terminals or none.")
    elif terminals[0] is not None and row.airport_id is None:
        yield FieldError("airport", "required", "Terminals are an airport's: name it.")
    if not isinstance(row.minutes, int) or not 0 <= row.minutes <= LONGEST_MINUTES:
        detail = f"Between 0 and {LONGEST_MINUTES} minutes."
        yield FieldError("minutes", "out_of_range", detail)
    if not row.source.strip() or len(row.source) > LONGEST_TEXT:
        detail = f"Say who says so, in at most {LONGEST_TEXT} characters."
        yield FieldError("source", "invalid", detail)
    if row.is_default and not row.is_active:
        yield FieldError("is_active", "default", DEFAULT_STANDS)


def _rewrite(
    standing: MinimumConnectionTime, wanted: MinimumConnectionTime
) -> MinimumConnectionTime:
    for name in ("minutes", "source", "is_active"):
        setattr(standing, name, getattr(wanted, name))
    standing.version += 1
    standing.save(update_fields=["minutes", "source", "is_active", "version"])
    return standing


def _known_airports(rows: Sequence[MinimumConnectionTime]) -> set[str]:
    named = {row.airport_id for row in rows if row.airport_id}
    return set(Airport.objects.filter(pk__in=named).values_list("pk", flat=True))


def _names(row: MinimumConnectionTime) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in KEY)


def _key(row: MinimumConnectionTime) -> dict[str, Any]:
    return {
        (f"{name}__isnull" if value is None else name): True if value is None else value
        for name, value in zip(KEY, _names(row), strict=True)
    }
