"""The circuit breaker and the quotas: one state for all processes, and one's own without Valkey."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as Unreachable

from apps.flights.providers.quotas import MinuteQuota
from layoverhq import shared_state as state_module
from layoverhq.circuits import (
    LONGEST_COOL_DOWN,
    PROBE_LEASE,
    Circuit,
    CircuitBreaker,
    CircuitOpen,
    State,
)
from layoverhq.shared_state import SharedState

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
COOL_DOWN = timedelta(seconds=60)

_numbers = itertools.count(1)


def seconds(number: float) -> datetime:
    return NOW + timedelta(seconds=number)


@pytest.fixture
def name() -> str:
    return f"breaker-{next(_numbers)}"


@pytest.fixture
def valkey_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    def unreachable(*_: Any) -> Any:
        raise Unreachable("nobody there")

    with monkeypatch.context() as patch:
        patch.setattr(state_module, "get_redis_connection", unreachable)
        yield patch


def breaker(name: str, shared: SharedState | None = None, failures: int = 3) -> CircuitBreaker:
    return CircuitBreaker(
        name, failures=failures, cool_down=COOL_DOWN, shared=shared or SharedState()
    )


def refused_until(one: CircuitBreaker, now: datetime) -> datetime | None:
    try:
        one.admit(now)
    except CircuitOpen as error:
        return error.retry_at
    return None


def test_breaker__failures_in_one_process__open_it_in_another(name: str) -> None:
    one, other = breaker(name), breaker(name)
    one.failed(NOW)
    other.failed(NOW)
    assert refused_until(one, NOW) is None
    one.failed(NOW)
    assert refused_until(other, NOW) == seconds(60)
    assert other.look()[0].state(NOW) is State.OPEN
    assert other.look()[1] is True


def test_breaker__half_open__lets_one_process_try(name: str) -> None:
    one, other = breaker(name, failures=1), breaker(name, failures=1)
    one.failed(NOW)
    assert other.look()[0].state(seconds(60)) is State.HALF_OPEN
    assert refused_until(other, seconds(60)) is None
    assert refused_until(one, seconds(61)) == seconds(60) + PROBE_LEASE
    other.succeeded(seconds(62))
    assert refused_until(one, seconds(62)) is None
    assert one.look()[0] == Circuit()


def test_breaker__whoever_tries_is_killed__another_tries_later(name: str) -> None:
    one, other = breaker(name, failures=1), breaker(name, failures=1)
    one.failed(NOW)
    one.admit(seconds(60))
    assert refused_until(other, seconds(61)) is not None
    assert refused_until(other, seconds(60) + PROBE_LEASE) is None


def test_breaker__trial_that_says_nothing__lets_another_try(name: str) -> None:
    one = breaker(name, failures=1)
    one.failed(NOW)
    one.admit(seconds(60))
    one.release()
    assert refused_until(one, seconds(61)) is None


def test_breaker__failing_trials__double_the_rest_up_to_its_longest(name: str) -> None:
    one = breaker(name, failures=1)
    now, rests = NOW, []
    for _ in range(8):
        one.admit(now)
        one.failed(now)
        until = one.look()[0].retry_at
        assert until is not None
        rests.append((until - now).total_seconds())
        now = until
    assert rests == [60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_breaker__late_failures_of_those_who_began_before__move_nothing(name: str) -> None:
    one = breaker(name, failures=2)
    one.failed(NOW)
    one.failed(NOW)
    one.failed(seconds(30))
    assert refused_until(one, seconds(30)) == seconds(60)


def test_breaker__valkey_away__counts_by_itself_from_what_it_knew(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    shared = SharedState()
    one = breaker(name, shared)
    one.failed(NOW)
    one.failed(NOW)
    request.getfixturevalue("valkey_away")
    one.failed(NOW)
    assert refused_until(one, NOW) == seconds(60)
    circuit, is_shared = one.look()
    assert (circuit.failures, is_shared) == (3, False)
    # A process that never reached it begins with nothing, and still stops in the end.
    fresh = breaker(name)
    for _ in range(3):
        assert refused_until(fresh, NOW) is None
        fresh.failed(NOW)
    assert refused_until(fresh, NOW) == seconds(60)


@given(st.lists(st.tuples(st.sampled_from(["fail", "succeed", "ask"]), st.integers(0, 4_000))))
def test_circuit__whatever_happens__rests_bounded_and_survives_its_document(
    events: list[tuple[str, int]],
) -> None:
    circuit, now = Circuit(), NOW
    for event, passed in events:
        now += timedelta(seconds=passed)
        if event == "fail":
            circuit = circuit.after_failure(now, failures=3, cool_down=COOL_DOWN)
        elif event == "succeed":
            circuit = Circuit()
        else:
            circuit, until = circuit.admitting(now)
            assert (until is None) or until > now
        assert Circuit.of(circuit.document()) == circuit
        assert (circuit.retry_at is None) == (circuit.openings == 0)
        if circuit.retry_at is not None:
            assert circuit.retry_at <= now + LONGEST_COOL_DOWN


def test_quota__of_two_processes__is_one_bucket(name: str) -> None:
    one, other = (MinuteQuota(name, 3, SharedState()) for _ in range(2))
    assert [one.take(NOW), other.take(NOW), one.take(NOW), other.take(NOW)] == [True] * 3 + [False]
    assert other.left(NOW) == 0
    assert other.take(seconds(20))
    assert not one.take(seconds(20))
    assert one.left(seconds(600)) == 3


def test_quota__clock_that_goes_back__gives_nothing(name: str) -> None:
    quota = MinuteQuota(name, 1, SharedState())
    assert quota.take(NOW)
    assert not quota.take(seconds(-3600))
    assert not quota.take(seconds(-3599))


@pytest.mark.usefixtures("valkey_away")
def test_quota__valkey_away__is_the_processs_own(name: str) -> None:
    quota = MinuteQuota(name, 2, SharedState())
    assert [quota.take(NOW) for _ in range(3)] == [True, True, False]


def test_quota__none__bounds_nothing(name: str) -> None:
    quota = MinuteQuota(name, None, SharedState())
    assert all(quota.take(NOW) for _ in range(1_000))
    assert quota.left(NOW) is None
