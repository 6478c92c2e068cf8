"""Small documents that all processes share: in Valkey, and in this process while that is away.

What was read or written last is remembered, so that a process goes on from there and not from
nothing when Valkey is lost.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import structlog
from django_redis import get_redis_connection
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

T = TypeVar("T")
Document = Mapping[str, Any]
# Takes the document, empty at first, and returns the one that replaces it with an answer.
Change = Callable[[Document], tuple[Document, T]]

KEPT_SECONDS: Final = 7 * 86_400
_PREFIX: Final = "layoverhq:shared:"


class SharedState:
    """Documents by name; a change is atomic among processes, or among threads without Valkey."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._remembered: dict[str, Document] = {}

    def change(self, name: str, change: Change[T]) -> T:
        """Replace a document by what `change` makes of it; it may be called more than once."""
        try:
            return self._change_shared(name, change)
        except RedisError as error:
            log.warning("shared_state_is_local", name=name, error=str(error))
        with self._lock:
            self._remembered[name], answer = change(self._remembered.get(name, {}))
        return answer

    def read(self, name: str) -> tuple[Document, bool]:
        """Return a document, and whether it is the one that all processes share."""
        try:
            text = get_redis_connection().get(_PREFIX + name)
        except RedisError:
            return self._remembered.get(name, {}), False
        return _parsed(text), True

    def forget(self, name: str) -> None:
        """Empty a document."""
        self.change(name, lambda document: ({}, None))

    def _change_shared(self, name: str, change: Change[T]) -> T:
        made: list[tuple[Document, T]] = []

        def attempt(pipe: Any) -> None:
            made[:] = [change(_parsed(pipe.get(_PREFIX + name)))]
            pipe.multi()
            pipe.set(_PREFIX + name, json.dumps(made[0][0]), ex=KEPT_SECONDS)

        # Begun again whenever another process was faster.
        get_redis_connection().transaction(attempt, _PREFIX + name)
        document, answer = made[0]
        self._remembered[name] = document
        return answer


def _parsed(text: bytes | None) -> Document:
    document: Document = json.loads(text) if text else {}
    return document


shared_state: Final = SharedState()
