"""The members of a JSON body: each is read by its reader, and every fault is told by its name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from layoverhq.errors import FieldError, InvalidInput
from layoverhq.query_string import printable

# How many members that nobody knows are told of.
STRANGERS_TOLD = 10

Reader = Callable[[Any], Any]


class Unfit(Exception):
    """A value cannot be used; carries the sentence and the code."""

    def __init__(self, detail: str, code: str = "invalid") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


@dataclass(frozen=True, slots=True)
class Body:
    """What a request's body may have: a reader for each member, and which it must have."""

    readers: Mapping[str, Reader]
    required: Collection[str] = ()

    def read(self, data: Any) -> dict[str, Any]:
        """Return the members that were sent, as their readers return them. Raises InvalidInput."""
        # An empty body is one without members.
        members: Mapping[str, Any] = data if isinstance(data, dict) else {}
        errors = [
            FieldError(name, "required", "This member is required.")
            for name in self.required
            if name not in members
        ]
        strangers = sorted(members.keys() - self.readers.keys())[:STRANGERS_TOLD]
        errors += [
            FieldError(printable(name), "unknown", "There is no such member.") for name in strangers
        ]
        values = {}
        for name, reader in self.readers.items():
            if name in members:
                try:
                    values[name] = reader(members[name])
                except Unfit as fault:
                    errors.append(FieldError(name, fault.code, fault.detail))
        if errors:
            raise InvalidInput(errors)
        return values


def text(longest: int, *, shortest: int = 1) -> Reader:
    """Return a reader of a text; blanks around it are taken off, and do not count."""

    def read(value: Any) -> str:
        stripped = value.strip() if isinstance(value, str) else None
        if stripped is None or not shortest <= len(stripped) <= longest:
            raise Unfit(f"Give a text of {shortest} to {longest} characters.")
        if "\0" in stripped:
            raise Unfit("The text contains a NUL character.", "nul")
        return stripped

    return read


def integer(low: int, high: int) -> Reader:
    """Return a reader of a whole number; true is none."""

    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Unfit(f"Give a whole number from {low} to {high}.")
        return value

    return read


def boolean(value: Any) -> bool:
    """Read true or false."""
    if type(value) is not bool:
        raise Unfit("Give true or false.")
    return value


def identifier(value: Any) -> UUID:
    """Read a UUID as this API writes it."""
    if isinstance(value, str) and len(value) == 36:
        try:
            return UUID(value)
        except ValueError:
            pass
    raise Unfit("Give an id: a UUID.")


def one_of(choices: Collection[str]) -> Reader:
    """Return a reader of one of these words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Unfit(f"Give one of {', '.join(choices)}.")
        return value

    return read


def some_of(choices: Collection[str]) -> Reader:
    """Return a reader of a list of these words, each once and at least one."""

    def read(value: Any) -> list[str]:
        words = value if isinstance(value, list) else []
        if not words or not all(isinstance(word, str) and word in choices for word in words):
            raise Unfit(f"Give a list of {', '.join(choices)}.")
        return sorted(set(words))

    return read


def nullable(reader: Reader) -> Reader:
    """Return a reader that takes null as well."""

    def read(value: Any) -> Any:
        return None if value is None else reader(value)

    return read


# What an object was when its caller read it: see StaleVersion.
VERSION = integer(1, 2**31 - 1)
