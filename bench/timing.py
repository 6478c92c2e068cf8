"""Timing: rounds in turn, medians, ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Asked = TypeVar("Asked")


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the sample below which this share of them lies."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def in_turn(
    contenders: dict[str, Callable[[Asked], object]], asked: Sequence[Asked], *, rounds: int
) -> dict[str, list[float]]:
    """Time each contender on every question, the contenders in turn, one round of warm-up.

    A drift of the machine's speed meets all of them alike. Returns seconds.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            for question in asked:
                began = time.perf_counter()
                run(question)
                if number:
                    samples[name].append(time.perf_counter() - began)
    return samples


def milliseconds(samples: Sequence[float]) -> str:
    """Return p50 and p99 for a table."""
    return f"{statistics.median(samples) * 1000:.2f} / {percentile(samples, 0.99) * 1000:.2f}"


def rates_in_turn(
    contenders: dict[str, tuple[Callable[[], object], int]], *, rounds: int, seconds: float = 0.3
) -> dict[str, list[float]]:
    """Return how much each contender does a second of this process's own CPU time, in turn.

    A contender is what to call and how much of it one call does. The round of warm-up finds how
    many calls take `seconds`.
    """
    calls = dict.fromkeys(contenders, 1)
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, (run, amount) in contenders.items():
            spent = _cpu_seconds(run, calls[name])
            if number:
                samples[name].append(calls[name] * amount / spent)
            while not number and spent < seconds:
                calls[name] *= 2
                spent = _cpu_seconds(run, calls[name])
    return samples


def _cpu_seconds(run: Callable[[], object], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        run()
    return time.process_time() - began
