"""The evaluation context of a request's body."""

from __future__ import annotations

import math
from typing import Any

from apps.flags.api.ofrep.errors import InvalidContext, TargetingKeyMissing
from apps.flags.context import tenants_context
from apps.tenants.directory import Principal
from layoverhq.strict_json import MAXIMUM_DEPTH

TARGETING_KEY = "targetingKey"
# A unit is hashed for each flag, and nobody's id is a book.
LONGEST_TEXT = 10_000


def evaluation_context(principal: Principal, body: Any) -> dict[str, Any]:
    """Return the context that a body gives to a tenant's flags.

    `targetingKey` is the `user` where there is none. Raises InvalidContext, TargetingKeyMissing.
    """
    if "context" not in body:
        raise InvalidContext("context: This member is required.")
    given = body["context"]
    if type(given) is not dict:
        raise InvalidContext("context: Give a JSON object.")
    if fault := _fault(given):
        raise InvalidContext(f"context: {fault}")
    context = tenants_context(principal, given)
    if TARGETING_KEY in given:
        key = given[TARGETING_KEY]
        if key is None or key == "":
            raise TargetingKeyMissing(f"context.{TARGETING_KEY}: Give a text, or leave it out.")
        if type(key) is not str:
            raise InvalidContext(f"context.{TARGETING_KEY}: Give a text.")
        if context.get("user") is None:
            context["user"] = key
    return context


def _fault(context: dict[str, Any]) -> str:
    """Return what evaluation here or in SQL could not hold; empty if it can hold all."""
    pending: list[tuple[Any, int]] = [(context, 1)]
    while pending:
        part, depth = pending.pop()
        if type(part) is dict:
            inner = [*part.keys(), *part.values()]
        elif type(part) is list:
            inner = part
        else:
            if fault := _scalar_fault(part):
                return fault
            continue
        if depth > MAXIMUM_DEPTH:
            return f"At most {MAXIMUM_DEPTH} levels of nesting."
        pending += [(item, depth + 1) for item in inner]
    return ""


def _scalar_fault(value: Any) -> str:
    if type(value) is str:
        if len(value) > LONGEST_TEXT:
            return f"Texts have at most {LONGEST_TEXT:,} characters."
        if "\x00" in value:
            return "NUL characters are in no text."
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return "Half a surrogate pair is no character."
    elif type(value) is float and not math.isfinite(value):
        return "A number is too large."
    return ""
