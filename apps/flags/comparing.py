"""When values of JSON are equal, ordered, the same version: as PostgreSQL's jsonb has it.

Values are what a JSON reader makes: str, int, float, bool, None, list and dict. Anything else has
no kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

# Up to here every integer is a double, and a double is the number that it is written as.
EXACT = 2**53
MAXIMUM_VERSION = 100
LETTERS = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def is_number(value: Any) -> bool:
    """Return whether the value is a number: true and false are none."""
    return type(value) is int or type(value) is float


def same(left: Any, right: Any) -> bool:
    """Return whether two values are equal, lists and objects deeply, however deep."""
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        kind = type(one)
        if kind is dict:
            if type(other) is not dict or one.keys() != other.keys():
                return False
            pending += [(item, other[name]) for name, item in one.items()]
        elif kind is list:
            if type(other) is not list or len(one) != len(other):
                return False
            pending += zip(one, other, strict=True)
        elif kind is int or kind is float:
            if not is_number(other) or exact(one) != exact(other):
                return False
        elif kind is not type(other) or one != other:
            return False
    return True


def exact(number: float) -> float:
    """Return the number that is written: as an integer, for a double past the exact ones.

    1e23 is 10^23 to PostgreSQL, and a little less as a double.
    """
    if type(number) is float and abs(number) > EXACT and math.isfinite(number):
        return int(Decimal(repr(number)))
    return number


class Elements:
    """A list as what it holds."""

    __slots__ = ("others", "scalars")

    def __init__(self, values: Iterable[Any]) -> None:
        scalars: set[Any] = set()
        self.others: list[Any] = []
        for value in values:
            if type(value) is str or (is_number(value) and abs(value) <= EXACT):
                scalars.add(value)
            else:
                self.others.append(value)
        self.scalars = frozenset(scalars)

    def hold(self, value: Any) -> bool:
        """Return whether an element is equal to the value."""
        kind = type(value)
        # Hashing would take true for 1.
        if (kind is str or kind is int or kind is float) and value in self.scalars:
            return True
        return any(same(value, other) for other in self.others)


def folded(value: Any) -> Any:
    """Return a text with its ASCII letters small; anything else as it is."""
    if type(value) is not str:
        return value
    return value.lower() if value.isascii() else value.translate(LETTERS)


def number_text(number: float) -> str | None:
    """Return a number as PostgreSQL's trim_scale() leaves it: 2.0 is 2, and no exponent.

    None for what is no number of JSON.
    """
    if not math.isfinite(number):
        return None
    written = f"{Decimal(repr(number)):f}" if type(number) is float else f"{Decimal(number):f}"
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def version_key(value: Any) -> str | None:
    """Return a version as a text that orders as versions do, or None where it is none."""
    if type(value) is str:
        return _version_key(value) if len(value) <= MAXIMUM_VERSION else None
    if is_number(value) and abs(value) < 10.0**MAXIMUM_VERSION:
        written = number_text(value) or ""
        return _version_key(written) if len(written) <= MAXIMUM_VERSION else None
    return None


@lru_cache(maxsize=4_096)
def _version_key(written: str) -> str:
    parts = written.removeprefix("v").partition("+")[0].replace("-", ".").split(".")
    if len(parts) == 3:
        parts.append("~")
    return "-".join(part.rjust(5) if part.isascii() and part.isdigit() else part for part in parts)
