"""The connection builder against a brute force."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from apps.flights import connections as builder
from apps.flights.connections import (
    allowed_routings,
    connections,
    in_turns,
    pareto_front,
    sorted_legs,
)

AIRPORTS = 4
leg = st.tuples(
    st.integers(0, AIRPORTS - 1),
    st.integers(0, AIRPORTS - 1),
    st.integers(0, 3000),
    st.integers(1, 500),
).filter(lambda each: each[0] != each[1])


@given(
    st.lists(leg, max_size=30),
    st.lists(st.floats(1, 100), min_size=AIRPORTS**2, max_size=AIRPORTS**2),
    st.lists(st.booleans(), min_size=AIRPORTS**2, max_size=AIRPORTS**2),
    st.integers(0, 100),
    st.integers(-100, 1500),
    st.integers(1, 50),
)
def test_connections__any_schedule__equal_the_brute_force(
    rows: list[tuple[int, int, int, int]],
    miles: list[float],
    wanted: list[bool],
    minimum: int,
    span: int,
    chunk: int,
) -> None:
    distance = np.array(miles).reshape(AIRPORTS, AIRPORTS)
    wish = np.array(wanted).reshape(AIRPORTS, AIRPORTS)
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    legs, order = sorted_legs(
        columns[0].astype(np.int32),
        columns[1].astype(np.int32),
        columns[2],
        columns[2] + columns[3],
    )
    first = np.arange(0, len(legs), 2, dtype=np.int32)
    with patch.object(builder, "PAIRS_PER_CHUNK", chunk):
        found = {
            (int(order[one]), int(order[two]))
            for part in connections(
                legs,
                first,
                allowed_routings(distance, wish, detour=1.6),
                minimum_minutes=minimum,
                maximum_minutes=minimum + span,
            )
            for one, two in zip(part.first, part.second, strict=True)
        }

    expected = set()
    for one in order[first]:
        for two in range(len(rows)):
            origin, via, leaves, minutes = rows[one]
            start, destination, departure, _ = rows[two]
            layover = departure - leaves - minutes
            if (
                start == via
                and minimum <= layover <= minimum + span
                and destination not in (origin, via)
                and wish[origin, destination]
                and distance[origin, via] + distance[via, destination]
                <= 1.6 * distance[origin, destination]
            ):
                expected.add((int(one), two))
    assert found == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_pareto_front__any_offers__keeps_the_unbeaten(rows: list[tuple[int, int, int]]) -> None:
    group, price, minutes = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    kept = pareto_front(group, price, minutes).tolist()

    def beats(one: int, other: int) -> bool:
        (g, p, m), (h, q, n) = rows[one], rows[other]
        return g == h and p <= q and m <= n and ((p, m) != (q, n) or one < other)

    everyone = range(len(rows))
    assert sorted(kept) == [
        each for each in everyone if not any(beats(other, each) for other in everyone)
    ]
    assert [rows[each][:2] for each in kept] == sorted(rows[each][:2] for each in kept)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=30).map(sorted),
    st.lists(st.integers(0, 8), min_size=3, max_size=3),
)
def test_in_turns__any_kinds__takes_one_of_each_before_a_second(
    rows: list[tuple[int, int]], allowance: list[int]
) -> None:
    owner, kind = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    kept = in_turns(owner, kind, np.array(allowance)).tolist()

    expected = []
    for wanted in range(3):
        queues = [[p for p, row in enumerate(rows) if row == (wanted, k)] for k in range(4)]
        turns = [q[turn] for turn in range(len(rows)) for q in queues if turn < len(q)]
        expected += turns[: allowance[wanted]]
    assert kept == sorted(expected)
