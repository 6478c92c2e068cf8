"""What the trail tells of one row, for the page of the object that the row is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.urls import NoReverseMatch, reverse

from apps.audit.models import AuditEvent
from layoverhq.model_admin import PageTab

EVENTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Difference:
    """One column of a row, before and after; None where there is no such version."""

    column: str
    old: str | None
    new: str | None

    @property
    def changed(self) -> bool:
        return self.old != self.new


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if value is None:
        return "—"
    if isinstance(value, str):
        return value or "(empty)"
    return json.dumps(value, ensure_ascii=False, indent=None)


def differences(event: AuditEvent) -> list[Difference]:
    """Return the columns of both versions side by side."""
    old, new = event.old_values, event.new_values
    columns = sorted({*(old or {}), *(new or {})})
    # A redacted column reads alike in both versions; the trigger knows that it changed.
    changed = set(event.changed_columns)
    return [
        Difference(
            column,
            None if old is None else shown(old.get(column)),
            None
            if new is None
            else _marked(shown(new.get(column)), column in changed, old, column),
        )
        for column in columns
    ]


def _marked(text: str, changed: bool, old: dict[str, Any] | None, column: str) -> str:
    same = old is not None and changed and shown(old.get(column)) == text
    return f"{text} (another)" if same else text


def actors(events: Iterable[AuditEvent]) -> dict[Any, Any]:
    """Return the users who did these things, by id."""
    ids = {event.user_id for event in events if event.user_id}
    return dict(get_user_model()._default_manager.in_bulk(ids))


def object_url(event: AuditEvent, models: Iterable[type[Model]]) -> str:
    """Return the admin's page of the row; empty where there is none."""
    for model in models:
        if model._meta.db_table == event.table_name and event.row_id:
            options = model._meta
            try:
                return reverse(
                    f"admin:{options.app_label}_{options.model_name}_change",
                    args=[quote(event.row_id)],
                )
            except NoReverseMatch:
                return ""
    return ""


class HistoryTab(PageTab):
    """The History tab of an object's page: each change with who, when and why."""

    model = AuditEvent
    model_name = "history"
    title = "History"
    template_name = "admin/history_tab.html"
    table_name: str

    @classmethod
    def of(cls, model: type[Model]) -> type[HistoryTab]:
        """Return the tab for a model's pages."""
        return type("History", (cls,), {"table_name": model._meta.db_table})

    def context(self) -> dict[str, Any]:
        found = AuditEvent.objects.about(self.table_name, self.object_id).order_by("-at", "-id")
        events = list(found[: EVENTS_SHOWN + 1])
        users = actors(events)
        return {
            "more": len(events) > EVENTS_SHOWN,
            "events": [
                {
                    "event": event,
                    "actor": users.get(event.user_id),
                    "differences": [
                        item
                        for item in differences(event)
                        if event.operation != AuditEvent.Operation.UPDATE
                        or item.column in event.changed_columns
                    ],
                }
                for event in events[:EVENTS_SHOWN]
            ],
        }
