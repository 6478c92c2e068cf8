"""JSON, read strictly: what it does not know is refused by the member that holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from layoverhq.errors import InvalidInput
from layoverhq.query_string import printable

T = TypeVar("T")

MAXIMUM_DEPTH = 32
# Beyond it not every reader of JSON holds an integer exactly.
MAXIMUM_NUMBER = 2**53
NUMBER_TOO_LARGE = "Numbers go up to 2^53; write a larger one as text."

BODY = "body"
_BLANK = re.compile(r"[ \t\n\r]*")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return named


class _TooLarge(ValueError):
    """A number has more digits than any value may have."""


def _integer(digits: str) -> int:
    # Before int(), which refuses thousands of digits in words of its own.
    if len(digits) > 20:
        raise _TooLarge(NUMBER_TOO_LARGE)
    return int(digits)


STRICT_JSON = json.JSONDecoder(
    parse_constant=_refuse, parse_int=_integer, object_pairs_hook=_unique
)


def strictly(read: Callable[[], T], field: str) -> T:
    """Return what STRICT_JSON reads; raises InvalidInput of the field for what JSON is not."""
    try:
        return read()
    except _TooLarge as error:
        raise InvalidInput.of(field, str(error), code="number") from error
    except RecursionError as error:
        detail = f"At most {MAXIMUM_DEPTH} levels of nesting."
        raise InvalidInput.of(field, detail, code="depth") from error
    except ValueError as error:
        raise InvalidInput.of(field, f"This is no JSON: {error}.", code="json") from error


def parse_value(text: str, field: str) -> Any:
    """Return a value that can be written again. Raises InvalidInput of the field."""
    return strictly(lambda: _writable(STRICT_JSON.decode(text)), field)


def _writable(value: T) -> T:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("half a surrogate pair is no character") from error
    return value


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
