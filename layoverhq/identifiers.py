"""Identifiers: UUID version 7, time-ordered, so that new rows go to the end of an index."""

from __future__ import annotations

import os
import time
import uuid

from django.db import models


def uuid7() -> uuid.UUID:
    """Return a version 7 UUID of the current millisecond (RFC 9562, section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


class UUID7(models.Func):
    """PostgreSQL's own, for rows that SQL inserts."""

    function = "uuidv7"
    template = "%(function)s()"
    output_field = models.UUIDField()
