"""Combinations of sorted lists: against all of them, sorted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.flights import combining
from apps.flights.combining import Choice, Combination, Combined, Slice, best_combinations

WAIT = 60


class Shelf:
    """A list that is read page by page, and remembers how far."""

    def __init__(self, choices: list[Choice]) -> None:
        self.choices = sorted(choices)
        self.read_to = 0

    def read(self, after: Choice | None, count: int) -> list[Choice]:
        beyond = [each for each in self.choices if after is None or each > after]
        self.read_to += len(beyond[:count])
        return beyond[:count]


def choice(number: int, key: int, departs: int = 0, minutes: int = 0) -> Choice:
    return Choice(key, UUID(int=number), departs, departs + minutes)


def every(shelves: list[Shelf]) -> list[Combination]:
    """Return all combinations, in order: what the search must find, found by brute force."""
    return sorted(
        Combination(sum(each.key for each in chosen), tuple(each.id for each in chosen))
        for chosen in product(*(shelf.choices for shelf in shelves))
        if all(later.departs >= before.arrives + WAIT for before, later in pairwise(chosen))
    )


def found(shelves: list[Shelf], limit: int = 1_000, **asked: Any) -> Combined:
    return best_combinations([Slice(shelf.read, limit) for shelf in shelves], wait=WAIT, **asked)


def shelves_of(draw: Any, most: int, slices: int) -> list[Shelf]:
    shelves = []
    for place in range(slices):
        offers = draw(
            st.lists(
                # Few keys, for ties; times that let about half of the pairs connect.
                st.tuples(st.integers(0, 5), st.integers(0, 500), st.integers(1, 200)),
                min_size=0 if place else 1,
                max_size=most,
            )
        )
        identifiers = draw(st.permutations(range(len(offers))))
        shelves.append(
            Shelf(
                [
                    choice(identifier, key, departs + 150 * place, minutes)
                    for identifier, (key, departs, minutes) in zip(identifiers, offers, strict=True)
                ]
            )
        )
    return shelves


@st.composite
def stocks(draw: Any) -> list[Shelf]:
    return shelves_of(draw, 9, draw(st.integers(2, 4)))


@pytest.fixture(scope="module", autouse=True)
def _pages() -> Iterator[None]:
    """Read two at first, so that small lists are read in several steps."""
    before, combining.FIRST_READ = combining.FIRST_READ, 2
    yield
    combining.FIRST_READ = before


@given(shelves=stocks(), count=st.integers(1, 6))
def test_best__any_lists__are_the_first_of_all(shelves: list[Shelf], count: int) -> None:
    expected = every(shelves)
    answer = found(shelves, count=count)
    assert answer.combinations == expected[:count]
    assert answer.is_whole == (len(expected) < count)


@given(shelves=stocks(), size=st.integers(1, 4))
def test_best__page_after_page__repeats_and_skips_nothing(shelves: list[Shelf], size: int) -> None:
    expected, walked = every(shelves)[:200], []
    while len(walked) < len(expected):
        after = walked[-1] if walked else None
        page = found(shelves, count=size, after=after).combinations
        assert page
        walked += page
    assert walked[: len(expected)] == expected


@given(shelves=stocks(), count=st.integers(1, 6), limit=st.integers(1, 4))
def test_best__lists_cut_off__answer_only_what_is_certain(
    shelves: list[Shelf], count: int, limit: int
) -> None:
    expected = every(shelves)
    answer = found(shelves, count=count, limit=limit)
    assert answer.combinations == expected[: len(answer.combinations)]
    assert len(answer.combinations) == min(count, len(expected)) or not answer.is_whole
    assert all(shelf.read_to <= limit for shelf in shelves)


def test_best__cheap_ones_far_apart__reads_no_further_than_needed() -> None:
    shelves = [
        Shelf([choice(number, 100 + number, 1_000 * place) for number in range(500)])
        for place in range(3)
    ]
    answer = found(shelves, count=1)
    assert answer.combinations == [Combination(300, (UUID(int=0),) * 3)]
    assert [shelf.read_to for shelf in shelves] == [2, 2, 2]


def test_best__nothing_connects_until_late__is_found_all_the_same() -> None:
    # The cheapest hundred of the way back leave too early.
    there = Shelf([choice(number, number, 0, 600) for number in range(100)])
    back = Shelf(
        [choice(number, number, 300) for number in range(100)]
        + [choice(100, 5_000, 660), choice(101, 5_001, 659)]
    )
    answer = found([there, back], count=2)
    assert [each.ids[1] for each in answer.combinations] == [UUID(int=100)] * 2
    assert [each.total for each in answer.combinations] == [5_000, 5_001]


def test_best__more_than_a_search_tells__says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combining, "MOST", 5)
    shelves = [
        Shelf([choice(number, number, 1_000 * place) for number in range(10)]) for place in (0, 1)
    ]
    first = found(shelves, count=4)
    assert len(first.combinations) == 4
    rest = found(shelves, count=4, after=first.combinations[-1])
    assert (len(rest.combinations), rest.is_whole) == (1, False)


def test_best__an_empty_list__is_no_combination() -> None:
    answer = found([Shelf([choice(1, 1)]), Shelf([])], count=3)
    assert (answer.combinations, answer.is_whole) == ([], True)
