"""Schedules of django-celery-beat, in Unfold's dress."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django_celery_beat import admin as beat
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)
from kombu.utils.json import loads
from unfold.admin import TabularInline
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from layoverhq.admin_site import go_to
from layoverhq.keyset import WindowFilter
from layoverhq.model_admin import OperationAdmin, enqueue, listed, pill

# Beat wakes every few seconds, and a worker may be busy.
GRACE = timedelta(minutes=5)

for model in (PeriodicTask, ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule):
    admin.site.unregister(model)


def is_overdue(task: PeriodicTask) -> bool:
    """Should the task have run, with a grace of minutes, and has not?"""
    if not task.enabled:
        return False
    since = task.last_run_at or task.date_changed
    return bool(task.schedule.remaining_estimate(since) < -GRACE)


def overdue_tasks() -> list[PeriodicTask]:
    """Return the enabled schedules that have missed their time."""
    tasks = PeriodicTask.objects.filter(enabled=True).select_related(
        "interval", "crontab", "solar", "clocked"
    )
    return [task for task in tasks if is_overdue(task)]


class StandingFilter(WindowFilter):
    title = "standing"
    parameter_name = "standing"
    windows = (
        ("all", "All"),
        ("overdue", "Overdue"),
        ("enabled", "Enabled"),
        ("disabled", "Disabled"),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.chosen():
            case "overdue":
                return queryset.filter(pk__in=[task.pk for task in overdue_tasks()])
            case "enabled":
                return queryset.filter(enabled=True)
            case "disabled":
                return queryset.filter(enabled=False)
        return queryset


class TaskSelectWidget(UnfoldAdminSelectWidget, beat.TaskSelectWidget):
    """Unfold's look with the choices of django-celery-beat."""


class PeriodicTaskForm(beat.PeriodicTaskForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "task" in self.fields:
            self.fields["task"].widget = UnfoldAdminTextInputWidget()
            self.fields["regtask"].widget = TaskSelectWidget()
            self.fields["regtask"].initial = self.instance.task


class RunNow(BaseDialogForm):
    """Nothing to fill in: the dialog is there so that the change is a POST."""


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(OperationAdmin, beat.PeriodicTaskAdmin):
    form = PeriodicTaskForm
    date_hierarchy = None
    list_display = ("name", "standing", "when", "last_run_at", "total_run_count", "description")
    list_filter = (StandingFilter,)
    search_fields = ("name", "task")
    ordering = ("name",)
    actions = ("run_selected", "enable_selected", "disable_selected")
    actions_detail = ("run_now",)
    warn_unsaved_form = False

    def crontab_translation(self, task: PeriodicTask) -> str:
        return task.crontab.human_readable if task.crontab else "—"

    @display(description="Standing")
    def standing(self, task: PeriodicTask) -> SafeString:
        if not task.enabled:
            return pill("disabled")
        return pill("overdue", "danger") if is_overdue(task) else pill("enabled", "success")

    @display(description="When (UTC)")
    def when(self, task: PeriodicTask) -> str:
        return task.crontab.human_readable if task.crontab else str(task.scheduler)

    @action(description="Run now", permissions=["change"])
    def run_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        tasks = list(queryset)
        for task in tasks:
            run(task)
        messages.success(request, f"Queued {listed(tasks)}.")

    @action(description="Enable", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, enabled=True)

    @action(description="Disable", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._switch(request, queryset, enabled=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Any], *, enabled: bool) -> None:
        word = "Enabled" if enabled else "Disabled"
        tasks = list(queryset.filter(enabled=not enabled))
        # What was due while it stood still is not made up for.
        PeriodicTask.objects.filter(pk__in=[task.pk for task in tasks]).update(
            enabled=enabled, last_run_at=timezone.now() if enabled else None
        )
        PeriodicTasks.update_changed()
        if tasks:
            messages.success(request, f"{word} {listed(tasks)}.")
        else:
            messages.warning(request, f"All of these were {word.lower()} already.")

    @action(
        description="Run now",
        url_path="run",
        permissions=["change"],
        icon="play_arrow",
        dialog=ActionDialog(
            title="Run now",
            description="Queues the task once, with its arguments; its schedule stays as it is.",
            form_class=RunNow,
            form_submit_text="Queue it",
        ),
    )
    def run_now(self, request: HttpRequest, form: RunNow, object_id: str) -> HttpResponse:
        task = self.get_object(request, object_id)
        run(task)
        messages.success(request, f"Queued “{task.name}”.")
        return go_to(request, self.change_url(object_id))


def run(task: PeriodicTask) -> None:
    """Queue the schedule's task once."""
    options = {"queue": task.queue} if task.queue else {}
    enqueue(task.task, args=loads(task.args), kwargs=loads(task.kwargs), **options)


class UsersInline(TabularInline):
    """The tasks that follow this schedule."""

    model = PeriodicTask
    fields = readonly_fields = ("name", "task", "enabled")
    verbose_name_plural = "tasks that use it"
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class WhenAdmin(OperationAdmin):
    inlines = (UsersInline,)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(WhenAdmin, beat.CrontabScheduleAdmin):
    list_display = ("__str__", "human_readable")
    inlines = (UsersInline,)


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(WhenAdmin, beat.IntervalScheduleAdmin):
    inlines = (UsersInline,)


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(WhenAdmin, beat.ClockedScheduleAdmin):
    inlines = (UsersInline,)
