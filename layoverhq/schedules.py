"""Schedules of Celery tasks, seeded by migrations; afterwards they are the operators'."""

from __future__ import annotations

from typing import Any

from django.db.migrations.state import ProjectState

from layoverhq.seeds import Seed

# The migration that a seeding migration depends on.
BEAT_MIGRATION = ("django_celery_beat", "0019_alter_periodictasks_options")


class SeedSchedule(Seed):
    """Add a periodic task, unless one of that name exists: a deploy never overwrites an edit.

    `crontab` has five fields, in UTC; `help_text` tells operators what the task is for.
    """

    def __init__(self, name: str, *, task: str, crontab: str, help_text: str) -> None:
        self.name = name
        self.task = task
        self.crontab = crontab
        self.help_text = help_text

    def add(self, app_label: str, state: ProjectState, alias: str) -> None:
        tasks = state.apps.get_model("django_celery_beat", "PeriodicTask").objects.using(alias)
        crontabs = state.apps.get_model("django_celery_beat", "CrontabSchedule")
        if tasks.filter(name=self.name).exists():
            return
        fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        crontab, _ = crontabs.objects.using(alias).get_or_create(
            **dict(zip(fields, self.crontab.split(), strict=True)), timezone="UTC"
        )
        tasks.create(name=self.name, task=self.task, crontab=crontab, description=self.help_text)

    def remove(self, state: ProjectState, alias: str) -> None:
        """Delete the task: it may be of a module that is no longer there."""
        tasks = state.apps.get_model("django_celery_beat", "PeriodicTask")
        tasks.objects.using(alias).filter(name=self.name).delete()

    def describe(self) -> str:
        return f"Schedule {self.name}"

    @property
    def migration_name_fragment(self) -> str:
        return "schedule"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (
            type(self).__qualname__,
            [self.name],
            {"task": self.task, "crontab": self.crontab, "help_text": self.help_text},
        )
