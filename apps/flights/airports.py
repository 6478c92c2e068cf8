"""The airports that searches may name, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import psycopg

from layoverhq.snapshot import Snapshot


class AirportDirectory(Snapshot[Mapping[str, str]]):
    """The time zone of every active airport, by IATA code."""

    name = "airports"

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[str, str]:
        rows = connection.execute("select iata, time_zone from airports where is_active")
        return MappingProxyType({row["iata"]: row["time_zone"] for row in rows})


airports = AirportDirectory()
