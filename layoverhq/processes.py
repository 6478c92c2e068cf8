"""This process, as the admin lists it: what it is, and what it holds in memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from layoverhq.identifiers import uuid7

# Reports come every half minute, and a busy process may be late.
GONE_AFTER = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class ThisProcess:
    """Who this process is."""

    id: UUID = field(default_factory=uuid7)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


_this = ThisProcess()
_kind = "command"


def be(kind: str) -> None:
    """Say what this process is: web, stream, worker, beat."""
    global _kind
    _kind = kind


def begin_again() -> None:
    """Be another process, after a fork."""
    global _this
    _this = ThisProcess()


def report(connection: psycopg.Connection[Any], holds: Mapping[str, Any]) -> None:
    """Tell that this process lives, and what it holds by snapshot."""
    connection.execute(
        "select report_process(%s, %s, %s, %s, %s, %s)",
        [
            _this.id,
            _kind,
            socket.gethostname(),
            os.getpid(),
            _this.started_at,
            Jsonb(holds),
        ],
    )


def report_end(connection: psycopg.Connection[Any]) -> None:
    """Tell that this process follows no longer."""
    connection.execute("select report_process_end(%s)", [_this.id])
