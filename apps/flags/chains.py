"""What names what, in a row: prerequisites of flags, segments within segments."""

from __future__ import annotations

from collections.abc import Mapping, Set


def chain_fault(name: str, uses: Mapping[str, Set[str]], longest: int) -> str:
    """Return "cycle" where a name leads back to itself, "depth" where the longest row through it
    has more than `longest` names, and otherwise nothing."""
    below = _levels(name, uses, longest)
    if below is None:
        return "cycle"
    named_by: dict[str, set[str]] = {}
    for each, used in uses.items():
        for other in used:
            named_by.setdefault(other, set()).add(each)
    above = _levels(name, named_by, longest)
    return "depth" if above is None or above + 1 + below > longest else ""


def _levels(name: str, uses: Mapping[str, Set[str]], longest: int) -> int | None:
    """Return how many names the longest row after this one has, None if it comes back."""
    level, number = set(uses.get(name, ())), 0
    # Circles that this name is no part of would go on for ever.
    while level and number <= longest:
        if name in level:
            return None
        number += 1
        level = {other for each in level for other in uses.get(each, ())}
    return number
