"""Deployment checks of the secrets that no default may stand in for."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

TAG = "layoverhq"
KEY_BYTES = 32


@register(TAG, deploy=True)
def check_secret_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """SECRET_KEY signs sessions: long, varied, and set."""
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:
        key = ""
    if not key:
        return [Error("SECRET_KEY is not set", id="layoverhq.E001")]
    if len(key) < 50 or len(set(key)) < 5 or key.startswith("django-insecure-"):
        return [
            Error(
                "SECRET_KEY is weak: use 50 or more random characters",
                id="layoverhq.E002",
            )
        ]
    return []


def key_problem(entry: str) -> str:
    """Return what is wrong with one `name:base64` key of the ring; empty if nothing is."""
    name, separator, encoded = entry.partition(":")
    if not separator or not name:
        return "is not of the form name:base64"
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return f"({name}) is not base64"
    if len(key) != KEY_BYTES:
        return f"({name}) has {len(key)} bytes instead of {KEY_BYTES}"
    if len(set(key)) < KEY_BYTES // 4:
        return f"({name}) is weak: use random bytes"
    return ""


@register(TAG, deploy=True)
def check_encryption_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """ENCRYPTION_KEYS seals secrets: at least one key, each of 32 random bytes, named once."""
    if not settings.ENCRYPTION_KEYS:
        return [Error("ENCRYPTION_KEYS is not set", id="layoverhq.E003")]
    errors: list[CheckMessage] = []
    names: set[str] = set()
    for position, entry in enumerate(settings.ENCRYPTION_KEYS, start=1):
        name = entry.partition(":")[0]
        if fault := key_problem(entry):
            errors.append(Error(f"ENCRYPTION_KEYS key {position} {fault}", id="layoverhq.E004"))
        elif name in names:
            fault = f"({name}) has the name of an earlier one"
            errors.append(Error(f"ENCRYPTION_KEYS key {position} {fault}", id="layoverhq.E005"))
        names.add(name)
    return errors
