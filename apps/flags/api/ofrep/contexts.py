"""The evaluation context of a request's body."""

from __future__ import annotations

from typing import Any

from apps.flags.api.ofrep.errors import InvalidContext, TargetingKeyMissing
from apps.flags.context import context_fault, tenants_context
from apps.tenants.directory import Principal

TARGETING_KEY = "targetingKey"


def evaluation_context(principal: Principal, body: Any) -> dict[str, Any]:
    """Return the context that a body gives to a tenant's flags.

    `targetingKey` is the `user` where there is none. Raises InvalidContext, TargetingKeyMissing.
    """
    if "context" not in body:
        raise InvalidContext("context: This member is required.")
    given = body["context"]
    if type(given) is not dict:
        raise InvalidContext("context: Give a JSON object.")
    if fault := context_fault(given):
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
