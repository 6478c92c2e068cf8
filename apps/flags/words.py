"""Conditions in words, and how a rule builder asks for each operator's value."""

from __future__ import annotations

import json
from typing import Any

# Operator: what it says between the attribute and the value, and what kind of value it takes.
OPERATORS: dict[str, tuple[str, str]] = {
    "$eq": ("is", "value"),
    "$ne": ("is not", "value"),
    "$in": ("is one of", "list"),
    "$nin": ("is none of", "list"),
    "$ini": ("is one of (any letter case)", "list"),
    "$nini": ("is none of (any letter case)", "list"),
    "$gt": ("is greater than", "comparable"),
    "$gte": ("is at least", "comparable"),
    "$lt": ("is less than", "comparable"),
    "$lte": ("is at most", "comparable"),
    "$exists": ("is present", "boolean"),
    "$inGroup": ("is in the segment", "segment"),
    "$notInGroup": ("is not in the segment", "segment"),
    "$regex": ("matches the pattern", "pattern"),
    "$regexi": ("matches the pattern (any letter case)", "pattern"),
    "$veq": ("is the version", "version"),
    "$vne": ("is not the version", "version"),
    "$vgt": ("is later than version", "version"),
    "$vgte": ("is version … or later", "version"),
    "$vlt": ("is earlier than version", "version"),
    "$vlte": ("is version … or earlier", "version"),
    "$all": ("holds all of", "list"),
    "$alli": ("holds all of (any letter case)", "list"),
    "$size": ("has the length", "size"),
    "$elemMatch": ("holds an element", "element"),
    "$type": ("is of the type", "type"),
}
GROUPS = {
    "$and": "all of these hold",
    "$or": "any of these holds",
    "$nor": "none of these holds",
    "$not": "these do not all hold",
}
ITEMS_SHOWN = 5
TEXT_SHOWN = 60


def shown(value: Any) -> str:
    """Return a value as people read it, shortened."""
    if isinstance(value, str):
        return f"“{value[:TEXT_SHOWN]}{'…' if len(value) > TEXT_SHOWN else ''}”"
    if isinstance(value, list) and value and not any(isinstance(i, dict | list) for i in value):
        more = len(value) - ITEMS_SHOWN
        return ", ".join(map(shown, value[:ITEMS_SHOWN])) + (
            f" and {more} more" if more > 0 else ""
        )
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 2 * TEXT_SHOWN else f"{text[: 2 * TEXT_SHOWN]}…"


def clause(attribute: str, operand: Any) -> str:
    """Return what is asked of an attribute, in words."""
    return f"{attribute} {_asked(operand) or f'is {shown(operand)}'}"


def _asked(operand: Any) -> str:
    """Return operators in words, nothing where it is none of operators alone."""
    known = OPERATORS.keys() | {"$not"}
    if not isinstance(operand, dict) or not operand or not operand.keys() <= known:
        return ""
    return " and ".join(_operator(name, asked) for name, asked in operand.items())


def _operator(name: str, operand: Any) -> str:
    inner = _asked(operand)
    if name == "$not":
        return f"not ({inner or shown(operand)})"
    words = OPERATORS[name][0]
    if name == "$exists" and isinstance(operand, bool):
        return "is present" if operand else "is missing"
    if name == "$size" and inner:
        return f"has a length that {inner}"
    if name == "$elemMatch":
        return f"{words} that {inner}" if inner else f"{words} where {brief(operand)}"
    if "…" in words:
        return words.replace("…", operand if isinstance(operand, str) else shown(operand))
    return f"{words} {shown(operand)}"


def brief(conditions: Any) -> str:
    """Return conditions in a line; what is nested is counted."""
    if conditions == {}:
        return "everybody"
    if not isinstance(conditions, dict):
        return shown(conditions)
    told = []
    for name, operand in list(conditions.items())[:ITEMS_SHOWN]:
        if name in GROUPS:
            number = len(operand)
            told.append(f"{GROUPS[name]} ({number} condition{'' if number == 1 else 's'})")
        else:
            told.append(clause(name, operand))
    more = len(conditions) - ITEMS_SHOWN
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")
