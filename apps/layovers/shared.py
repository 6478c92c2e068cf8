"""What processes share through Valkey: kept texts and turns. Without it they go on, only slower."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from django.core.cache import cache
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import LockError, RedisError

log = structlog.get_logger(__name__)

T = TypeVar("T")

PREFIX: Final = "layovers:"
POLL_SECONDS: Final = 0.02
# A cache that hangs costs its timeout once, and not in each request.
AWAY_SECONDS: Final = 5.0

_away_until = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is to do something that is worth doing once."""

    is_mine: bool
    _lock: Any

    def give_back(self) -> None:
        """Let the next one have it."""
        if self.is_mine:
            _tried(self._release, None)

    def _release(self) -> None:
        try:
            self._lock.release()
        except LockError:
            # It took longer than the turn lasts: somebody else has it by now.
            log.warning("layover_turn_outlived")


def kept_text(name: str) -> str | None:
    """Return a text, None where there is none or the cache cannot be reached."""
    text: str | None = _tried(lambda: cache.get(PREFIX + name), None)
    return text


def keep_text(name: str, text: str, *, seconds: int) -> None:
    """Keep a text for so long, if the cache can be reached."""
    _tried(lambda: cache.set(PREFIX + name, text, timeout=seconds), None)


def take_turn(name: str, *, seconds: int) -> Turn | None:
    """Return whether it is our turn, for so long; None where the cache cannot tell."""

    def take() -> Turn:
        lock = cache.lock(f"{PREFIX}turn:{name}", timeout=seconds)  # type: ignore[attr-defined]
        return Turn(bool(lock.acquire(blocking=False)), lock)

    return _tried(take, None)


def await_turn(name: str, *, seconds: float) -> None:
    """Wait until nobody has the turn, at most so long."""
    awaited(
        lambda: not _tried(lambda: cache.has_key(f"{PREFIX}turn:{name}"), False) or None,
        seconds=seconds,
    )


def awaited(look: Callable[[], T | None], *, seconds: float) -> T | None:
    """Look again and again until there is something, at most so long."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < deadline:
        pause.wait(POLL_SECONDS)
    return found


def _tried(ask: Callable[[], T], otherwise: T) -> T:
    global _away_until
    if time.monotonic() < _away_until:
        return otherwise
    try:
        return ask()
    except (RedisError, ConnectionInterrupted) as error:
        _away_until = time.monotonic() + AWAY_SECONDS
        log.warning("layover_cache_away", error=str(error)[:200])
        return otherwise


def forget_absence() -> None:
    """Ask the cache again at once."""
    global _away_until
    _away_until = 0.0
