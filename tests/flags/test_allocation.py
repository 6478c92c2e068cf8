"""Weights become buckets, and change of hands as little as can be."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.flags.allocation import Ranges, allocate, weights_of
from layoverhq.bucketing import BUCKETS

KEYS = ["a", "b", "c", "d"]


@st.composite
def weights(draw: Any) -> dict[str, int]:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    cuts = sorted(
        draw(st.lists(st.integers(0, BUCKETS), min_size=len(keys) - 1, max_size=len(keys) - 1))
    )
    ends = [0, *cuts, BUCKETS]
    return {key: ends[place + 1] - ends[place] for place, key in enumerate(keys)}


def owners(allocations: dict[str, Ranges]) -> list[str]:
    found = [""] * BUCKETS
    for variant, ranges in allocations.items():
        for low, high in ranges:
            assert 0 <= low < high <= BUCKETS
            for bucket in range(low, high):
                assert found[bucket] == "", "two variants hold one bucket"
                found[bucket] = variant
    return found


def test_allocate__nothing_held__gives_each_a_range():
    assert allocate({"a": 3000, "b": 7000, "c": 0}, {}) == {
        "a": [[0, 3000]],
        "b": [[3000, 10000]],
        "c": [],
    }


def test_allocate__from_one_variant__keeps_its_first_buckets():
    assert allocate({"b": 2500, "a": 7500}, {"a": [[0, 10000]]}) == {
        "b": [[7500, 10000]],
        "a": [[0, 7500]],
    }


@given(before=weights(), after=weights())
def test_allocate__any_change__moves_no_more_than_the_weights_differ(
    before: dict[str, int], after: dict[str, int]
):
    held = allocate(before, {})
    anew = allocate(after, held)
    assert weights_of(anew) == after
    had, has = owners(held), owners(anew)
    assert "" not in has
    moved = sum(one != other for one, other in zip(had, has, strict=True))
    assert moved == sum(max(0, after.get(key, 0) - before.get(key, 0)) for key in KEYS)


@given(before=weights(), lower=weights())
def test_allocate__a_lower_weight__loses_its_last_buckets(
    before: dict[str, int], lower: dict[str, int]
):
    had, has = owners(allocate(before, {})), owners(allocate(lower, allocate(before, {})))
    for key in KEYS:
        old = [bucket for bucket in range(BUCKETS) if had[bucket] == key]
        kept = [bucket for bucket in old if has[bucket] == key]
        assert kept == old[: len(kept)]
