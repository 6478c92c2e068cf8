"""On time: the share of arrivals within a slack, in SQL and in memory alike."""

from __future__ import annotations

import csv
import gzip
from typing import Any

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from apps.flights.delays import OnTime, arrival_delays, on_time_share
from apps.flights.network import DATA
from layoverhq.tenancy import OPERATOR, operator_scope


def in_sql(airport: str, slack: float) -> OnTime:
    with operator_scope(), connections[OPERATOR].cursor() as cursor:
        cursor.execute("select share, is_nationwide from on_time_share(%s, %s)", [airport, slack])
        return OnTime(*cursor.fetchone())


def rows() -> list[dict[str, Any]]:
    path = DATA / "us_arrival_delay_minutes.csv.gz"
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        return list(csv.DictReader(file))


@given(
    st.sampled_from(["ABE", "ATL", "SFO", "JFK", "IST", "QQQ"]),
    st.one_of(st.integers(-60, 600), st.floats(-2000, 2000, allow_nan=False)),
)
def test_on_time_share__any_slack__agrees_with_sql(airport: str, slack: float) -> None:
    told = in_sql(airport, slack)
    found = on_time_share(airport, slack)
    assert found.share == pytest.approx(told.share)
    assert found.is_nationwide == told.is_nationwide
    assert 0 <= found.share <= 0.99


@pytest.mark.parametrize(
    ("name", "share"), [("p10", 0.1), ("p25", 0.25), ("p50", 0.5), ("p95", 0.95), ("p99", 0.99)]
)
def test_on_time_share__at_a_quantile__is_its_share(name: str, share: float) -> None:
    for row in rows():
        assert on_time_share(row["destination"], int(row[name])) == (pytest.approx(share), False)


def test_on_time_share__half_way_between_two__lies_half_way() -> None:
    # ABE's own: 8 minutes at p75, 36 at p90.
    assert on_time_share("ABE", 22) == (pytest.approx(0.825), False)


def test_on_time_share__unmeasured_airport__is_the_nation_s_and_says_so() -> None:
    measured = rows()
    assert len(arrival_delays.get()) == len(measured) + 1 == 227
    found = on_time_share("IST", 30)
    assert found.is_nationwide
    shares = [on_time_share(row["destination"], 30).share for row in measured]
    assert min(shares) < found.share < max(shares)
    # Its median is the middle of all flights.
    median = arrival_delays.get()[None][2]
    total = sum(int(row["flights"]) for row in measured)
    below = sum(int(row["flights"]) for row in measured if int(row["p50"]) < median)
    through = sum(int(row["flights"]) for row in measured if int(row["p50"]) <= median)
    assert 2 * below < total <= 2 * through
