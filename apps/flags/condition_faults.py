"""What is refused of a document of conditions when it is saved, and where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from apps.flags.comparing import EXACT, MAXIMUM_VERSION, is_number, version_key
from apps.flags.conditions import (
    COMPARISONS,
    LOGIC,
    MAXIMUM_DEPTH,
    OPERATORS,
    TYPES,
    VERSIONS,
)
from apps.flags.models import NAME_PATTERN
from apps.flags.patterns import pattern_fault
from layoverhq.errors import FieldError

MAXIMUM_BYTES = 65_536
MAXIMUM_OPERATORS = 200
# Of lists and objects in a value.
MAXIMUM_VALUE_DEPTH = 10
# Of lists and objects altogether: a condition adds two at most to the one around it.
MAXIMUM_LEVELS = 2 * MAXIMUM_DEPTH + MAXIMUM_VALUE_DEPTH + 3
# Nobody reads more of them.
MAXIMUM_FAULTS = 50
MAXIMUM_NAME = 255
DOCUMENTS = LOGIC - {"$not"}
ON_LENGTHS = frozenset({"$eq", "$ne", "$in", "$nin", "$not", *COMPARISONS})


class Place(NamedTuple):
    """Where in a document something stands."""

    around: Place | None
    step: str

    def __str__(self) -> str:
        steps = []
        place: Place | None = self
        while place is not None:
            steps.append(place.step if len(place.step) <= MAXIMUM_NAME else "…")
            place = place.around
        return "".join(reversed(steps))

    def below(self, name: Any) -> Place:
        return Place(self, f"[{name}]" if isinstance(name, int) else f".{name}")

    def inner(self, part: Any) -> Iterator[tuple[Place, Any]]:
        """Yield what a list or an object holds, each with its place."""
        if isinstance(part, dict | list):
            for name, item in part.items() if isinstance(part, dict) else enumerate(part):
                yield self.below(name), item


def condition_faults(document: Any, field: str = "conditions") -> list[FieldError]:
    """Return all that keeps a document from being saved; `field` names the whole of it."""
    whole = Place(None, field)
    faults = _unstorable(whole, document, MAXIMUM_BYTES, MAXIMUM_LEVELS)
    if not faults:
        reading = _Reading()
        reading.document(whole, document, 1)
        if reading.operators > MAXIMUM_OPERATORS:
            detail = f"At most {MAXIMUM_OPERATORS} operators; these are {reading.operators}."
            return [FieldError(field, "too_many", detail)]
        faults = reading.faults
    return faults[:MAXIMUM_FAULTS]


def unstorable(document: Any, field: str, maximum_bytes: int) -> list[FieldError]:
    """Return what JSON in PostgreSQL, or a reader of it, could not hold."""
    # A document of conditions may stand three levels deep in what holds it.
    return _unstorable(Place(None, field), document, maximum_bytes, MAXIMUM_LEVELS + 3)


def _unstorable(
    whole: Place, document: Any, maximum_bytes: int, maximum_levels: int
) -> list[FieldError]:
    faults: list[FieldError] = []
    size = 0
    pending = [(whole, document, 0)]
    while pending and len(faults) < MAXIMUM_FAULTS:
        place, part, level = pending.pop()
        items = len(part) if isinstance(part, dict | list) else 0
        scalars = part if isinstance(part, dict) else [] if isinstance(part, list) else [part]
        size += 2 * items + 2
        if size <= maximum_bytes:
            for scalar in scalars:
                if fault := _scalar_fault(scalar):
                    faults.append(FieldError(str(place), *fault))
                else:
                    size += _written_bytes(scalar)
        if size > maximum_bytes:
            detail = f"At most {maximum_bytes:,} bytes of JSON."
            return [FieldError(str(whole), "too_large", detail)]
        if level > maximum_levels:
            detail = f"At most {maximum_levels} lists and objects in each other."
            return [FieldError(str(whole), "depth", detail)]
        inner = [(below, item, level + 1) for below, item in place.inner(part)]
        pending += reversed(inner)
    return faults


def _scalar_fault(scalar: Any) -> tuple[str, str] | None:
    if isinstance(scalar, str):
        if "\x00" in scalar:
            return "unicode", "NUL characters cannot be stored."
        if any("\ud800" <= character <= "\udfff" for character in scalar):
            return "unicode", "Half a surrogate pair is no character."
    elif isinstance(scalar, int | float):
        if not abs(scalar) <= EXACT:
            return "number", "Numbers go up to 2^53; write a larger one as text."
    elif scalar is not None:
        return "type", "Holds what JSON does not know."
    return None


def _written_bytes(scalar: Any) -> int:
    # PostgreSQL writes numbers without an exponent: 1e-300 has 302 characters.
    if isinstance(scalar, float):
        return len(f"{Decimal(repr(scalar)):f}")
    return len(json.dumps(scalar, ensure_ascii=False).encode())


class _Reading:
    """Reads a document by its grammar, which bounds how deep it goes, and notes the faults."""

    def __init__(self) -> None:
        self.faults: list[FieldError] = []
        self.operators = 0

    def note(self, place: Place, code: str, detail: str) -> None:
        self.faults.append(FieldError(str(place), code, detail))

    def too_deep(self, place: Place, depth: int) -> bool:
        if depth > MAXIMUM_DEPTH:
            self.note(place, "depth", f"At most {MAXIMUM_DEPTH} conditions in each other.")
        return depth > MAXIMUM_DEPTH

    def document(self, place: Place, document: Any, depth: int) -> None:
        if not isinstance(document, dict):
            self.note(place, "type", "Conditions are an object of attributes.")
        elif not self.too_deep(place, depth):
            for name, operand in document.items():
                if name in LOGIC:
                    self.logic(place.below(name), name, operand, depth)
                elif name.startswith("$"):
                    self.misplaced(place.below(name), name)
                else:
                    self.clause(place.below(name), name, operand, depth)

    def logic(self, place: Place, name: str, operand: Any, depth: int) -> None:
        self.operators += 1
        if name == "$not":
            self.document(place, operand, depth + 1)
        elif not isinstance(operand, list):
            self.note(place, "type", f"{name} takes a list of conditions.")
        else:
            for inner, document in place.inner(operand):
                self.document(inner, document, depth + 1)

    def misplaced(self, place: Place, name: str) -> None:
        if name in OPERATORS:
            self.note(place, "misplaced", f"{name} stands below an attribute.")
        elif name in LOGIC:
            self.note(place, "misplaced", f"{name} stands beside attributes, not below one.")
        else:
            self.note(place, "unknown_operator", f"“{name[:50]}” is no operator.")

    def clause(self, place: Place, name: str, operand: Any, depth: int) -> None:
        if not all(name.split(".")):
            self.note(
                place, "name", "An attribute has a name, and a path one on each side of a dot."
            )
        elif len(name) > MAXIMUM_NAME:
            self.note(
                place, "name", f"The name of an attribute has at most {MAXIMUM_NAME} characters."
            )
        if isinstance(operand, dict) and (not operand or any(map(_is_operator, operand))):
            self.all_of(place, operand, depth)
        else:
            self.operators += 1
            self.value(place, operand)

    def all_of(self, place: Place, operators: Any, depth: int) -> None:
        """Read what has to be an object of operators."""
        if not isinstance(operators, dict) or not operators:
            self.note(place, "empty", "Give a value, or an object of operators with one at least.")
        elif not all(map(_is_operator, operators)):
            detail = "Operators and other names stand together; a value has no name with a $."
            self.note(place, "mixture", detail)
        elif not self.too_deep(place, depth):
            for name, operand in operators.items():
                self.operators += 1
                if name in OPERATORS:
                    self.operator(place.below(name), name, operand, depth)
                else:
                    self.misplaced(place.below(name), name)

    def operator(self, place: Place, name: str, operand: Any, depth: int) -> None:
        if name == "$not":
            self.all_of(place, operand, depth + 1)
        elif name == "$elemMatch":
            self.element(place, operand, depth + 1)
        elif name == "$size":
            self.size(place, operand, depth + 1)
        elif fault := OPERAND_FAULTS[name](operand):
            self.note(place, *fault)
        else:
            self.value(place, operand)

    def element(self, place: Place, operand: Any, depth: int) -> None:
        if not isinstance(operand, dict) or not operand:
            detail = "$elemMatch takes operators for an element, or the conditions of an object."
            self.note(place, "type", detail)
        elif all(map(_is_operator, operand)) and not operand.keys() & DOCUMENTS:
            self.all_of(place, operand, depth)
        else:
            self.document(place, operand, depth)

    def size(self, place: Place, operand: Any, depth: int) -> None:
        detail = "$size takes a whole number, or operators that compare with numbers."
        if isinstance(operand, dict):
            before = len(self.faults)
            self.all_of(place, operand, depth)
            if len(self.faults) == before and not _on_lengths(operand):
                self.note(place, "type", detail)
        elif not is_number(operand) or operand < 0 or operand % 1:
            self.note(place, "type", detail)

    def value(self, place: Place, value: Any) -> None:
        pending = [(place, value, 1)]
        while pending:
            at, part, level = pending.pop()
            inner = [(below, item, level + 1) for below, item in at.inner(part)]
            pending += reversed(inner)
            if isinstance(part, dict) and any(map(_is_operator, part)):
                detail = "A value has no names that begin with $; a nested attribute is a.b."
                return self.note(at, "mixture", detail)
            if inner and level > MAXIMUM_VALUE_DEPTH:
                detail = (
                    f"At most {MAXIMUM_VALUE_DEPTH} lists and objects in each other in a value."
                )
                return self.note(place, "depth", detail)
        return None


def _is_operator(name: str) -> bool:
    return name.startswith("$")


def _on_lengths(operators: dict[str, Any]) -> bool:
    return all(
        _on_lengths(operand)
        if name == "$not"
        else name in ON_LENGTHS
        and all(map(is_number, operand if isinstance(operand, list) else [operand]))
        for name, operand in operators.items()
    )


# Why an operator cannot have an operand: a code and a sentence.
Fault = tuple[str, str] | None


def _any_value(operand: Any) -> Fault:
    return None


def _comparable(operand: Any) -> Fault:
    if isinstance(operand, str) or is_number(operand):
        return None
    return "type", "Compares with a number or a text."


def _list(operand: Any) -> Fault:
    return None if isinstance(operand, list) else ("type", "Takes a list.")


def _boolean(operand: Any) -> Fault:
    return None if isinstance(operand, bool) else ("type", "Takes true or false.")


def _type_word(operand: Any) -> Fault:
    if isinstance(operand, str) and operand in TYPES:
        return None
    return "type", f"Takes one of {', '.join(TYPES)}."


def _pattern(operand: Any) -> Fault:
    reason = pattern_fault(operand)
    return ("regex", reason) if reason else None


def _segment(operand: Any) -> Fault:
    if isinstance(operand, str) and len(operand) <= MAXIMUM_NAME and SEGMENT.fullmatch(operand):
        return None
    return "group", "Takes the name of a segment: small letters, digits, dots, - and _."


def _version(operand: Any) -> Fault:
    if (isinstance(operand, str) and not operand) or version_key(operand) is None:
        return "version", f"Takes a version: a text of up to {MAXIMUM_VERSION} characters."
    return None


SEGMENT = re.compile(NAME_PATTERN)
OPERAND_FAULTS: dict[str, Callable[[Any], Fault]] = {
    "$eq": _any_value,
    "$ne": _any_value,
    **dict.fromkeys(COMPARISONS, _comparable),
    **dict.fromkeys(("$in", "$nin", "$ini", "$nini", "$all", "$alli"), _list),
    "$exists": _boolean,
    "$type": _type_word,
    **dict.fromkeys(("$regex", "$regexi"), _pattern),
    **dict.fromkeys(("$inGroup", "$notInGroup"), _segment),
    **dict.fromkeys(VERSIONS, _version),
}
