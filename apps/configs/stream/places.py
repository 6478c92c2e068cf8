"""How far a client is in each list of changes: the ids of events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """How far a client is in one list: at the end of a version, or in it behind a name."""

    version: int
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.version}" + (f"/{self.name}" if self.name is not None else "")

    @property
    def whole(self) -> int:
        """The last version of which nothing is missing."""
        return self.version if self.name is None else self.version - 1

    def covers(self, version: int, name: str) -> bool:
        """Return whether the client has the event of this name in this version."""
        if version != self.version:
            return version < self.version
        return self.name is None or name <= self.name


Places = Mapping[str, Place]

_PART = re.compile(r"([a-z]+)=(.*)", re.DOTALL)
_PLACE = re.compile(r"([0-9]{1,18})(?:/([a-z0-9_.-]{1,255}))?")


def written(places: Places) -> str:
    """Return the id of an event after which a client is there."""
    return ";".join(f"{name}={place}" for name, place in places.items())


def parsed(text: str, lists: Iterable[str]) -> dict[str, Place] | None:
    """Return the places of these lists that an id holds, None where it is no id of ours.

    An id may hold more lists than a key reads, or than this release knows, and fewer.
    """
    places = {}
    for part in text.split(";"):
        named = _PART.fullmatch(part)
        if named is None:
            return None
        if named[1] in lists:
            found = _PLACE.fullmatch(named[2])
            if found is None:
                return None
            places[named[1]] = Place(int(found[1]), found[2])
    return places or None
