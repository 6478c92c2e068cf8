"""Health: is the process there, and can it serve?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import structlog
from django.core.cache import cache
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from layoverhq.snapshot import listener
from layoverhq.startup import SERVING

log = structlog.get_logger(__name__)


class NotReady(Exception):
    """A dependency cannot be used."""


def check_database() -> None:
    """Ask each serving role for a row."""
    for alias in SERVING:
        with connections[alias].cursor() as cursor:
            cursor.execute("select 1")


def check_cache() -> None:
    """Write and read a value."""
    cache.set("readyz", "ok", 10)
    if cache.get("readyz") != "ok":
        raise NotReady("what was written was not read back")


def check_migrations() -> None:
    """Find migrations that this code has and the database has not."""
    executor = MigrationExecutor(connections["operator"])
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise NotReady(f"{len(missing)} not applied, the first is {missing[0][0]}")


def check_listener() -> None:
    """Is the snapshot listener connected? A process that has read none yet starts it here."""
    listener.start()
    if not listener.connected.wait(timeout=2):
        raise NotReady("not connected")


CHECKS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "cache": check_cache,
    "migrations": check_migrations,
    "listener": check_listener,
}


def run_checks(
    guard: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Exception | None]:
    """Return each dependency with what is wrong with it; `guard` is entered around each check."""
    faults: dict[str, Exception | None] = {}
    for name, check in CHECKS.items():
        try:
            with guard():
                check()
            faults[name] = None
        except Exception as error:  # noqa: BLE001 - a probe reports any fault and goes on
            log.warning("not_ready", check=name, error=str(error))
            faults[name] = error
    return faults


@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that the process serves requests; asks nothing of anybody."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if every dependency can be used, else 503 and which cannot."""
    faults = run_checks()
    ready = not any(faults.values())
    return JsonResponse(
        {
            "status": "ok" if ready else "unavailable",
            "checks": {name: _told(fault) for name, fault in faults.items()},
        },
        status=200 if ready else 503,
    )


def _told(fault: Exception | None) -> str:
    """Return what anybody may know; details go to the log."""
    if fault is None:
        return "ok"
    return str(fault) if isinstance(fault, NotReady) else "unavailable"
