"""Minimum connection times: the most specific row holds, in SQL and in memory alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction
from hypothesis import given
from hypothesis import strategies as st

from apps.flights.connection_times import (
    KINDS,
    ConnectionTimes,
    Rule,
    connection_times,
)
from apps.flights.models import MinimumConnectionTime
from layoverhq.tenancy import OPERATOR, operator_scope

AIRPORTS = (None, "ORD", "FRA")
CARRIERS = (None, "UA", "LH")
PAIRS = (None, ("1", "1"), ("1", "2"))

rules = st.builds(
    lambda airport, kind, one, other, pair, minutes: Rule(
        airport, kind, one, other, *((pair if airport else None) or (None, None)), minutes
    ),
    st.sampled_from(AIRPORTS),
    st.sampled_from(KINDS),
    st.sampled_from(CARRIERS),
    st.sampled_from(CARRIERS),
    st.sampled_from(PAIRS),
    st.integers(0, 1440),
)
connection = st.tuples(
    st.sampled_from(("ORD", "FRA", "XIS")),
    st.sampled_from(KINDS),
    st.sampled_from((None, "UA", "LH", "ZZ")),
    st.sampled_from((None, "UA", "LH", "ZZ")),
    st.sampled_from((None, ("1", "1"), ("1", "2"), ("9", "1"))),
)
DEFAULTS = tuple(Rule(None, kind, None, None, None, None, 60) for kind in KINDS)


def columns(rule: Rule) -> tuple[Any, ...]:
    return (
        rule.airport, rule.kind, rule.arriving_carrier, rule.departing_carrier, rule.terminals,
    )  # fmt: skip


@pytest.fixture
def cursor() -> Iterator[Any]:
    """A transaction of the operator's role that leaves nothing behind."""
    with operator_scope(), transaction.atomic(using=OPERATOR):
        with connections[OPERATOR].cursor() as cursor:
            yield cursor
        transaction.set_rollback(True, using=OPERATOR)


def looked_up(times: ConnectionTimes, asked: list[Any]) -> list[int]:
    airport, kind, arriving, departing, terminals = zip(*asked, strict=True)
    return times.minutes(
        airport=airport,
        kind=kind,
        arriving_carrier=arriving,
        departing_carrier=departing,
        terminals=terminals,
    ).tolist()


@given(
    st.lists(rules, max_size=25, unique_by=columns),
    st.lists(connection, min_size=1, max_size=40),
)
def test_minutes__any_rows_and_connections__agree_with_sql(
    given_rules: list[Rule], asked: list[Any]
) -> None:
    standing = {columns(rule): rule for rule in (*DEFAULTS, *given_rules)}
    memory = looked_up(ConnectionTimes(standing.values()), asked)
    with operator_scope(), transaction.atomic(using=OPERATOR):
        with connections[OPERATOR].cursor() as cursor:
            # Inactive rows do not hold, and the defaults cannot be inactive.
            cursor.execute(
                "update minimum_connection_times set is_active = false where"
                " num_nonnulls(airport, arriving_carrier, departing_carrier, arriving_terminal) > 0"
            )
            cursor.executemany(
                """
                insert into minimum_connection_times (
                    airport, kind, arriving_carrier, departing_carrier, arriving_terminal,
                    departing_terminal, minutes, source
                ) values (%s, %s, %s, %s, %s, %s, %s, 'test')
                on conflict (
                    airport, kind, arriving_carrier, departing_carrier, arriving_terminal,
                    departing_terminal
                ) do update set minutes = excluded.minutes, is_active = true
                """,
                [
                    (
                        rule.airport, rule.kind, rule.arriving_carrier, rule.departing_carrier,
                        rule.arriving_terminal, rule.departing_terminal, rule.minutes,
                    )
                    for rule in standing.values()
                ],
            )  # fmt: skip
            told = []
            for airport, kind, arriving, departing, terminals in asked:
                cursor.execute(
                    "select minimum_connection_minutes(%s, %s, %s, %s, %s, %s)",
                    [airport, kind, arriving, departing, *(terminals or (None, None))],
                )
                told.append(cursor.fetchone()[0])
        transaction.set_rollback(True, using=OPERATOR)
    assert memory == told


@given(st.lists(rules, max_size=25, unique_by=columns), connection)
def test_minutes__any_rows__are_the_most_specific_ones(
    given_rules: list[Rule], asked: tuple[Any, ...]
) -> None:
    standing = {columns(rule): rule for rule in (*DEFAULTS, *given_rules)}
    fitting = [
        rule
        for rule in standing.values()
        if all(mine is None or mine == his for mine, his in zip(columns(rule), asked, strict=True))
    ]
    named = [
        (
            rule.airport is not None,
            rule.arriving_carrier is not None,
            rule.departing_carrier is not None,
            rule.terminals is not None,
        )
        for rule in fitting
    ]
    expected = fitting[named.index(max(named))].minutes
    assert looked_up(ConnectionTimes(standing.values()), [asked]) == [expected]


def test_seeds__hubs__hold_over_the_defaults_and_say_that_they_are_indicative() -> None:
    asked: list[Any] = [
        ("VIE", "II", "OS", "OS", None),
        ("LHR", "II", "BA", "BA", ("5", "5")),
        ("LHR", "II", "BA", "BA", ("5", "3")),
        ("BOI", "DD", "UA", "UA", None),
    ]
    assert looked_up(connection_times.get(), asked) == [30, 60, 75, 45]
    with operator_scope():
        sources = set(MinimumConnectionTime.objects.values_list("source", flat=True))
        assert "indicative" in sources


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "update minimum_connection_times set is_active = false"
            " where airport is null and kind = 'DD' and arriving_carrier is null",
            "minimum_connection_times_default_stands",
        ),
        (
            "insert into minimum_connection_times (kind, minutes, source) values ('DD', 1, 'x')",
            "minimum_connection_times_once",
        ),
        (
            "insert into minimum_connection_times (kind, arriving_terminal, departing_terminal,"
            " minutes, source) values ('DD', '1', '2', 1, 'x')",
            "minimum_connection_times_terminals_stand_in_airports",
        ),
        (
            "insert into minimum_connection_times (airport, kind, arriving_terminal, minutes,"
            " source) values ('ORD', 'DD', '1', 1, 'x')",
            "minimum_connection_times_terminals_stand_in_airports",
        ),
        (
            "insert into minimum_connection_times (airport, kind, minutes, source)"
            " values ('ORD', 'XX', 1, 'x')",
            "minimum_connection_times_kind_known",
        ),
    ],
)
def test_table__what_cannot_be__is_refused(cursor: Any, statement: str, constraint: str) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic(using=OPERATOR):
        cursor.execute(statement)
