"""Work that one process at a time does, whoever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from apps.tenants.offboarding import transaction_on
from layoverhq.tenancy import OPERATOR


@contextmanager
def sole(work: str) -> Iterator[bool]:
    """Hold the advisory lock of a piece of work; yields whether it is ours.

    It is held on a connection of its own, by a transaction, and so goes with its holder.
    """
    holder = connections[OPERATOR].copy(OPERATOR)
    try:
        with transaction_on(holder) as cursor:
            cursor.execute("select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [work])
            yield cursor.fetchone()[0]
    finally:
        holder.close()
