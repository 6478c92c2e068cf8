"""Minimum connection times in memory: what SQL's minimum_connection_minutes() answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from layoverhq.snapshot import Snapshot

# Of the flight that arrives and of the one that departs: domestic, or over a border.
KINDS: Final = ("DD", "DI", "ID", "II")

Codes = NDArray[np.int64]

# A row is the columns that it names, packed into one number, so that a look-up is a binary search.
# Terminals come in pairs. Each part is a position from 1 in what the rows name; 0 is anything else.
_BITS: Final = {"airport": 16, "kind": 2, "arriving": 14, "departing": 14, "terminals": 16}


@dataclass(frozen=True, slots=True)
class Rule:
    """A row that holds; None stands for any."""

    airport: str | None
    kind: str
    arriving_carrier: str | None
    departing_carrier: str | None
    arriving_terminal: str | None
    departing_terminal: str | None
    minutes: int

    @property
    def terminals(self) -> tuple[str, str] | None:
        if self.arriving_terminal is None or self.departing_terminal is None:
            return None
        return self.arriving_terminal, self.departing_terminal

    @property
    def generality(self) -> tuple[bool, bool, bool, bool]:
        """What the rows that fit are ordered by, the one that holds first."""
        return (
            self.airport is None,
            self.arriving_carrier is None,
            self.departing_carrier is None,
            self.terminals is None,
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    """The rows that name the same columns: what of a key they look at, and their keys in order."""

    mask: int
    keys: Codes
    minutes: Codes


class ConnectionTimes:
    """The rows that hold, ready for look-ups of many connections at once."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: Final = tuple(sorted(rules, key=lambda rule: rule.generality))
        self._airports = _positions(rule.airport for rule in self.rules)
        self._carriers = _positions(
            carrier
            for rule in self.rules
            for carrier in (rule.arriving_carrier, rule.departing_carrier)
        )
        self._terminals = _positions(rule.terminals for rule in self.rules)
        layers: dict[tuple[bool, ...], list[Rule]] = {}
        for rule in self.rules:
            layers.setdefault(rule.generality, []).append(rule)
        self._layers = [self._layer(layer) for layer in layers.values()]

    def minutes(
        self,
        *,
        airport: Sequence[str],
        kind: Sequence[str],
        arriving_carrier: Sequence[str | None],
        departing_carrier: Sequence[str | None],
        terminals: Sequence[tuple[str, str] | None],
    ) -> Codes:
        """Return the minimum of each connection; None is what is not known of it.

        Raises LookupError where no row fits: the seeded defaults always do.
        """
        keys = _packed(
            airport=self._codes(self._airports, airport),
            kind=np.array([KINDS.index(each) for each in kind], dtype=np.int64),
            arriving=self._codes(self._carriers, arriving_carrier),
            departing=self._codes(self._carriers, departing_carrier),
            terminals=self._codes(self._terminals, terminals),
        )
        found = np.full(len(keys), -1, dtype=np.int64)
        for layer in self._layers:
            open_ = np.flatnonzero(found < 0)
            if len(open_) == 0:
                break
            asked = keys[open_] & layer.mask
            place = np.minimum(np.searchsorted(layer.keys, asked), len(layer.keys) - 1)
            fits = layer.keys[place] == asked
            found[open_[fits]] = layer.minutes[place[fits]]
        if (found < 0).any():
            raise LookupError("no minimum connection time holds everywhere")
        return found

    def _layer(self, rules: Sequence[Rule]) -> _Layer:
        general = dict(
            zip(("airport", "arriving", "departing", "terminals"), rules[0].generality, strict=True)
        )
        mask = _packed(
            **{
                name: np.array([0 if general.get(name, False) else (1 << bits) - 1])
                for name, bits in _BITS.items()
            }
        )
        keys = _packed(
            airport=self._codes(self._airports, [rule.airport for rule in rules]),
            kind=np.array([KINDS.index(rule.kind) for rule in rules], dtype=np.int64),
            arriving=self._codes(self._carriers, [rule.arriving_carrier for rule in rules]),
            departing=self._codes(self._carriers, [rule.departing_carrier for rule in rules]),
            terminals=self._codes(self._terminals, [rule.terminals for rule in rules]),
        )
        minutes = np.array([rule.minutes for rule in rules], dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        return _Layer(int(mask[0]), keys[order], minutes[order])

    @staticmethod
    def _codes(positions: Mapping[Any, int], names: Sequence[Any]) -> Codes:
        return np.array([positions.get(name, 0) for name in names], dtype=np.int64)


def _positions(names: Iterable[Any]) -> Mapping[Any, int]:
    """Number what is named from 1."""
    return {name: place for place, name in enumerate(sorted({*names} - {None}), 1)}


def _packed(**parts: Codes) -> Codes:
    key = np.zeros(1, dtype=np.int64)
    for name, bits in _BITS.items():
        key = (key << bits) | parts[name]
    return key


class ConnectionTimesSnapshot(Snapshot[ConnectionTimes]):
    """The minimum connection times that hold."""

    name = "connection_times"

    def load(self, connection: psycopg.Connection[Any]) -> ConnectionTimes:
        rows = connection.execute(
            "select airport, kind, arriving_carrier, departing_carrier, arriving_terminal,"
            " departing_terminal, minutes from minimum_connection_times where is_active"
        )
        return ConnectionTimes(Rule(**row) for row in rows)


connection_times = ConnectionTimesSnapshot()
