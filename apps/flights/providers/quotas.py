"""How often a provider may be asked: a bucket of tokens for the minute, the log for the day.

The bucket is in Valkey, or in this process while that is away. A day's requests are counted from
provider_fetches, which survives both.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from layoverhq.shared_state import Document, SharedState, shared_state

MINUTE_SECONDS: Final = 60.0


def filled(document: Document, quota: int, now: datetime) -> float:
    """Return the tokens in a bucket: `quota` when full, which it is a minute after it was empty."""
    if "at" not in document:
        return float(quota)
    # The clocks of two hosts differ: time does not run backwards here.
    passed = max(0.0, (now - datetime.fromisoformat(document["at"])).total_seconds())
    tokens: float = document["tokens"]
    return min(float(quota), tokens + passed * quota / MINUTE_SECONDS)


class MinuteQuota:
    """The requests that a provider may get in a minute; `quota` None bounds nothing."""

    def __init__(self, name: str, quota: int | None, shared: SharedState = shared_state) -> None:
        self._document = f"quota:{name}"
        self._quota = quota
        self._shared = shared

    def take(self, now: datetime) -> bool:
        """Take a token if there is one."""
        quota = self._quota
        if quota is None:
            return True

        def change(document: Document) -> tuple[Document, bool]:
            tokens = filled(document, quota, now)
            taken = tokens >= 1
            return {"tokens": tokens - taken, "at": now.isoformat()}, taken

        return self._shared.change(self._document, change)

    def left(self, now: datetime) -> int | None:
        """Return how many whole tokens there are."""
        if self._quota is None:
            return None
        document, _ = self._shared.read(self._document)
        return int(filled(document, self._quota, now))
