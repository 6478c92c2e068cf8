"""Rows that callers change by the version that they read: `version` and `updated_at` of a model."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from django.db.models import Model
from django.db.models.functions import Now

from layoverhq.errors import FieldError, StaleVersion

M = TypeVar("M", bound=Model)


def locked(thing: M, version: int) -> M:
    """Return the row as it is now, locked. Raises StaleVersion unless it is at `version`."""
    rows = type(thing)._default_manager.select_for_update(of=("self",))
    found: Any = rows.filter(pk=thing.pk).first()
    if found is None or found.version != version:
        detail = f"It is version {found.version} by now." if found else "It is gone by now."
        raise StaleVersion(errors=[FieldError("version", "stale", detail)])
    return cast(M, found)


def saved(thing: M) -> M:
    """Save a locked row as its next version, and return it as it now stands."""
    row: Any = thing
    row.version += 1
    row.updated_at = Now()
    row.save(force_update=True)
    row.refresh_from_db()
    return thing


def added(thing: M) -> M:
    """Add a row, and return it as it now stands."""
    thing.save(force_insert=True)
    thing.refresh_from_db()
    return thing
