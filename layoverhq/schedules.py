"""Schedules of Celery tasks, seeded by migrations; afterwards they are the operators'."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

# The migration that a seeding migration depends on.
BEAT_MIGRATION = ("django_celery_beat", "0019_alter_periodictasks_options")


class SeedSchedule(Operation):
    """Add a periodic task, unless one of that name exists: a deploy never overwrites an edit.

    `crontab` has five fields, in UTC; `help_text` tells operators what the task is for.
    """

    reduces_to_sql = False
    reversible = True

    def __init__(self, name: str, *, task: str, crontab: str, help_text: str) -> None:
        self.name = name
        self.task = task
        self.crontab = crontab
        self.help_text = help_text

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the model state alone: this is data."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        alias = schema_editor.connection.alias
        if not router.allow_migrate(alias, app_label):
            return
        tasks = from_state.apps.get_model("django_celery_beat", "PeriodicTask").objects.using(alias)
        crontabs = from_state.apps.get_model("django_celery_beat", "CrontabSchedule")
        if tasks.filter(name=self.name).exists():
            return
        fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        crontab, _ = crontabs.objects.using(alias).get_or_create(
            **dict(zip(fields, self.crontab.split(), strict=True)), timezone="UTC"
        )
        tasks.create(name=self.name, task=self.task, crontab=crontab, description=self.help_text)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        alias = schema_editor.connection.alias
        if router.allow_migrate(alias, app_label):
            tasks = from_state.apps.get_model("django_celery_beat", "PeriodicTask")
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
