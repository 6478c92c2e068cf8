"""Which units a rollout reaches: the same answer as SQL's rollout_bucket()."""

from __future__ import annotations

import hashlib

BUCKETS = 10_000


def rollout_bucket(salt: str, unit: str) -> int:
    """Return 0 to 9,999: the first 8 hex digits of `md5(salt:unit)` modulo 10,000."""
    # Half a surrogate pair is no text to PostgreSQL, and no reason to fail here.
    written = f"{salt}:{unit}".encode(errors="surrogatepass")
    digest = hashlib.md5(written, usedforsecurity=False)
    return int.from_bytes(digest.digest()[:4]) % BUCKETS


def in_rollout(salt: str, unit: str, percentage: int) -> bool:
    """Return whether a rollout to `percentage` (0 to 100) of the units reaches this one.

    Raising the percentage never takes a unit off.
    """
    return rollout_bucket(salt, unit) < percentage * (BUCKETS // 100)
