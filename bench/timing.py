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
