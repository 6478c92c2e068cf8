"""Plans: what fits, in an order that hours and ways allow; against a search that is not clever."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.layovers.hours import parse_hours
from apps.layovers.planning import (
    MOST_STOPS,
    Plan,
    Sight,
    appeal_by_hours,
    best_plan,
    way_minutes,
)
from apps.layovers.scoring import appeal

MONDAY = datetime(2026, 11, 30)


def at(hour: float) -> datetime:
    return MONDAY + timedelta(hours=hour)


def sight(
    key: str, hours: str = "daily 09:00-18:00", *, rating: int = 45, stay: int = 60, way: int = 10,
    base: str = "centre",
) -> Sight:  # fmt: skip
    return Sight(key, key, rating, stay, base, way, parse_hours(hours))


def names(plan: Plan) -> list[str]:
    return [stop.sight.key for stop in plan.stops]


def test_plan__one_place_closes_early__is_visited_first() -> None:
    late = sight("late", "daily 09:00-20:00", rating=48)
    early = sight("early", "daily 09:00-11:00", rating=40)

    plan = best_plan([late, early], begin=at(9), end=at(14), transfer=30)

    assert names(plan) == ["early", "late"]
    first, second = plan.stops
    assert (first.begins, first.ends) == (
        at(9) + timedelta(minutes=40),
        at(10) + timedelta(minutes=40),
    )
    # back from the first and on to the second
    assert second.begins == first.ends + timedelta(minutes=20)
    assert plan.back == second.ends + timedelta(minutes=40)


def test_plan__closed_that_weekday__is_left_out() -> None:
    assert (
        names(best_plan([sight("a", "Tu-Su 09:00-18:00")], begin=at(9), end=at(18), transfer=20))
        == []
    )


def test_plan__opens_later__is_waited_for() -> None:
    plan = best_plan([sight("a", "Mo 15:00-18:00")], begin=at(9), end=at(18), transfer=20)
    assert plan.stops[0].begins == at(15)


def test_plan__way_back_does_not_fit__is_left_out() -> None:
    begin, end = at(10), at(10) + timedelta(minutes=139)
    assert names(best_plan([sight("a")], begin=begin, end=end, transfer=30)) == []
    assert names(
        best_plan([sight("a")], begin=begin, end=end + timedelta(minutes=1), transfer=30)
    ) == ["a"]


def test_plan__at_the_airport__needs_no_way_to_town() -> None:
    near = sight("near", base="airport", way=5)
    plan = best_plan([near], begin=at(10), end=at(10) + timedelta(minutes=70), transfer=60)
    assert names(plan) == ["near"]


def test_plan__overnight__goes_on_in_the_morning_and_never_at_night() -> None:
    always = [sight(f"s{number}", "24h", stay=120) for number in range(4)]
    plan = best_plan(always, begin=at(19), end=at(19 + 16), transfer=15)
    assert len(plan.stops) >= 2
    for stop in plan.stops:
        assert stop.begins.hour >= 8
        assert (stop.ends.hour, stop.ends.minute) <= (22, 0)
    assert {stop.begins.day for stop in plan.stops} == {30, 1}


def test_way__between_two_places__leads_over_the_centre() -> None:
    near, far = sight("near", base="airport", way=5), sight("far", way=20)
    assert way_minutes(None, far, 30) == 50
    assert way_minutes(far, None, 30) == 50
    assert way_minutes(near, far, 30) == 55
    assert way_minutes(far, sight("other", way=7), 30) == 27


sights = st.lists(
    st.builds(
        lambda number, hours, rating, stay, way, base: sight(
            f"s{number}", hours, rating=rating, stay=stay, way=way, base=base
        ),
        st.integers(0, 10_000),
        st.sampled_from(
            ["daily 09:00-18:00", "Mo 10:00-12:00,14:00-16:00", "24h", "Tu 09:00-10:00"]
        ),
        st.integers(31, 50),
        st.sampled_from([20, 45, 90, 180]),
        st.sampled_from([0, 5, 25]),
        st.sampled_from(["centre", "airport"]),
    ),
    max_size=4,
    unique_by=lambda each: each.key,
)


def visits(order: tuple[Sight, ...], begin: datetime, end: datetime, transfer: int) -> bool:
    """Return whether the places can be visited in this order: minute by minute."""
    moment, here = begin, None
    for place in order:
        moment += timedelta(minutes=way_minutes(here, place, transfer))
        while True:
            leave = moment + timedelta(minutes=place.duration_minutes)
            if leave > end:
                return False
            whole = [
                (a, b) for a, b in place.hours.spans(moment, leave) if (a, b) == (moment, leave)
            ]
            if whole and moment.hour >= 8 and leave <= leave.replace(hour=22, minute=0):
                break
            moment += timedelta(minutes=5)
        moment, here = leave, place
    return moment + timedelta(minutes=way_minutes(here, None, transfer)) <= end


@given(sights, st.integers(8, 15), st.integers(1, 9), st.sampled_from([0, 15, 40]))
def test_plan__against_every_order__is_worth_as_much(
    places: list[Sight], hour: int, hours: int, transfer: int
) -> None:
    begin, end = at(hour), at(hour + hours)
    plan = best_plan(places, begin=begin, end=end, transfer=transfer)
    most = max(
        appeal(place.rating_tenths for place in order)
        for length in range(len(places) + 1)
        for order in permutations(places, length)
        if visits(order, begin, end, transfer)
    )
    assert plan.appeal == pytest.approx(most)
    assert visits(tuple(stop.sight for stop in plan.stops), begin, end, transfer)
    assert len(plan.stops) <= MOST_STOPS


def test_appeal_by_hours__more_hours__are_worth_no_less() -> None:
    found = appeal_by_hours([sight(f"s{number}", rating=40 + number) for number in range(5)], 16)
    assert len(found) == 17
    assert found == sorted(found)
    assert found[0] == found[1] == 0
    # an hour there, and ten minutes each way
    assert found[2] == round(100 * appeal([44]))
