"""Which units a rollout reaches: the same answer as SQL's rollout_bucket()."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from struct import Struct

BUCKETS = 10_000
FIRST_WORD = Struct(">I12x")


def bucketing(salt: str) -> Callable[[str], int]:
    """Return what rollout_bucket() is for a salt: so that many units are asked, and it once."""
    begun = hashlib.md5(f"{salt}:".encode(), usedforsecurity=False)

    def bucket(unit: str) -> int:
        digest = begun.copy()
        # JSON may spell half a surrogate pair, which UTF-8 has no bytes for.
        digest.update(unit.encode("utf-8", "surrogatepass"))
        word: int = FIRST_WORD.unpack(digest.digest())[0]
        return word % BUCKETS

    return bucket


def rollout_bucket(salt: str, unit: str) -> int:
    """Return 0 to 9,999: the first 8 hex digits of `md5(salt:unit)` modulo 10,000."""
    return bucketing(salt)(unit)


def in_rollout(salt: str, unit: str, percentage: int) -> bool:
    """Return whether a rollout to `percentage` (0 to 100) of the units reaches this one.

    Raising the percentage never takes a unit off.
    """
    return rollout_bucket(salt, unit) < percentage * (BUCKETS // 100)
