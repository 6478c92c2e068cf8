"""What travellers chose, as tenants tell it, and what they like by that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connections

from apps.configs.runtime import configs
from apps.flags.comparing import number_text
from apps.flags.exposing import LONGEST_UNIT, storable
from apps.tenants.models import Enterprise
from layoverhq.errors import Conflict, FieldError, InvalidInput
from layoverhq.query_string import printable
from layoverhq.tenancy import TenantRef, atomic, current_alias, tenant_scope

MAXIMUM_SHOWN: Final = 100
MAXIMUM_FAULTS: Final = 50
LONGEST_ID: Final = 100
ENTERPRISES_AT_ONCE: Final = 200

MEMBERS: Final = frozenset({"id", "offer_id", "departure_date", "user", "booked", "shown"})


class ChoiceConflict(Conflict):
    """This id is of the choice of another offer."""

    code = "choice_conflict"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a tenant tells: an offer that was chosen, and those shown beside it."""

    id: str
    offer_id: UUID
    departure_date: date
    user: str | None = None
    booked: bool = False
    shown: tuple[UUID, ...] = ()


def record_choice(*, tenant: TenantRef, choice: Choice) -> bool:
    """Keep a choice with what its offers are worth now; return whether it is a new one.

    An id that is known is the same choice, of which only `booked` may change, to true. Raises
    InvalidInput for offers that the tenant cannot buy, and ChoiceConflict.
    """
    others = [offer for offer in choice.shown if offer != choice.offer_id]
    with tenant_scope(tenant), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select record_offer_choice(%s, %s, %s, %s, %s::uuid[], %s)",
            [
                choice.id,
                choice.user,
                choice.offer_id,
                choice.departure_date,
                others,
                choice.booked,
            ],
        )
        answer = cursor.fetchone()[0]
        told = json.loads(answer) if isinstance(answer, str) else answer
        if told.get("outcome") == "conflict":
            detail = "This id is of the choice of another offer."
            raise ChoiceConflict(detail, [FieldError("id", "conflict", detail)])
        if "outcome" not in told:
            raise InvalidInput(list(_refusals(choice, told)))
    return bool(told["outcome"] == "recorded")


def _refusals(choice: Choice, told: dict[str, Any]) -> Iterator[FieldError]:
    unknown = {UUID(offer) for offer in told["unknown"]}
    elsewhere = {UUID(offer) for offer in told["elsewhere"]}
    if choice.offer_id in unknown:
        detail = "There is no such offer on this departure date."
        yield FieldError("offer_id", "unknown", detail)
    for place, offer in enumerate(choice.shown):
        if offer == choice.offer_id:
            continue
        if offer in unknown:
            yield FieldError(f"shown[{place}]", "unknown", "There is no such offer near that day.")
        elif offer in elsewhere:
            yield FieldError(f"shown[{place}]", "route", "This offer flies another route.")


def read_choice(body: Any) -> Choice:
    """Return what a body tells. Raises InvalidInput that names every fault."""
    if not isinstance(body, dict):
        raise InvalidInput.of("body", "Give an object.", code="type")
    reader = _Reader(body)
    for name in sorted(body.keys() - MEMBERS)[:10]:
        reader.refuse(printable(name), "unknown", "There is no such member.")
    read = {
        "id": reader.identifier(),
        "offer_id": reader.offer("offer_id", body.get("offer_id")),
        "departure_date": reader.day(),
        "user": reader.user(),
        "booked": reader.booked(),
        "shown": reader.shown(),
    }
    if reader.errors:
        raise InvalidInput(reader.errors[:MAXIMUM_FAULTS])
    return Choice(**read)


@dataclass(slots=True)
class _Reader:
    """Reads a body's members and notes what is wrong with them."""

    body: dict[str, Any]
    errors: list[FieldError] = field(default_factory=list)

    def refuse(self, name: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(name, code, detail))

    def identifier(self) -> Any:
        given = self.body.get("id")
        if not isinstance(given, str) or not 0 < len(given) <= LONGEST_ID or not storable(given):
            self.refuse(
                "id", "invalid", f"Give your own id: a text of 1 to {LONGEST_ID} characters."
            )
        return given

    def offer(self, name: str, given: Any) -> Any:
        if isinstance(given, str) and len(given) == 36:
            try:
                return UUID(given)
            except ValueError:
                pass
        self.refuse(name, "invalid", "Give the id of an offer, as the search tells it.")
        return None

    def day(self) -> Any:
        given = self.body.get("departure_date")
        # Python reads weeks and other spellings as well.
        if isinstance(given, str) and len(given) == 10 and given[7] == "-":
            try:
                return date.fromisoformat(given)
            except ValueError:
                pass
        self.refuse("departure_date", "invalid", "Give the offer's departure date: YYYY-MM-DD.")
        return None

    def user(self) -> Any:
        given = self.body.get("user")
        if isinstance(given, int | float) and not isinstance(given, bool):
            return number_text(given)
        if given is None or (
            isinstance(given, str) and 0 < len(given) <= LONGEST_UNIT and storable(given)
        ):
            return given
        detail = f"Give a text of 1 to {LONGEST_UNIT:,} characters, or a number."
        self.refuse("user", "invalid", detail)
        return None

    def booked(self) -> Any:
        given = self.body.get("booked", False)
        if not isinstance(given, bool):
            self.refuse("booked", "type", "Give true or false.")
        return given

    def shown(self) -> tuple[UUID, ...]:
        given = self.body.get("shown", [])
        if not isinstance(given, list):
            self.refuse("shown", "type", "Give a list of ids.")
            return ()
        if len(given) > MAXIMUM_SHOWN:
            detail = f"Give at most {MAXIMUM_SHOWN} ids; these are {len(given)}."
            self.refuse("shown", "number", detail)
            return ()
        offers = [self.offer(f"shown[{place}]", each) for place, each in enumerate(given)]
        for place, offer in enumerate(offers):
            if offer is not None and offer in offers[:place]:
                self.refuse(f"shown[{place}]", "duplicate", "This one is there already.")
        return tuple(offers)


def learn_preferences(*, now: datetime) -> int:
    """Work out where each enterprise's travellers like to wait; return for how many it changed.

    A batch of enterprises is a transaction. Repeated, it changes nothing.
    """
    since = now - timedelta(days=configs.get("ranking.history_days"))
    half_life = configs.get("ranking.half_life_days")
    fewest = configs.get("ranking.preference_choices")
    changed = 0
    enterprises = Enterprise.objects.living().order_by("pk")
    last = UUID(int=0)
    while batch := list(
        enterprises.filter(pk__gt=last).values_list("pk", flat=True)[:ENTERPRISES_AT_ONCE]
    ):
        last = batch[-1]
        with atomic(), connections[current_alias()].cursor() as cursor:
            cursor.execute(
                "select count(*) from learn_layover_preferences(%s::uuid[], %s, %s, %s, %s)",
                [batch, since, now, half_life, fewest],
            )
            changed += int(cursor.fetchone()[0])
    return changed
