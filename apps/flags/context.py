"""The context that flags are evaluated in: the enterprise whose key calls, and what it tells."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.request import Request

from apps.tenants.api.authentication import principal_of
from apps.tenants.directory import Principal
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.strict_json import MAXIMUM_DEPTH

# A unit is hashed for each flag, and nobody's id is a book.
LONGEST_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a request, and the attribute that it gives."""

    name: str
    attribute: str
    pattern: re.Pattern[str]
    advice: str
    capitals: bool = False

    def value(self, given: str) -> str:
        """Return the attribute's value for what was sent."""
        return given.upper() if self.capitals else given


HEADERS = (
    Header(
        "X-User-Id",
        "user",
        re.compile(r"[!-~]{1,255}"),
        "Give up to 255 ASCII characters without spaces.",
    ),
    Header(
        "X-Country",
        "country",
        re.compile(r"[A-Za-z]{2}"),
        "Give the two letters of ISO 3166, such as DE.",
        capitals=True,
    ),
    Header(
        "X-App-Version",
        "app_version",
        re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,99}"),
        "Give up to 100 letters, digits, dots, plus and minus signs, such as 2.10.0-beta.1.",
    ),
)


def tenants_context(principal: Principal, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with the key's own `enterprise` and `plan`, whatever they say of these."""
    return {
        **attributes,
        "enterprise": str(principal.enterprise_id),
        "plan": principal.subscription_plan,
    }


def request_context(request: Request) -> dict[str, Any]:
    """Return the context of an API request: its key's enterprise, and what its headers tell.

    `user`, `country` and `app_version` stand in it where their headers do. Raises InvalidInput
    that names each header that cannot be used.
    """
    attributes = {}
    errors = []
    for header in HEADERS:
        given = request.headers.get(header.name, "")
        if header.pattern.fullmatch(given):
            attributes[header.attribute] = header.value(given)
        elif given:
            errors.append(FieldError(header.name, "invalid", header.advice))
    if errors:
        raise InvalidInput(errors)
    return tenants_context(principal_of(request), attributes)


def context_fault(context: Mapping[str, Any]) -> str:
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
