"""The life of flags: who may do what, when, and what holds afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from apps.audit.models import AuditEvent
from apps.flags import operations, segment_operations, tasks
from apps.flags.admin.telling import next_step
from apps.flags.definitions import document_of
from apps.flags.models import FeatureFlag, FlagNamespace, FlagSegment, FlagVersion
from apps.flags.operations import WrongStatus
from apps.flags.runtime import flags
from apps.tenants.models import Enterprise, User
from layoverhq.errors import Conflict, InvalidInput, NeedsApproval, NotYours, StaleVersion
from layoverhq.tenancy import OPERATOR
from tests.flags.factories import (
    REASON,
    approved,
    await_version,
    change,
    definition,
    draft,
    edited,
    flag_name,
    fresh,
    make_flag,
    make_namespace,
    make_segment,
)
from tests.kernel.test_snapshot import until
from tests.tenants.factories import make_enterprise, make_operator

pytestmark = pytest.mark.usefixtures("operator")

Status = FlagVersion.Status


@pytest.fixture
def author() -> User:
    return make_operator()


def statuses(flag: FeatureFlag) -> list[tuple[int, str]]:
    versions = flag.versions.order_by("number")
    return list(versions.values_list("number", "status"))


def in_the_past(version: FlagVersion) -> None:
    FlagVersion.objects.filter(pk=version.pk).update(activate_at=timezone.now())


def steps_come_due(flag: FeatureFlag, number: int = 1) -> None:
    """Let the first steps have come due."""
    steps = fresh(flag).steps
    for step in steps[:number]:
        step["at"] = (timezone.now() - timedelta(minutes=1)).isoformat()
    FeatureFlag.objects.filter(pk=flag.pk).update(
        steps=steps, next_step_at=timezone.now() - timedelta(minutes=1)
    )


def in_hours(hours: float, **step: Any) -> dict[str, Any]:
    return {"at": (timezone.now() + timedelta(hours=hours)).isoformat(), **step}


# --- changes


def test_create_flag__new__holds_with_its_first_version(author: User):
    flag = operations.create_flag(
        name=flag_name(),
        value_type="boolean",
        definition=definition(enabled=True, rollout_percentage=100, tags=["search"]),
        reason=REASON,
        actor=author,
    )
    version = flag.versions.get()
    assert (version.number, version.status, version.author) == (1, "active", author)
    assert version.definition == document_of(fresh(flag))
    await_version(flag)
    assert flags.enabled(flag.name, {})


def test_create_flag__name_taken_or_odd__is_refused_at_the_name():
    flag = make_flag()
    for name, wanted in ((flag.name, "conflict"), ("Capital", "invalid"), ("x" * 101, "invalid")):
        with pytest.raises((Conflict, InvalidInput)) as refusal:
            operations.create_flag(
                name=name, value_type="boolean", definition=definition(), reason=REASON, actor=None
            )
        assert [(each.field, each.code) for each in refusal.value.errors] == [("name", wanted)]


def test_create_flag__protected_and_on__is_refused():
    with pytest.raises(InvalidInput, match="begins off"):
        make_flag(is_protected=True, enabled=True)


def test_change_flag__unprotected__holds_at_once_and_keeps_history(author: User):
    flag = make_flag(rollout_percentage=10)
    version = operations.change_flag(
        flag=flag,
        definition=edited(flag, rollout_percentage=100),
        base_version=1,
        reason=REASON,
        actor=author,
    )
    assert (version.number, version.status) == (2, "active")
    assert statuses(flag) == [(1, "superseded"), (2, "active")]
    assert fresh(flag).rollout_percentage == 100
    assert flag.versions.get(number=1).definition["rollout_percentage"] == 10


def test_change_flag__stale_base__says_who_changed_it_and_changes_nothing(author: User):
    flag = make_flag()
    change(flag, description="Another one was first.")
    with pytest.raises(StaleVersion, match="to version 2") as refusal:
        operations.change_flag(
            flag=flag, definition=edited(flag), base_version=1, reason=REASON, actor=author
        )
    assert refusal.value.errors[0].field == "base_version"
    assert statuses(flag) == [(1, "superseded"), (2, "active")]


def test_draft_change__the_same__is_refused():
    flag = make_flag(tags=["a"])
    with pytest.raises(InvalidInput, match="Nothing in it differs"):
        draft(flag, tags=["a"])


def test_draft_change__no_reason__is_refused_at_the_reason():
    flag = make_flag()
    with pytest.raises(InvalidInput) as refusal:
        operations.draft_change(
            flag=flag, definition=edited(flag, tags=["x"]), base_version=1, reason=" ", actor=None
        )
    assert refusal.value.errors[0].field == "reason"


def test_publish_change__after_another__is_stale_and_stays_a_draft():
    flag = make_flag()
    late = draft(flag, tags=["late"])
    change(flag, tags=["first"])
    with pytest.raises(StaleVersion):
        operations.publish_change(version=late)
    late.refresh_from_db()
    assert late.status == Status.DRAFT
    assert fresh(flag).tags == ["first"]


def test_publish_change__what_it_names_is_gone__is_refused():
    segment = make_segment(members=["u1"])
    flag = make_flag()
    version = draft(flag, conditions={"user": {"$inGroup": segment.name}})
    segment_operations.delete_segment(segment=segment)
    with pytest.raises(InvalidInput, match="There is no segment"):
        operations.publish_change(version=version)


def test_weights__changed__move_only_what_they_must():
    flag = make_flag("string", weights={"a": 5000, "b": 5000})
    assert fresh(flag).allocations == {"a": [[0, 5000]], "b": [[5000, 10000]]}
    flag = change(flag, weights={"a": 4000, "b": 5000, "c": 1000})
    assert flag.allocations == {"a": [[0, 4000]], "b": [[5000, 10000]], "c": [[4000, 5000]]}
    assert document_of(flag)["weights"] == {"a": 4000, "b": 5000, "c": 1000}


def test_weights__given_to_what_had_one_variant__take_from_its_end():
    flag = make_flag("string")
    assert change(flag, weights={"b": 1000, "a": 9000}).allocations == {
        "a": [[0, 9000]],
        "b": [[9000, 10000]],
    }
    rule = {"id": "r", "description": "", "conditions": {}, "rollout": 10000}
    flag = change(flag, rules=[{**rule, "variant": "c"}])
    flag = change(flag, rules=[{**rule, "weights": {"b": 2000, "c": 8000}}])
    assert flag.rules[0]["allocations"] == {"c": [[0, 8000]], "b": [[8000, 10000]]}
    assert document_of(flag)["rules"][0]["weights"] == {"b": 2000, "c": 8000}


# --- four eyes


def test_protected__change_flag__needs_an_approval():
    flag = make_flag(is_protected=True)
    with pytest.raises(NeedsApproval):
        operations.change_flag(
            flag=flag,
            definition=edited(flag, enabled=True),
            base_version=1,
            reason=REASON,
            actor=make_operator(),
        )
    assert statuses(flag) == [(1, "active")]


def test_protected__taking_the_protection_off__needs_an_approval_too():
    flag = make_flag(is_protected=True)
    version = draft(flag, is_protected=False)
    with pytest.raises(NeedsApproval):
        operations.publish_change(version=version)
    operations.publish_change(version=approved(version))
    assert not fresh(flag).is_protected


def test_approve_change__by_whoever_took_part__is_refused(author: User):
    flag = make_flag(is_protected=True)
    version = draft(flag, actor=author, enabled=True)
    editor = make_operator()
    operations.revise_change(
        version=version,
        definition=edited(flag, enabled=True, tags=["x"]),
        reason=REASON,
        actor=editor,
    )
    operations.submit_change(version=version)
    for person in (author, editor):
        with pytest.raises(NotYours):
            operations.approve_change(version=version, actor=person)
    operations.approve_change(version=version, actor=make_operator())
    operations.publish_change(version=version)
    assert fresh(flag).enabled


def test_revise_change__after_an_approval__asks_again(author: User):
    flag = make_flag(is_protected=True)
    version = approved(draft(flag, actor=author, enabled=True))
    revised = operations.revise_change(
        version=version,
        definition=edited(flag, enabled=True, tags=["y"]),
        reason=REASON,
        actor=author,
    )
    assert (revised.status, revised.approved_by, revised.approved_at) == ("draft", None, None)
    with pytest.raises(NeedsApproval):
        operations.publish_change(version=version)


@pytest.mark.parametrize(
    ("operation", "needed"),
    [
        (lambda version: operations.submit_change(version=version), "submitted"),
        (lambda version: operations.publish_change(version=version), "published"),
        (lambda version: operations.reject_change(version=version), "rejected"),
        (lambda version: operations.unschedule_change(version=version), "taken back"),
    ],
)
def test_version__that_is_history__takes_nothing(operation: Any, needed: str):
    flag = make_flag()
    version = draft(flag, tags=["x"])
    operations.reject_change(version=version)
    with pytest.raises(WrongStatus, match=needed):
        operation(version)


def test_version__rewritten_in_sql__is_refused_by_the_database():
    flag = make_flag()
    with pytest.raises(IntegrityError, match="is history"), transaction.atomic(using=OPERATOR):
        FlagVersion.objects.filter(flag=flag).update(definition={})
    version = draft(flag, tags=["x"])
    operations.submit_change(version=version)
    with pytest.raises(IntegrityError, match="is history"), transaction.atomic(using=OPERATOR):
        FlagVersion.objects.filter(pk=version.pk).update(definition={})


# --- the kill switch


def test_kill_flag__protected_with_overrides__is_off_for_all_and_comes_back():
    tenant = make_enterprise()
    flag = make_flag(tenant_overrides={str(tenant.pk): True})
    operations.publish_change(version=draft(flag, is_protected=True))
    context = {"enterprise": str(tenant.pk), "user": str(uuid4())}
    await_version(flag)
    assert flags.evaluate(flag.name, context).rule == "tenant_overrides"
    operations.kill_flag(flag=flag, reason="It burns.")
    until(lambda: not flags.enabled(flag.name, context))
    assert flags.evaluate(flag.name, context).reason == "DISABLED"
    assert fresh(flag).kill_reason == "It burns."
    with pytest.raises(WrongStatus, match="killed already"):
        operations.kill_flag(flag=flag, reason="Again.")
    operations.revive_flag(flag=flag)
    until(lambda: flags.enabled(flag.name, context))
    assert fresh(flag).kill_reason == ""
    events = AuditEvent.objects.filter(table_name="feature_flags", row_id=str(flag.pk))
    assert [sorted(event.changed_columns) for event in events.order_by("-id")[:2]] == [
        ["is_killed", "kill_reason"],
        ["is_killed", "kill_reason"],
    ]


# --- schedules


def test_apply_due_versions__due__publishes_once():
    flag = make_flag()
    version = draft(flag, tags=["later"])
    operations.schedule_change(version=version, activate_at=timezone.now() + timedelta(hours=1))
    assert operations.apply_due_versions() == 0
    in_the_past(version)
    assert operations.apply_due_versions() == 1
    assert operations.apply_due_versions() == 0
    assert fresh(flag).tags == ["later"]


def test_schedule_change__in_the_past__is_refused_at_the_time():
    version = draft(make_flag(), tags=["x"])
    with pytest.raises(InvalidInput) as refusal:
        operations.schedule_change(version=version, activate_at=timezone.now())
    assert refusal.value.errors[0].field == "activate_at"


def test_schedule_change__protected_without_approval__is_refused():
    version = draft(make_flag(is_protected=True), enabled=True)
    with pytest.raises(NeedsApproval):
        operations.schedule_change(version=version, activate_at=timezone.now() + timedelta(hours=1))


def test_apply_due_versions__stale__says_so_and_does_not_try_again():
    flag = make_flag()
    version = draft(flag, tags=["later"])
    operations.schedule_change(version=version, activate_at=timezone.now() + timedelta(hours=1))
    change(flag, tags=["meanwhile"])
    in_the_past(version)
    with structlog.testing.capture_logs() as logs:
        assert operations.apply_due_versions() == 0
        assert operations.apply_due_versions() == 0
    assert [entry["event"] for entry in logs] == ["flag_schedule_stuck"]
    version.refresh_from_db()
    assert "to version 3" in version.problem
    drafted = operations.unschedule_change(version=version)
    assert (drafted.status, drafted.problem) == ("draft", "")


def test_apply_due_steps__each_in_its_time__raises_the_rollout(author: User):
    steps = [in_hours(1, percentage=25), in_hours(2, percentage=100), in_hours(3, enabled=False)]
    flag = make_flag(rollout_percentage=5, steps=steps)
    assert operations.apply_due_steps() == 0
    steps_come_due(flag)
    assert operations.apply_due_steps() == 1
    flag = fresh(flag)
    assert (flag.rollout_percentage, len(flag.steps), flag.version) == (25, 2, 2)
    assert "planned with version 1" in flag.versions.get(number=2).reason
    assert operations.apply_due_steps() == 0
    steps_come_due(flag, 2)
    operations.apply_due_steps()
    flag = fresh(flag)
    assert (flag.rollout_percentage, flag.enabled, flag.steps) == (100, False, [])
    assert flag.next_step_at is None


def test_apply_due_steps__protected__were_approved_with_their_version(author: User):
    flag = make_flag(is_protected=True)
    version = draft(flag, enabled=True, rollout_percentage=5, steps=[in_hours(1, percentage=50)])
    operations.publish_change(version=approved(version))
    steps_come_due(flag)
    assert operations.apply_due_steps() == 1
    assert fresh(flag).rollout_percentage == 50


def test_apply_due_steps__killed__wait_until_somebody_looks():
    flag = make_flag(rollout_percentage=5, steps=[in_hours(1, percentage=100)])
    operations.kill_flag(flag=flag, reason="It burns.")
    steps_come_due(flag)
    assert operations.apply_due_steps() == 0
    operations.revive_flag(flag=flag)
    assert operations.apply_due_steps() == 0
    held = fresh(flag)
    assert (held.rollout_percentage, held.step_problem != "") == (5, True)
    # An edit of something else does not set it off either.
    held = change(flag, tags=["x"])
    assert held.step_problem != ""
    assert operations.apply_due_steps() == 0
    held = change(flag, steps=[in_hours(1, percentage=50)])
    assert held.step_problem == ""


def test_schedules__of_flags__run_every_minute():
    row = PeriodicTask.objects.get(task="apps.flags.tasks.apply_schedules")
    assert row.task == tasks.apply_schedules.name
    flag = make_flag(rollout_percentage=5, steps=[in_hours(1, percentage=30)])
    steps_come_due(flag)
    tasks.apply_schedules()
    assert fresh(flag).rollout_percentage == 30


# --- the rest of a flag's life


def test_roll_back__to_the_first__is_a_new_version_with_its_definition():
    flag = make_flag(rollout_percentage=10, steps=[in_hours(1, percentage=20)])
    first = flag.versions.get(number=1)
    change(flag, rollout_percentage=90, tags=["x"], steps=[])
    version = operations.roll_back(flag=flag, version=first, reason=REASON, actor=None)
    assert (version.number, version.status) == (3, "active")
    flag = fresh(flag)
    assert (flag.rollout_percentage, flag.tags, len(flag.steps)) == (10, [], 1)


def test_roll_back__protected__leaves_a_draft():
    flag = make_flag(is_protected=True)
    operations.publish_change(version=approved(draft(flag, enabled=True)))
    first = flag.versions.get(number=1)
    version = operations.roll_back(flag=flag, version=first, reason=REASON, actor=None)
    assert version.status == Status.DRAFT
    assert fresh(flag).enabled


def test_archive_flag__in_use_as_a_prerequisite__is_refused():
    below = make_flag()
    make_flag(prerequisites=[{"flag": below.name, "variants": ["on"]}])
    with pytest.raises(InvalidInput) as refusal:
        operations.archive_flag(flag=below, reason=REASON, actor=None)
    assert refusal.value.errors[0].field == "is_archived"


def test_archive_flag__and_restore__serves_off_meanwhile():
    flag = make_flag()
    operations.archive_flag(flag=flag, reason=REASON, actor=None)
    await_version(flag)
    assert flags.evaluate(flag.name, {}).reason == "DISABLED"
    operations.restore_flag(flag=flag, reason=REASON, actor=None)
    await_version(flag)
    assert flags.enabled(flag.name, {})


def test_set_override__tenant_and_user__holds_and_is_taken_away(enterprise: Enterprise):
    flag = make_flag(rollout_percentage=0)
    person = make_operator()
    operations.set_override(
        flag=flag, kind="tenant", of=enterprise.pk, to=True, reason=REASON, actor=None
    )
    operations.set_override(
        flag=flag, kind="user", of=person.pk, to="off", reason=REASON, actor=None
    )
    flag = fresh(flag)
    assert flag.tenant_overrides == {str(enterprise.pk): True}
    assert flag.user_overrides == {str(person.pk): "off"}
    operations.set_override(
        flag=flag, kind="tenant", of=enterprise.pk, to=None, reason=REASON, actor=None
    )
    assert fresh(flag).tenant_overrides == {}


def test_set_override__of_nobody__is_refused_by_its_id():
    flag, nobody = make_flag(), uuid4()
    with pytest.raises(InvalidInput) as refusal:
        operations.set_override(
            flag=flag, kind="tenant", of=nobody, to=True, reason=REASON, actor=None
        )
    assert refusal.value.errors[0].field == f"tenant_overrides.{nobody}"
    assert fresh(flag).tenant_overrides == {}


# --- segments and namespaces


def test_save_segment__edited__counts_versions_and_refuses_stale_ones():
    segment = make_segment(members=["u1", 7])
    segment.members = ["u2"]
    segment = segment_operations.save_segment(segment=segment, base_version=1)
    assert segment.version == 2
    with pytest.raises(StaleVersion):
        segment_operations.save_segment(segment=segment, base_version=1)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": "Odd"}, "name"),
        ({"members": "u1"}, "members"),
        ({"members": ["u1", True]}, "members[1]"),
        ({"members": [""]}, "members[0]"),
        ({"members": ["a\x00"]}, "members[0]"),
        ({"members": ["u1", " u2"]}, "members[1]"),
        ({"members": ["u1\u2028u2"]}, "members[0]"),
        ({"conditions": {}}, "conditions"),
        ({"members": [2**53 + 1]}, "members[0]"),
        ({"conditions": {"a": {}}}, "conditions.a"),
        ({"conditions": {"a": {"$inGroup": "nobody_knows"}}}, "conditions"),
    ],
)
def test_save_segment__bad__names_the_place(fields: dict[str, Any], place: str):
    with pytest.raises(InvalidInput) as refusal:
        make_segment(**fields)
    assert refusal.value.errors[0].field == place


def test_save_segment__circle_or_sixth_in_a_row__is_refused():
    row = [make_segment(members=["u"])]
    for _ in range(4):
        row.append(make_segment(conditions={"user": {"$inGroup": row[-1].name}}))
    with pytest.raises(InvalidInput, match="At most 5"):
        make_segment(conditions={"user": {"$inGroup": row[-1].name}})
    below = make_segment(members=["u"])
    row[0].conditions = {"user": {"$inGroup": below.name}}
    with pytest.raises(InvalidInput, match="At most 5"):
        segment_operations.save_segment(segment=row[0], base_version=1)
    row[0].conditions = {"user": {"$inGroup": row[-1].name}}
    with pytest.raises(InvalidInput, match="lead back"):
        segment_operations.save_segment(segment=row[0], base_version=1)


def test_save_segment__rows_that_fan_out__are_refused_before_an_evaluation_has_to_walk_them():
    asked = make_segment(members=["u"])
    for _ in range(2):
        again = {"$or": [{"user": {"$inGroup": asked.name}}] * 12}
        asked = make_segment(conditions=again)
    with pytest.raises(InvalidInput) as refusal:
        make_segment(conditions={"$and": [{"a": {"$notInGroup": asked.name}}] * 2})
    assert [(e.field, e.code) for e in refusal.value.errors] == [("conditions", "too_many")]


def test_prerequisites__rows_that_fan_out__are_refused_for_whoever_stands_on_them():
    def asking(flags: list[FeatureFlag]) -> list[dict[str, Any]]:
        return [{"flag": flag.name, "variants": ["on"]} for flag in flags]

    row = [make_flag(), make_flag()]
    bottom = row[0]
    for _ in range(6):
        row = [make_flag(prerequisites=asking(row)) for _ in range(2)]

    with pytest.raises(InvalidInput) as refusal:
        make_flag(prerequisites=asking(row))
    assert [(e.field, e.code) for e in refusal.value.errors] == [("prerequisites", "too_many")]
    below = asking([make_flag() for _ in range(3)])
    with pytest.raises(InvalidInput) as refusal:
        change(bottom, prerequisites=below)
    assert [(e.field, e.code) for e in refusal.value.errors] == [("prerequisites", "too_many")]
    change(bottom, prerequisites=below[:1])


def test_segment__of_a_protected_flag__is_a_superusers_and_not_deleted():
    inner = make_segment(members=["u1"])
    outer = make_segment(conditions={"user": {"$inGroup": inner.name}})
    make_flag(is_protected=True, conditions={"user": {"$inGroup": outer.name}})
    inner.members = ["u1", "u2"]
    with pytest.raises(NeedsApproval):
        segment_operations.save_segment(
            segment=inner, base_version=1, actor=make_operator(superuser=False)
        )
    segment_operations.save_segment(
        segment=FlagSegment.objects.get(pk=inner.pk), base_version=1, actor=make_operator()
    )
    with pytest.raises(Conflict, match="is used by"):
        segment_operations.delete_segment(segment=inner)


def test_namespace__ranges__do_not_overlap_and_stay_out_of_the_holdout():
    namespace = make_namespace(holdout=1000)
    first = make_flag(namespace=namespace.name, namespace_range=[0, 5000])
    for ends, code in (([4999, 6000], "overlap"), ([5000, 9001], "holdout"), ([7, 7], "range")):
        with pytest.raises(InvalidInput) as refusal:
            make_flag(namespace=namespace.name, namespace_range=ends)
        assert [(e.field, e.code) for e in refusal.value.errors] == [("namespace_range", code)]
    make_flag(namespace=namespace.name, namespace_range=[5000, 9000])
    namespace.holdout = 1001
    with pytest.raises(InvalidInput, match=r"reach beyond 89\.99 %") as over:
        segment_operations.save_namespace(namespace=namespace)
    assert over.value.errors[0].field == "holdout"
    with pytest.raises(Conflict, match=first.name):
        segment_operations.delete_namespace(namespace=namespace)
    operations.archive_flag(flag=first, reason=REASON, actor=None)
    make_flag(namespace=namespace.name, namespace_range=[0, 5000])
    with pytest.raises(InvalidInput, match="has 0 to 50"):
        operations.restore_flag(flag=first, reason=REASON, actor=None)


def test_delete__segment_and_namespace_that_nothing_names__are_gone():
    segment, namespace = make_segment(members=["u1"]), make_namespace()
    segment_operations.delete_segment(segment=segment)
    segment_operations.delete_namespace(namespace=namespace)
    assert not FlagSegment.objects.filter(name=segment.name).exists()
    assert not FlagNamespace.objects.filter(name=namespace.name).exists()


# --- what a protected flag answers changes with an approval, and in no other way


def test_create_flag__protected_with_a_step_that_turns_it_on__is_refused():
    steps = [in_hours(1, percentage=5), in_hours(2, enabled=True)]
    with pytest.raises(InvalidInput) as refusal:
        make_flag(is_protected=True, steps=steps)
    assert [error.field for error in refusal.value.errors] == ["steps[1].enabled"]
    make_flag(is_protected=True, steps=steps[:1])


def test_segment__of_an_approved_change__is_a_superusers_and_not_deleted():
    segment = make_segment(members=["u1"])
    flag = make_flag(is_protected=True)
    version = draft(flag, enabled=True, conditions={"user": {"$inGroup": segment.name}})
    segment.members = ["u1", "u2"]
    editor = make_operator(superuser=False)
    segment_operations.save_segment(segment=segment, base_version=1, actor=editor)
    approved(version)
    operations.schedule_change(version=version, activate_at=timezone.now() + timedelta(hours=1))

    segment.members = ["everybody"]
    with pytest.raises(NeedsApproval, match=flag.name):
        segment_operations.save_segment(segment=segment, base_version=2, actor=editor)
    with pytest.raises(Conflict, match=flag.name):
        segment_operations.delete_segment(segment=segment)
    assert FlagSegment.objects.get(pk=segment.pk).members == ["u1", "u2"]


def test_approve_change__of_what_was_edited_since_it_was_seen__is_refused(author: User):
    flag = make_flag(is_protected=True)
    version = operations.submit_change(version=draft(flag, actor=author, rollout_percentage=1))
    seen = operations.mark_of(version)
    operations.revise_change(
        version=version, definition=edited(flag, enabled=True), reason=REASON, actor=author
    )
    operations.submit_change(version=version)

    reviewer = make_operator()
    with pytest.raises(StaleVersion):
        operations.approve_change(version=version, actor=reviewer, seen=seen)
    version.refresh_from_db()
    assert version.approved_by is None
    operations.approve_change(version=version, actor=reviewer, seen=operations.mark_of(version))


def test_draft_change__drawn_from_a_draft__is_not_approved_by_its_author(author: User):
    flag = make_flag(is_protected=True)
    source = draft(flag, actor=author, enabled=True)
    version = operations.draft_change(
        flag=flag,
        definition=source.definition,
        base_version=flag.version,
        reason=REASON,
        actor=make_operator(),
        drawn_from=[source],
    )
    operations.submit_change(version=version)
    with pytest.raises(NotYours):
        operations.approve_change(version=version, actor=author)


def test_roll_back__to_what_never_held__is_refused():
    flag = make_flag()
    version = draft(flag, description="never")
    with pytest.raises(WrongStatus, match="never held"):
        operations.roll_back(flag=flag, version=version, reason=REASON, actor=None)


# --- whoever is gone keeps nobody from working


def leave(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False, deleted_at=timezone.now())


def test_change__of_a_flag_whose_owner_is_gone__stands_and_steps(author: User):
    flag = make_flag(owner=str(author.pk), steps=[in_hours(1, percentage=50)])
    leave(author)

    operations.set_override(
        flag=flag, kind="user", of=make_operator().pk, to=True, reason=REASON, actor=None
    )
    operations.apply_due_steps(now=timezone.now() + timedelta(hours=2))
    assert (fresh(flag).rollout_percentage, fresh(flag).owner_id) == (50, author.pk)
    with pytest.raises(InvalidInput, match="no such operator"):
        change(make_flag(), owner=str(author.pk))


def test_roll_back__to_the_time_of_whoever_is_gone__leaves_them_out(author: User):
    stays, goes = make_operator(), make_operator()
    flag = make_flag(
        description="early",
        owner=str(goes.pk),
        user_overrides={str(stays.pk): True, str(goes.pk): False},
    )
    first = flag.versions.get()
    change(flag, description="late", owner=str(stays.pk), user_overrides={})
    leave(goes)

    operations.roll_back(flag=fresh(flag), version=first, reason=REASON, actor=author)

    now = fresh(flag)
    assert (now.description, now.owner_id) == ("early", stays.pk)
    assert now.user_overrides == {str(stays.pk): True}


# --- times


def test_step__written_with_an_offset__is_told_and_taken_in_utc():
    at = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    there = at.astimezone(ZoneInfo("Asia/Kolkata"))
    flag = make_flag(steps=[{"at": there.isoformat(), "percentage": 7}])
    assert next_step(flag) == f"to 7 % at {at:%Y-%m-%d %H:%M} UTC"
    for when, percentage in ((at - timedelta(seconds=1), 100), (at, 7)):
        operations.apply_due_steps(now=when)
        assert fresh(flag).rollout_percentage == percentage


def test_step__beyond_the_last_year__is_refused():
    with pytest.raises(InvalidInput) as refusal:
        make_flag(steps=[{"at": "9999-12-31T23:59:59-23:59", "percentage": 7}])
    assert [error.field for error in refusal.value.errors] == ["steps[0].at"]


def test_steps__one_after_another__each_name_the_version_that_planned_them():
    flag = make_flag(steps=[in_hours(1, percentage=5), in_hours(2, percentage=25)])
    change(flag, description="else")
    for hours in (1.5, 2.5):
        operations.apply_due_steps(now=timezone.now() + timedelta(hours=hours))
    reasons = list(flag.versions.order_by("number").values_list("reason", flat=True))[2:]
    assert [reason.partition(", ")[2] for reason in reasons] == [
        f"planned with version 1: {REASON}"
    ] * 2
