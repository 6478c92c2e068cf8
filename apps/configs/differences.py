"""Two values side by side, as JSON and not as text: the order of names makes no difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

NOTHING: Any = object()
"""No value at all."""

MASK = "••••••••"
LINES_SHOWN = 400


@dataclass(frozen=True, slots=True)
class Line:
    """One line of both sides; None where a side has no such line."""

    old: str | None
    new: str | None

    @property
    def changed(self) -> bool:
        return self.old != self.new


def lines_of(value: Any) -> list[str]:
    """Return a value as indented JSON, names in order."""
    if value is NOTHING:
        return []
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).splitlines()


def side_by_side(old: Any, new: Any, *, around: int | None = None) -> list[Line]:
    """Return the lines of both values, those that are equal beside each other.

    With `around`, only so many equal lines are kept around each change.
    """
    before, after = lines_of(old), lines_of(new)
    lines = list(_matched(before, after))
    if around is not None:
        near = {
            place
            for position, line in enumerate(lines)
            if line.changed
            for place in range(position - around, position + around + 1)
        }
        lines = [line for position, line in enumerate(lines) if position in near]
    return lines[:LINES_SHOWN]


def _matched(before: list[str], after: list[str]) -> Iterator[Line]:
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            yield from (Line(line, line) for line in before[i1:i2])
            continue
        old, new = before[i1:i2], after[j1:j2]
        for position in range(max(len(old), len(new))):
            yield Line(
                old[position] if position < len(old) else None,
                new[position] if position < len(new) else None,
            )


def brief(value: Any, *, secret: bool = False, unit: str = "") -> str:
    """Return a value in a few words, for a list."""
    if value is NOTHING:
        return "—"
    if secret:
        return MASK
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text == "":
        return "(empty)"
    text = text if len(text) <= 60 else f"{text[:59]}…"
    return f"{text} {unit}" if unit else text
