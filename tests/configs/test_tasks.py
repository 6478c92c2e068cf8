"""Scheduled work on configuration, as a worker runs it."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.test import override_settings
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from apps.audit.models import AuditEvent
from apps.configs import operations, tasks
from apps.configs.models import ConfigChangeSet, SystemConfig
from apps.configs.operations import Proposal
from layoverhq.celery import app
from layoverhq.sealing import sealed_by
from layoverhq.tenancy import current_alias, operator_scope
from tests.configs.factories import (
    await_value,
    declare,
    draft,
    history,
    publish,
    ring_key,
    set_value,
)


def due(change_set: ConfigChangeSet) -> None:
    """Schedule it, and let its time come."""
    with operator_scope():
        operations.schedule_change_set(
            change_set=change_set, activate_at=timezone.now() + timedelta(hours=1)
        )
        ConfigChangeSet.objects.filter(pk=change_set.pk).update(activate_at=timezone.now())


def test_schedules__of_configuration__run_every_minute_and_name_a_task():
    with operator_scope():
        row = PeriodicTask.objects.get(task="apps.configs.tasks.apply_schedules")
        fields = (row.crontab.minute, row.crontab.hour, row.crontab.day_of_month)
    assert fields == ("*", "*", "*")
    assert row.enabled
    assert row.task == tasks.apply_schedules.name
    assert row.task in app.tasks


def test_apply_schedules__what_is_due__begins_and_what_is_over_ends():
    beginning, ending = declare(default_value=0), declare(default_value=0)
    due(draft(Proposal(beginning.key, 1)))
    over = publish(Proposal(ending.key, 1), expires_at=timezone.now() + timedelta(hours=1))
    with operator_scope():
        SystemConfig.objects.filter(change_set=over).update(expires_at=timezone.now())
    await_value(ending, 1)
    with structlog.testing.capture_logs() as logs:
        tasks.apply_schedules(sent_by="a later release")
    assert current_alias() == "default"
    assert history(beginning) == [(1, "active", 1)]
    assert [status for _, status, _ in history(ending)] == ["superseded", "active"]
    await_value(beginning, 1)
    await_value(ending, 0)
    (line,) = [line for line in logs if line["event"] == "config_schedules_applied"]
    assert line["published"] >= 1
    assert line["expired"] >= 1


def test_apply_schedules__nothing_due__says_nothing():
    tasks.apply_schedules()
    with structlog.testing.capture_logs() as logs:
        tasks.apply_schedules()
    assert logs == []


def test_apply_schedules__published_by_a_worker__is_in_the_trail_without_a_person():
    key = declare()
    made = draft(Proposal(key.key, 1))
    due(made)
    tasks.apply_schedules()
    with operator_scope():
        event = AuditEvent.objects.filter(
            table_name="system_configs", row_id=str(made.items.get().pk)
        ).latest("at")
    assert (event.new_values["status"], event.user_id) == ("active", None)
    assert event.database_role == "layoverhq_operator"


def test_rotate_secrets__whole_table__is_sealed_by_the_first_key(settings, monkeypatch):
    usual, new = settings.ENCRYPTION_KEYS[0], ring_key("rotated")
    keys = [declare("string", is_secret=True) for _ in range(5)]
    lost = declare("string", is_secret=True)
    for key in keys:
        set_value(key, "rotation hush")
    with override_settings(ENCRYPTION_KEYS=[ring_key("lost"), usual]):
        set_value(lost, "lost hush")
    monkeypatch.setattr(operations, "RESEAL_BATCH", 2)
    with override_settings(ENCRYPTION_KEYS=[new, usual]):
        with structlog.testing.capture_logs() as logs:
            tasks.rotate_secrets()
        assert {sealed_by(history(key)[0][2]) for key in keys} == {"rotated"}
        for key in keys:
            await_value(key, "rotation hush")
    assert sealed_by(history(lost)[0][2]) == "lost"
    (failure,) = [
        line for line in logs if line["event"] == "secret_not_resealed" and lost.key in line["why"]
    ]
    assert failure["log_level"] == "error"
    (end,) = [line for line in logs if line["event"] == "secrets_resealed"]
    assert end["count"] >= 5
    assert "hush" not in str(logs)
    with override_settings(ENCRYPTION_KEYS=[usual, new]), structlog.testing.capture_logs():
        tasks.rotate_secrets()
    assert {sealed_by(history(key)[0][2]) for key in keys} == {"test"}


def test_rotate_secrets__run_again__reseals_nothing():
    set_value(declare("string", is_secret=True), "hush")
    with structlog.testing.capture_logs() as logs:
        tasks.rotate_secrets()
        tasks.rotate_secrets()
    counts = [line["count"] for line in logs if line["event"] == "secrets_resealed"]
    assert counts == [0, 0]
