"""The airports, in memory: those that searches may name, and what surrounds all of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import psycopg

from apps.flights.ground import Places, places
from layoverhq.snapshot import Snapshot


class AirportDirectory(Snapshot[Mapping[str, str]]):
    """The time zone of every active airport, by IATA code."""

    name = "airports"

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[str, str]:
        rows = connection.execute("select iata, time_zone from airports where is_active")
        return MappingProxyType({row["iata"]: row["time_zone"] for row in rows})


class GroundDirectory(Snapshot[Places]):
    """Where every airport is, active or not, and how long one takes to its city and back."""

    name = "ground"

    def load(self, connection: psycopg.Connection[Any]) -> Places:
        rows = connection.execute(
            "select iata, country, latitude, longitude, exit_minutes, transfer_minutes,"
            " buffer_minutes from airports order by iata"
        )
        return places(rows.fetchall())


airports = AirportDirectory()
ground = GroundDirectory()
