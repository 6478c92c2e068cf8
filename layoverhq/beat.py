"""The scheduler: django-celery-beat's, reading its tables with the operator's role."""

from __future__ import annotations

from typing import Any

from django_celery_beat.schedulers import DatabaseScheduler

from layoverhq.tenancy import enter_operator


class OperatorScheduler(DatabaseScheduler):  # type: ignore[misc]
    """Read the schedules that operators edit in the admin."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        enter_operator()
        super().__init__(*args, **kwargs)
