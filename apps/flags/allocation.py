"""Which buckets a variant holds, so that a change of weights moves as few units as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from layoverhq.bucketing import BUCKETS

Ranges = list[list[int]]


def allocate(weights: Mapping[str, int], held: Mapping[str, Ranges]) -> dict[str, Ranges]:
    """Return the ranges [low, high) of buckets of each variant.

    `weights` add up to 10,000. A variant keeps what it holds as far as its weight goes, its first
    buckets first; what that frees goes to those that grow, in their order.
    """
    owners: list[str | None] = [None] * BUCKETS
    missing = dict(weights)
    for variant, ranges in held.items():
        for low, high in ranges:
            for bucket in range(low, high):
                if missing.get(variant, 0):
                    owners[bucket] = variant
                    missing[variant] -= 1
    growing = (variant for variant, number in missing.items() for _ in range(number))
    return {variant: [] for variant in weights} | _ranges(
        [owner or next(growing) for owner in owners]
    )


def weights_of(allocations: Mapping[str, Ranges]) -> dict[str, int]:
    """Return how many buckets each variant holds."""
    return {
        variant: sum(high - low for low, high in ranges) for variant, ranges in allocations.items()
    }


def _ranges(owners: Sequence[str]) -> dict[str, Ranges]:
    held: dict[str, Ranges] = {}
    low = 0
    for variant, run in groupby(owners):
        high = low + sum(1 for _ in run)
        held.setdefault(variant, []).append([low, high])
        low = high
    return held
