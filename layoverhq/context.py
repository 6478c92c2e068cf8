"""Who is acting, for whom and why: the facts that logs, tasks and the audit trail carry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The circumstances of the work in hand; empty where nothing is known.

    `ip` is a literal address or empty, `reason` the operator's own words.
    """

    request_id: str = ""
    actor_id: UUID | None = None
    enterprise_id: UUID | None = None
    schema: str = ""
    ip: str = ""
    user_agent: str = ""
    reason: str = ""


NOTHING_KNOWN = RequestContext()

_current: ContextVar[RequestContext] = ContextVar("request_context", default=NOTHING_KNOWN)


def current() -> RequestContext:
    """Return the context of the running request, task or command."""
    return _current.get()


@contextmanager
def bind(**changes: Any) -> Iterator[RequestContext]:
    """Change the named facts for the duration of the block."""
    bound = replace(_current.get(), **changes)
    token = _current.set(bound)
    try:
        yield bound
    finally:
        _current.reset(token)
