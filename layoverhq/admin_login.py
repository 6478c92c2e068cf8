"""The admin's login: so many wrong passwords for an email from one address, then a pause."""

from __future__ import annotations

import hashlib
from typing import Any

import structlog
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError
from unfold.forms import AuthenticationForm

from layoverhq import context

log = structlog.get_logger(__name__)

FAILURES_ALLOWED = 10
PAUSE_SECONDS = 15 * 60


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    """Refuse for a while after too many failures; without the cache everybody may try."""

    def clean(self) -> dict[str, Any]:
        key = self._key()
        if _failures(key) >= FAILURES_ALLOWED:
            log.warning("login_throttled", ip=context.current().ip)
            raise ValidationError(
                f"Too many wrong passwords: try again in {PAUSE_SECONDS // 60} minutes.",
                code="throttled",
            )
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError:
            _note_failure(key)
            raise
        return cleaned

    def _key(self) -> str:
        email = str(self.cleaned_data.get("username", "")).strip().lower()
        digest = hashlib.sha256(f"{email} {context.current().ip}".encode()).hexdigest()
        return f"login_failures:{digest}"


def _failures(key: str) -> int:
    try:
        return int(cache.get(key, 0))
    except (RedisError, ConnectionInterrupted):
        return 0


def _note_failure(key: str) -> None:
    try:
        cache.add(key, 0, PAUSE_SECONDS)
        cache.incr(key)
    except (RedisError, ConnectionInterrupted, ValueError) as error:
        # ValueError: the key expired between the two.
        log.warning("login_failure_not_counted", error=str(error))
