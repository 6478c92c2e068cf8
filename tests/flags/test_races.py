"""Several people, and workers, at flags at the same time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flags import operations
from apps.flags.exchange import import_document, plan_import, read_document
from apps.flags.models import FeatureFlag
from apps.flags.operations import Interrupted
from layoverhq.errors import DomainError, StaleVersion
from layoverhq.tenancy import OPERATOR, atomic, operator_scope
from tests.flags.factories import REASON, draft, edited, fresh, make_flag
from tests.flags.test_admin import url
from tests.kernel.test_snapshot import until
from tests.tenants.factories import make_operator

pytestmark = pytest.mark.usefixtures("operator")

WAITING = "select count(distinct pid) from pg_locks where not granted"


class Task(threading.Thread):
    """An operation with a connection of its own; `result` is what came of it, or the refusal."""

    def __init__(self, operation: Callable[[], Any]) -> None:
        super().__init__()
        self.operation, self.result = operation, None
        self.start()

    def run(self) -> None:
        try:
            with operator_scope():
                self.result = self.operation()
        except DomainError as error:
            self.result = error
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            self.result = error
        finally:
            connections[OPERATOR].close()

    def done(self) -> Any:
        self.join(timeout=30)
        assert not self.is_alive()
        return self.result


def waiting(number: int) -> None:
    """Wait until so many connections wait for a lock."""

    def are() -> bool:
        with connections["owner"].cursor() as cursor:
            cursor.execute(WAITING)
            return bool(cursor.fetchone()[0] >= number)

    until(are)


def test_kill__while_an_import_is_at_it__comes_first():
    flags = sorted((make_flag(), make_flag(), make_flag()), key=lambda flag: flag.name)
    lines = "".join(f"  {flag.name}: {{value_type: boolean, description: new}}\n" for flag in flags)
    document = read_document(f"format: layoverhq-flags\nversion: 1\nflags:\n{lines}")
    digest = plan_import(document, actor=None).digest
    with atomic():
        # The import has changed the first and waits for the second when the first is killed.
        FeatureFlag.objects.select_for_update().get(pk=flags[1].pk)
        importing = Task(
            lambda: import_document(document=document, digest=digest, reason=REASON, actor=None)
        )
        waiting(1)
        killing = Task(lambda: operations.kill_flag(flag=flags[0], reason=REASON))
        waiting(2)

    assert killing.done().is_killed
    assert isinstance(importing.done(), Interrupted)
    assert [fresh(flag).is_killed for flag in flags] == [True, False, False]
    assert [fresh(flag).description for flag in flags] == ["", "", ""]


def test_kill__while_it_is_published__stays_killed():
    flag = make_flag()
    version = draft(flag, description="new")
    with atomic():
        operations.kill_flag(flag=flag, reason=REASON)
        publishing = Task(lambda: operations.publish_change(version=version))
        waiting(1)

    assert publishing.done().status == "active"
    assert (fresh(flag).is_killed, fresh(flag).description) == (True, "new")


def test_change__by_two_at_once__is_stale_for_the_second():
    flag = make_flag()
    definition = edited(flag, description="second")
    with atomic():
        operations.change_flag(
            flag=flag,
            definition=edited(flag, description="first"),
            base_version=flag.version,
            reason=REASON,
            actor=None,
        )
        second = Task(
            lambda: operations.change_flag(
                flag=flag, definition=definition, base_version=flag.version, reason=REASON,
                actor=None,
            )
        )  # fmt: skip
        waiting(1)

    assert isinstance(second.done(), StaleVersion)
    assert fresh(flag).description == "first"


def test_overrides__by_two_at_once__are_both_kept():
    flag = make_flag()
    one, other = make_operator(), make_operator()
    given = {"flag": flag, "kind": "user", "to": False, "reason": REASON, "actor": None}
    with atomic():
        operations.set_override(of=one.pk, **given)
        second = Task(lambda: operations.set_override(of=other.pk, **given))
        waiting(1)

    assert second.done().status == "active"
    assert fresh(flag).user_overrides == {str(one.pk): False, str(other.pk): False}


def test_steps__by_two_workers__are_taken_once():
    at = timezone.now() + timedelta(hours=1)
    flag = make_flag(rollout_percentage=5, steps=[{"at": at.isoformat(), "percentage": 25}])
    later = at + timedelta(minutes=1)
    with atomic():
        operations.take_turns()
        workers = [Task(lambda: operations.apply_due_steps(now=later)) for _ in range(2)]
        waiting(2)

    # Others' steps may have come due as well: what counts is that this flag made one.
    for worker in workers:
        worker.done()
    assert (fresh(flag).rollout_percentage, fresh(flag).version) == (25, 2)


def test_schedules__by_two_workers__are_published_once():
    version = draft(make_flag(), description="later")
    at = timezone.now() + timedelta(hours=1)
    operations.schedule_change(version=version, activate_at=at)
    with atomic():
        operations.take_turns()
        workers = [Task(lambda: operations.apply_due_versions(now=at)) for _ in range(2)]
        waiting(2)

    for worker in workers:
        worker.done()
    version.refresh_from_db()
    assert (version.status, version.problem) == ("active", "")
    # Other tests' schedules may have come due as well: what counts is this one's history.
    events = AuditEvent.objects.filter(table_name="flag_versions", row_id=str(version.pk))
    updates = events.filter(operation="UPDATE", changed_columns__contains=["status"])
    assert [event.new_values["status"] for event in updates].count("active") == 1


def test_draft__sent_while_it_is_published__waits_for_no_circle(admin_client: Client):
    version = draft(make_flag(), description="later")
    typed = json.dumps({**version.definition, "description": "typed"})
    with atomic():
        operations.take_turns()
        sending = Task(
            lambda: admin_client.post(
                url(version, "edit"), {"definition": typed, "reason": REASON, "seen": ""}
            )
        )
        waiting(1)
        operations.publish_change(version=version)

    assert "it cannot be edited" in sending.done().content.decode()
    assert fresh(version.flag).description == "later"
