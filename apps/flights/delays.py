"""How likely a flight is to land in time for the next one, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import psycopg

from layoverhq.snapshot import Snapshot

# Which share of arrivals each quantile of `arrival_delays` stands for.
SHARES: Final = {
    "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99,
}  # fmt: skip


class OnTime(NamedTuple):
    """A share of arrivals from 0 to 0.99, and whether it is the nation's for want of better."""

    share: float
    is_nationwide: bool


class ArrivalDelays(Snapshot[Mapping[str | None, tuple[int, ...]]]):
    """The quantiles of delay in minutes by airport, those of the nation under None."""

    name = "arrival_delays"

    def load(self, connection: psycopg.Connection[Any]) -> Mapping[str | None, tuple[int, ...]]:
        rows = connection.execute(
            "select airport, p10, p25, p50, p75, p90, p95, p99 from arrival_delays"
        )
        return MappingProxyType(
            {row["airport"]: tuple(row[name] for name in SHARES) for row in rows}
        )


arrival_delays = ArrivalDelays()


def on_time_share(airport: str, slack_minutes: float) -> OnTime:
    """Return the share of arrivals at the airport that are at most so many minutes late.

    As SQL's on_time_share(): by interpolation between the quantiles. Below p10 the line to p25 goes
    on down to 0; past p99 the answer stays 0.99.
    """
    delays = arrival_delays.get()
    late = delays.get(airport)
    is_nationwide = late is None
    return OnTime(_share(late or delays[None], slack_minutes), is_nationwide)


def _share(late: tuple[int, ...], slack: float) -> float:
    shares = tuple(SHARES.values())
    below = sum(quantile <= slack for quantile in late)
    if below == len(late):
        return shares[-1]
    # The two quantiles that the line goes through.
    low = max(below, 1) - 1
    rise, run = shares[low + 1] - shares[low], late[low + 1] - late[low]
    return max(0.0, shares[low] + (slack - late[low]) * rise / run) if run else 0.0
