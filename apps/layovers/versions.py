"""What analyses at each airport are made from, as versions, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import psycopg

from layoverhq.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class InputVersions:
    """The versions of one airport's inputs, and how its weather was last asked for."""

    experiences: int = 0
    weather: int = 0
    invalidations: int = 0
    weather_fetched_at: datetime | None = None
    weather_failed_at: datetime | None = None


UNTOUCHED: Final = InputVersions()


class InputDirectory(Snapshot[Mapping[str, InputVersions]]):
    """The versions by airport; one that is not there has never had an input."""

    name = "layover_inputs"

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[str, InputVersions]:
        rows = connection.execute(
            "select airport_code, experiences_version, weather_version, invalidations,"
            " weather_fetched_at, weather_failed_at from layover_inputs"
        )
        return MappingProxyType(
            {
                row["airport_code"]: InputVersions(
                    row["experiences_version"],
                    row["weather_version"],
                    row["invalidations"],
                    row["weather_fetched_at"],
                    row["weather_failed_at"],
                )
                for row in rows
            }
        )


layover_inputs = InputDirectory()
