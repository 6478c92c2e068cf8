"""What tenants report of their travellers: events that goals count, and exposures.

A batch is taken whole or not at all; every fault is named by its place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections
from django.utils.dateparse import parse_datetime

from apps.flags.comparing import number_text
from apps.flags.context import context_fault
from apps.flags.experiments import EVENT
from apps.flags.exposing import LONGEST_UNIT, Exposure, storable
from apps.flags.runtime import flags
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import printable
from layoverhq.tenancy import TenantRef, current_alias, tenant_scope

MAXIMUM_EVENTS = 500
MAXIMUM_FAULTS = 50
LONGEST_ID = 100
# Clocks differ; and what is older is of no experiment's use, and has no partition to go to.
AHEAD = timedelta(minutes=5)
BEHIND = timedelta(days=30)
LARGEST_VALUE = 2.0**53
MAXIMUM_CONTEXT_BYTES = 16_384

EVENT_MEMBERS = frozenset({"type", "id", "event", "unit", "user", "value", "occurred_at"})
EXPOSURE_MEMBERS = frozenset({"type", "flag", "context", "occurred_at"})


@dataclass(slots=True)
class Batch:
    """What a report comes to."""

    events: list[dict[str, Any]] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)
    # of how many entries: one without effect, such as of a flag without an experiment, counts
    accepted: int = 0


def track(*, tenant: TenantRef, body: Any, now: datetime) -> int:
    """Keep a tenant's report; return how many entries it had. Raises InvalidInput.

    An event that has an id may come again: it is kept once.
    """
    batch = read_batch(body, tenant, now)
    if batch.events or batch.exposures:
        with tenant_scope(tenant), connections[current_alias()].cursor() as cursor:
            if batch.exposures:
                documents = [exposure.document() for exposure in batch.exposures]
                cursor.execute("select record_flag_exposures(%s::jsonb)", [json.dumps(documents)])
            if batch.events:
                events = json.dumps(batch.events)
                cursor.execute("select record_tracked_events(%s::jsonb)", [events])
    return batch.accepted


def read_batch(body: Any, tenant: TenantRef, now: datetime) -> Batch:
    """Return what a body asks for; raises InvalidInput that names every fault."""
    entries = body.get("events") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise InvalidInput.of("events", "Give a list of events.", code="required")
    errors = [
        FieldError(printable(name), "unknown", "There is no such member.")
        for name in list(body)[:10]
        if name != "events"
    ]
    if not 0 < len(entries) <= MAXIMUM_EVENTS:
        detail = f"Give 1 to {MAXIMUM_EVENTS} events; these are {len(entries)}."
        errors.append(FieldError("events", "number", detail))
    if errors:
        raise InvalidInput(errors)
    batch = Batch(accepted=len(entries))
    for place, entry in enumerate(entries):
        _Entry(f"events[{place}]", tenant, now, batch, errors).read(entry)
        if len(errors) >= MAXIMUM_FAULTS:
            break
    if errors:
        raise InvalidInput(errors[:MAXIMUM_FAULTS])
    return batch


@dataclass(slots=True)
class _Entry:
    """Reads one entry into the batch, or notes what is wrong with it."""

    where: str
    tenant: TenantRef
    now: datetime
    batch: Batch
    errors: list[FieldError]

    def refuse(self, member: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(f"{self.where}{member}", code, detail))

    def read(self, entry: Any) -> None:
        if not isinstance(entry, dict):
            return self.refuse("", "type", "Give an object.")
        kind = entry.get("type", "event")
        if kind not in ("event", "exposure"):
            return self.refuse(".type", "unknown", "Choose event or exposure.")
        known = EVENT_MEMBERS if kind == "event" else EXPOSURE_MEMBERS
        for name in sorted(entry.keys() - known)[:10]:
            self.refuse(f".{printable(name)}", "unknown", "There is no such member.")
        before = len(self.errors)
        at = self.instant(entry.get("occurred_at"))
        if kind == "event":
            event = self.event(entry, at)
            if len(self.errors) == before:
                self.batch.events.append(event)
        else:
            self.exposure(entry, at)
        return None

    def instant(self, given: Any) -> datetime:
        if given is None:
            return self.now
        at = None
        if isinstance(given, str) and len(given) <= 40:
            try:
                at = parse_datetime(given)
            except ValueError:
                at = None
        if at is None or at.tzinfo is None:
            detail = "Give an instant with its offset, such as 2026-03-31T12:00:00Z."
            self.refuse(".occurred_at", "invalid", detail)
            return self.now
        try:
            # An offset may lead out of what a calendar holds.
            at = at.astimezone(UTC)
        except OverflowError:
            at = datetime.max.replace(tzinfo=UTC)
        if not self.now - BEHIND <= at <= self.now + AHEAD:
            detail = f"Lies more than {BEHIND.days} days back, or ahead of our clock."
            self.refuse(".occurred_at", "range", detail)
            return self.now
        return at

    def event(self, entry: Mapping[str, Any], at: datetime) -> dict[str, Any]:
        name = entry.get("event")
        if not isinstance(name, str) or not EVENT.fullmatch(name):
            self.refuse(".event", "invalid", "Use 1 to 100 small letters, digits, dots, - and _.")
        given = entry.keys() & {"unit", "user"}
        unit = None
        if len(given) != 1:
            self.refuse(".unit", "required", "Give unit or user: what the flag divides by.")
        else:
            member = given.pop()
            unit = _unit(entry[member])
            if unit is None:
                detail = f"Give a text of 1 to {LONGEST_UNIT:,} characters, or a number."
                self.refuse(f".{member}", "invalid", detail)
        value = entry.get("value")
        if value is not None and not _is_value(value):
            self.refuse(".value", "invalid", "Give a number up to 2^53.")
        return {
            "id": self.identifier(entry),
            "unit": unit,
            "event": name,
            "value": value,
            "at": at.isoformat(),
        }

    def identifier(self, entry: Mapping[str, Any]) -> str | None:
        given = entry.get("id")
        if given is None:
            return None
        if not isinstance(given, str) or not 0 < len(given) <= LONGEST_ID or not storable(given):
            self.refuse(".id", "invalid", f"Give a text of 1 to {LONGEST_ID} characters.")
        elif entry.get("occurred_at") is None:
            detail = "An event with an id comes with its time: both tell a repetition."
            self.refuse(".occurred_at", "required", detail)
        return given

    def exposure(self, entry: Mapping[str, Any], at: datetime) -> None:
        content = flags.directory.get()
        flag = content.flags.get(entry["flag"]) if isinstance(entry.get("flag"), str) else None
        if flag is None or not content.definitions[flag.name].tenant_visible:
            self.refuse(".flag", "unknown", "There is no such flag.")
            return
        attributes = entry.get("context")
        if not isinstance(attributes, dict):
            self.refuse(".context", "type", "Give an object of attributes.")
            return
        # Before anything goes down into it.
        if fault := context_fault(attributes):
            self.refuse(".context", "invalid", fault)
            return
        if len(json.dumps(attributes)) > MAXIMUM_CONTEXT_BYTES:
            self.refuse(".context", "too_large", f"At most {MAXIMUM_CONTEXT_BYTES:,} bytes.")
            return
        own = {**attributes, "enterprise": str(self.tenant.id)}
        # Whatever the caller shows, it is the split that says what the unit met.
        unit = flag.unit(own)
        if unit is not None and _unit(unit) is None:
            self.refuse(".context", "invalid", "The unit is no text that can be kept.")
            return
        answer = flag.evaluate(own, content.flags)
        next(answer.counter)
        if answer.experiment is not None and unit is not None and answer.variant is not None:
            self.batch.exposures.append(
                Exposure(answer.experiment.id, str(self.tenant.id), unit, answer.variant, at)
            )


def _unit(given: Any) -> str | None:
    if type(given) in (int, float):
        return number_text(given)
    if isinstance(given, str) and 0 < len(given) <= LONGEST_UNIT and storable(given):
        return given
    return None


def _is_value(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST_VALUE
