"""JSON bodies, read strictly: what JSON does not know is refused by the member that holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from apps.configs.values import STRICT_JSON, strictly
from layoverhq.errors import InvalidInput
from layoverhq.query_string import printable

BODY = "body"
_BLANK = re.compile(r"[ \t\n\r]*")


class StrictJSONParser(BaseParser):
    """Parses an object; raises InvalidInput."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        try:
            text = stream.read().decode()
        except UnicodeDecodeError as error:
            raise InvalidInput.of(BODY, "This is not UTF-8.", code="not_utf8") from error
        return parse_members(text)


def parse_members(text: str) -> dict[str, Any]:
    """Return the members of a JSON object. Raises InvalidInput.

    Member by member, so that a fault inside a value is told of its member: NaN, a name twice,
    nesting without an end. Only what breaks the object itself is told of the body.
    """
    members: dict[str, Any] = {}
    at = _expect(text, _blank(text, 0), "{")
    more = not text.startswith("}", at)
    while more:
        name, at = _decoded(text, at, BODY)
        if not isinstance(name, str):
            raise _broken(at, "a name")
        shown = printable(name)
        if name in members:
            raise InvalidInput.of(shown, "Stands twice in the body.", code="repeated")
        members[name], at = _decoded(text, _expect(text, at, ":"), shown)
        more = text.startswith(",", at)
        if more:
            at = _expect(text, at, ",")
    if _expect(text, at, "}") != len(text):
        raise _broken(at, "the end")
    return members


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, mark: str) -> int:
    if not text.startswith(mark, at):
        raise _broken(at, mark)
    return _blank(text, at + 1)


def _broken(at: int, wanted: str) -> InvalidInput:
    detail = f"This is no JSON object: {wanted} is missing at character {at + 1}."
    return InvalidInput.of(BODY, detail, code="json")


def _decoded(text: str, at: int, field: str) -> tuple[Any, int]:
    value, end = strictly(lambda: STRICT_JSON.raw_decode(text, at), field)
    return value, _blank(text, end)
