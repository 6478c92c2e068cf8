"""What names what, in a row: prerequisites of flags, segments within segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Set


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


def most_visits(name: str, uses: Mapping[str, Collection[str]], longest: int) -> int:
    """Return how many names are come to from this one, or from one that leads to it.

    A name counts as often as it is come to, as an evaluation does: rows of a few names that each
    name many grow without end.
    """
    above, pending = {name}, [name]
    while pending:
        used = pending.pop()
        for each in [each for each, others in uses.items() if used in others and each not in above]:
            above.add(each)
            pending.append(each)
    return max(_visits(each, uses, longest) for each in above)


def _visits(name: str, uses: Mapping[str, Collection[str]], longest: int) -> int:
    level, number = Counter({name: 1}), 0
    for _ in range(longest):
        below: Counter[str] = Counter()
        for each, times in level.items():
            for other in uses.get(each, ()):
                below[other] += times
        number += below.total()
        level = below
    return number
