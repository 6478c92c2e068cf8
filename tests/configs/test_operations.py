"""The life of change sets: who may do what, when, and what holds afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
from django.db import connections, transaction
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.configs import operations
from apps.configs.models import ConfigCategory, ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import (
    UNSET,
    NothingToClear,
    NotOverridable,
    Proposal,
    UnknownKey,
    WrongStage,
)
from apps.configs.runtime import configs
from apps.tenants.models import Enterprise, User
from layoverhq.errors import (
    Conflict,
    DomainError,
    InvalidInput,
    NeedsApproval,
    NotYours,
    StaleVersion,
)
from layoverhq.tenancy import atomic, current_alias, operator_scope, tenant_scope
from tests.configs import factories
from tests.configs.factories import (
    REASON,
    approved,
    await_value,
    declare,
    draft,
    history,
    key_name,
    publish,
    set_value,
    value_in_sql,
)
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants.factories import make_enterprise, make_operator, unique

pytestmark = pytest.mark.usefixtures("operator")

Stage = ConfigChangeSet.Stage


@pytest.fixture
def author() -> User:
    return make_operator()


@pytest.fixture
def reviewer() -> User:
    return make_operator()


def stored(change_set: ConfigChangeSet) -> ConfigChangeSet:
    return ConfigChangeSet.objects.get(pk=change_set.pk)


def statuses(*keys: ConfigKey) -> list[list[str]]:
    """Return the statuses of each key's platform versions, the oldest first."""
    return [[status for _, status, _ in history(key)] for key in keys]


def refused(kind: type[DomainError], attempt: Callable[[], Any]) -> DomainError:
    with pytest.raises(kind) as refusal:
        attempt()
    assert type(refusal.value) is kind
    return refusal.value


def errors_of(refusal: DomainError) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in refusal.errors]


# --- drafting


def test_draft__of_several_keys__changes_nothing_yet(enterprise, author):
    one, two = declare(default_value=1), declare("string")
    made = draft(
        Proposal(one.key, 5), Proposal(one.key, 6, enterprise), Proposal(two.key, "x"), actor=author
    )
    assert stored(made).stage == Stage.DRAFT
    assert (stored(made).author, stored(made).reason) == (author, REASON)
    assert history(one) == [(1, "draft", 5)]
    assert history(one, enterprise) == [(1, "draft", 6)]
    assert history(two) == [(1, "draft", "x")]
    assert set(made.items.values_list("created_by", "reason")) == {(author.pk, REASON)}
    assert value_in_sql(one.key) == value_in_sql(one.key, enterprise.pk) == 1


def test_draft__bad_values__names_each_key_and_writes_nothing(enterprise, author):
    number, text = declare(schema={"maximum": 10}), declare("string")
    restart = declare(requires_restart=True)
    missing = key_name()
    proposals = [
        Proposal(number.key, 11),
        Proposal(number.key, "ten", enterprise),
        Proposal(text.key, "\ud800"),
        Proposal(missing, 1),
        Proposal(text.key, "twice"),
        Proposal(restart.key, 1, enterprise),
    ]
    refusal = refused(InvalidInput, lambda: draft(*proposals, actor=author))
    assert sorted(errors_of(refusal)) == sorted(
        [
            (number.key, "schema"),
            (f"{number.key} for {enterprise}", "type"),
            (text.key, "unicode"),
            (missing, "undeclared"),
            (text.key, "repeated"),
            (f"{restart.key} for {enterprise}", "platform_only"),
        ]
    )
    assert not ConfigChangeSet.objects.filter(author=author).exists()
    assert history(number) == history(text) == history(number, enterprise) == []


@pytest.mark.parametrize(
    ("title", "reason", "field"),
    [
        ("", REASON, "title"),
        ("  ", REASON, "title"),
        ("x" * 201, REASON, "title"),
        ("t", "", "reason"),
        ("t", " x ", "reason"),
    ],
)
def test_draft__without_title_or_reason__refused(title, reason, field):
    key = declare()
    refusal = refused(
        InvalidInput,
        lambda: operations.draft_change_set(
            title=title, reason=reason, proposals=[Proposal(key.key, 1)], actor=None
        ),
    )
    assert [error.field for error in refusal.errors] == [field]
    assert history(key) == []


def test_draft__on_a_version_that_was_replaced__names_who_replaced_it(author, enterprise):
    key = declare()
    set_value(key, 1)
    publish(Proposal(key.key, 2), actor=author)
    refusal = refused(StaleVersion, lambda: draft(Proposal(key.key, 3, base_version=1)))
    assert errors_of(refusal) == [(key.key, "stale_version")]
    assert f"was changed by {author.email} meanwhile, to version 2" in refusal.detail
    # Nothing was there for the tenant, and the editor believed that there was.
    refusal = refused(StaleVersion, lambda: draft(Proposal(key.key, 3, enterprise, base_version=4)))
    assert "was cleared meanwhile" in refusal.detail
    assert history(key) == [(1, "superseded", 1), (2, "active", 2)]
    assert history(key, enterprise) == []


def test_draft__on_the_version_that_stands__is_taken():
    key = declare()
    draft(Proposal(key.key, 1, base_version=0))
    set_value(key, 2)
    made = draft(Proposal(key.key, 3, base_version=2))
    assert made.items.get().base_version == 2


def test_draft__same_keys_by_two_at_once_in_other_orders__neither_waits_for_ever():
    keys = [declare() for _ in range(6)]
    failures = at_once(
        lambda: draft(*[Proposal(key.key, 1) for key in keys]),
        lambda: draft(*[Proposal(key.key, 2) for key in reversed(keys)]),
        times=10,
    )
    assert failures == []
    assert all(len(history(key)) == 20 for key in keys)


def at_once(*actions: Callable[[], Any], times: int = 1) -> list[BaseException]:
    """Run the actions in threads of their own that start together; return what they raised."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> None:
        try:
            for _ in range(times):
                barrier.wait(timeout=30)
                with operator_scope():
                    action()
        except BaseException:
            barrier.abort()
            raise
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(actions)) as pool:
        raised = [done.exception() for done in [pool.submit(run, action) for action in actions]]
    return [
        error for error in raised if error and not isinstance(error, threading.BrokenBarrierError)
    ]


# --- publishing


def test_publish__several_keys__hold_together_and_supersede(enterprise, author):
    one, two = declare(default_value=1), declare("string")
    set_value(one, 2)
    set_value(one, 3, enterprise)
    made = publish(
        Proposal(one.key, 4), Proposal(one.key, 5, enterprise), Proposal(two.key, "x"), actor=author
    )
    assert stored(made).stage == Stage.PUBLISHED
    assert stored(made).published_at is not None
    assert history(one) == [(1, "superseded", 2), (2, "active", 4)]
    assert history(one, enterprise) == [(1, "superseded", 3), (2, "active", 5)]
    assert history(two) == [(1, "active", "x")]
    assert {item.activated_at for item in made.items.all()} == {stored(made).published_at}
    assert value_in_sql(one.key, enterprise.pk) == 5
    await_value(two, "x")
    assert configs.get(one.key) == 4
    assert configs.get(one.key, enterprise) == 5


def test_publish__one_key_changed_meanwhile__publishes_none_and_names_who(author, reviewer):
    one, two = declare(), declare()
    set_value(one, 1)
    made = draft(Proposal(one.key, 2), Proposal(two.key, 2))
    publish(Proposal(one.key, 3), actor=reviewer)
    refusal = refused(StaleVersion, lambda: operations.publish_change_set(change_set=made))
    assert errors_of(refusal) == [(one.key, "stale_version")]
    assert f"by {reviewer.email} meanwhile, to version 3" in refusal.detail
    assert stored(made).stage == Stage.DRAFT
    assert statuses(one, two) == [["superseded", "draft", "active"], ["draft"]]


def test_publish__two_at_once_on_the_same_base__one_wins_and_the_other_is_told():
    key = declare()
    sets = [draft(Proposal(key.key, number)) for number in (1, 2)]
    raised = at_once(
        *[lambda s=one: operations.publish_change_set(change_set=s) for one in sets]  # type: ignore[misc]
    )
    assert [type(error) for error in raised] == [StaleVersion]
    assert sorted(statuses(key)[0]) == ["active", "draft"]
    assert sorted(stored(one).stage for one in sets) == ["draft", "published"]


def test_publish__same_set_twice_at_once__is_published_once():
    key = declare()
    made = draft(Proposal(key.key, 1))
    raised = at_once(*[lambda: operations.publish_change_set(change_set=made)] * 2)
    assert [type(error) for error in raised] == [WrongStage]
    assert history(key) == [(1, "active", 1)]


def test_publish__many_sets_at_once_over_the_same_keys__ends_whole():
    keys = [declare() for _ in range(4)]

    def change(order: list[ConfigKey], value: int) -> None:
        try:
            publish(*[Proposal(key.key, value) for key in order])
        except StaleVersion:
            stale.append(value)

    stale: list[int] = []
    raised = at_once(
        lambda: change(keys, 1), lambda: change(keys[::-1], 2), lambda: change(keys, 3), times=5
    )
    assert raised == []
    assert len({value_in_sql(key.key) for key in keys}) == 1
    for versions in statuses(*keys):
        assert versions.count("active") == 1
        assert versions.count("draft") == len(stale)


def test_publish__empty_set__refused():
    made = draft()
    refused(WrongStage, lambda: operations.publish_change_set(change_set=made))
    assert stored(made).stage == Stage.DRAFT


def test_publish__clearing__leaves_the_level_below(enterprise):
    key = declare(default_value=1)
    set_value(key, 2)
    set_value(key, 3, enterprise)
    set_value(key, UNSET, enterprise)
    assert history(key, enterprise)[-1] == (2, "active", None)
    await_value(key, 2, enterprise)
    set_value(key, UNSET)
    await_value(key, 1, enterprise)
    assert value_in_sql(key.key, enterprise.pk) == 1


def test_publish__in_the_trail__keeps_reason_actor_and_both_values(author):
    key = declare()
    set_value(key, 1)
    made = draft(Proposal(key.key, 2), actor=author)
    with operator_scope(actor_id=author.pk, reason="the auditor asks"):
        operations.publish_change_set(change_set=made)
    trail = AuditEvent.objects.filter(table_name="system_configs", row_id=str(made.items.get().pk))
    added, changed = trail.order_by("at")
    assert (added.operation, added.new_values["value"], added.new_values["reason"]) == (
        "INSERT", 2, REASON,
    )  # fmt: skip
    assert (changed.operation, changed.user_id, changed.reason) == (
        "UPDATE", author.pk, "the auditor asks",
    )  # fmt: skip
    assert (changed.old_values["status"], changed.new_values["status"]) == ("draft", "active")
    assert AuditEvent.objects.filter(
        table_name="config_change_sets", row_id=str(made.pk), operation="UPDATE"
    ).exists()


# --- approval


def test_protected__without_approval__is_neither_published_nor_scheduled_nor_staged(enterprise):
    key, plain = declare(category_id="security"), declare()
    made = draft(Proposal(key.key, 1), Proposal(plain.key, 1))
    soon = timezone.now() + timedelta(hours=1)
    for attempt in (
        lambda: operations.publish_change_set(change_set=made),
        lambda: operations.schedule_change_set(change_set=made, activate_at=soon),
        lambda: operations.stage_release(change_set=made, percentage=50),
    ):
        refused(NeedsApproval, attempt)
    operations.submit_change_set(change_set=made)
    refused(WrongStage, lambda: operations.publish_change_set(change_set=made))
    assert statuses(key, plain) == [["draft"], ["draft"]]
    assert value_in_sql(key.key) is None


def test_protected__approved_by_a_second_person__is_published(author, reviewer):
    key = declare(category_id="security")
    made = approved(draft(Proposal(key.key, 1), actor=author), reviewer)
    assert (made.stage, made.approved_by) == (Stage.APPROVED, reviewer)
    assert made.approved_at is not None
    operations.publish_change_set(change_set=made)
    assert history(key) == [(1, "active", 1)]


@pytest.mark.parametrize("protected", [True, False])
def test_approve__by_the_author__refused(author, protected):
    key = declare(category_id="security" if protected else "business")
    made = draft(Proposal(key.key, 1), actor=author)
    operations.submit_change_set(change_set=made)
    refused(NotYours, lambda: operations.approve_change_set(change_set=made, actor=author))
    assert stored(made).stage == Stage.IN_REVIEW


def test_approve__by_an_editor__refused_even_of_what_another_edit_replaced(author, reviewer):
    key = declare(category_id="security")
    editor = make_operator()
    made = draft(Proposal(key.key, 1), actor=author)
    operations.revise_change_set(change_set=made, proposals=[Proposal(key.key, 2)], actor=editor)
    operations.revise_change_set(change_set=made, proposals=[Proposal(key.key, 3)], actor=author)
    operations.submit_change_set(change_set=made)
    for person in (author, editor):
        refused(
            NotYours,
            lambda person=person: operations.approve_change_set(change_set=made, actor=person),
        )
    operations.approve_change_set(change_set=made, actor=reviewer)
    operations.publish_change_set(change_set=made)
    assert history(key) == [(1, "rejected", 1), (2, "rejected", 2), (3, "active", 3)]


def test_approve__by_who_took_a_value_out__refused(author, reviewer):
    key, other = declare(category_id="security"), declare(category_id="security")
    made = draft(Proposal(key.key, 1), Proposal(other.key, 1), actor=author)
    operations.revise_change_set(
        change_set=made, without=[made.items.get(config_key=other)], actor=reviewer
    )
    operations.submit_change_set(change_set=made)
    refused(NotYours, lambda: operations.approve_change_set(change_set=made, actor=reviewer))
    assert statuses(key, other) == [["draft"], ["rejected"]]


def test_revise__after_approval__asks_again(author, reviewer):
    key, other = declare(category_id="security"), declare(category_id="security")
    made = approved(draft(Proposal(key.key, 1), actor=author), reviewer)
    revised = operations.revise_change_set(
        change_set=made, proposals=[Proposal(other.key, 9)], actor=author
    )
    assert (revised.stage, revised.approved_by, revised.approved_at) == (Stage.DRAFT, None, None)
    refused(NeedsApproval, lambda: operations.publish_change_set(change_set=made))
    operations.publish_change_set(change_set=approved(made, reviewer))
    assert history(key) == [(1, "active", 1)]
    assert history(other) == [(1, "active", 9)]


def test_revise__that_is_refused__leaves_the_set_and_its_approval(author, reviewer):
    key = declare(category_id="security", schema={"maximum": 5})
    made = approved(draft(Proposal(key.key, 1), actor=author), reviewer)
    refused(
        InvalidInput,
        lambda: operations.revise_change_set(
            change_set=made, proposals=[Proposal(key.key, 6)], actor=author
        ),
    )
    assert (stored(made).stage, stored(made).approved_by) == (Stage.APPROVED, reviewer)
    assert history(key) == [(1, "draft", 1)]


def test_revise__takes_the_base_that_stands_now(author):
    key = declare()
    made = draft(Proposal(key.key, 1), actor=author)
    set_value(key, 2)
    refused(StaleVersion, lambda: operations.publish_change_set(change_set=made))
    operations.revise_change_set(change_set=made, proposals=[Proposal(key.key, 3)], actor=author)
    operations.publish_change_set(change_set=made)
    assert history(key) == [
        (1, "rejected", 1), (2, "superseded", 2), (3, "active", 3),
    ]  # fmt: skip


def test_category__protected_after_drafting__needs_approval_all_the_same(author, reviewer):
    category = ConfigCategory.objects.create(name=unique("category"))
    key = declare(category_id=category.pk)
    made = draft(Proposal(key.key, 1), actor=author)
    ConfigCategory.objects.filter(pk=category.pk).update(is_protected=True)
    refused(NeedsApproval, lambda: operations.publish_change_set(change_set=made))
    operations.publish_change_set(change_set=approved(made, reviewer))
    assert history(key) == [(1, "active", 1)]


def test_submit__empty_or_twice__refused(author):
    refused(WrongStage, lambda: operations.submit_change_set(change_set=draft(actor=author)))
    made = draft(Proposal(declare().key, 1))
    operations.submit_change_set(change_set=made)
    refused(WrongStage, lambda: operations.submit_change_set(change_set=made))


def test_approve__what_nobody_submitted__refused(author, reviewer):
    made = draft(Proposal(declare().key, 1), actor=author)
    refused(WrongStage, lambda: operations.approve_change_set(change_set=made, actor=reviewer))
    assert stored(made).approved_at is None


@pytest.mark.parametrize("stage", ["draft", "in_review", "approved", "scheduled"])
def test_reject__at_any_stage_before_publishing__is_for_good(author, reviewer, stage):
    key = declare()
    made = draft(Proposal(key.key, 1), actor=author)
    if stage in ("in_review", "approved"):
        operations.submit_change_set(change_set=made)
    if stage == "approved":
        operations.approve_change_set(change_set=made, actor=reviewer)
    if stage == "scheduled":
        at = timezone.now() + timedelta(hours=1)
        operations.schedule_change_set(change_set=made, activate_at=at)
    assert stored(made).stage == stage
    operations.reject_change_set(change_set=made)
    assert stored(made).stage == Stage.REJECTED
    assert history(key) == [(1, "rejected", 1)]
    for attempt in (
        lambda: operations.publish_change_set(change_set=made),
        lambda: operations.submit_change_set(change_set=made),
        lambda: operations.reject_change_set(change_set=made),
        lambda: operations.revise_change_set(change_set=made, actor=author),
        lambda: operations.stage_release(change_set=made, percentage=1),
    ):
        refused(WrongStage, attempt)


def test_published__cannot_be_edited_rejected_or_published_again(author):
    key = declare()
    made = publish(Proposal(key.key, 1))
    for attempt in (
        lambda: operations.publish_change_set(change_set=made),
        lambda: operations.reject_change_set(change_set=made),
        lambda: operations.unschedule_change_set(change_set=made),
        lambda: operations.withdraw_release(change_set=made),
        lambda: operations.revise_change_set(
            change_set=made, proposals=[Proposal(key.key, 2)], actor=author
        ),
    ):
        refused(WrongStage, attempt)
    assert history(key) == [(1, "active", 1)]


# --- schedules


@pytest.fixture
def at() -> datetime:
    """An instant to come; nothing else begins or ends by then, of whichever test."""
    for left in ConfigChangeSet.objects.filter(stage=Stage.SCHEDULED):
        operations.reject_change_set(change_set=left)
    far = timezone.now() + timedelta(days=30)
    while operations.expire_values(now=far):
        pass
    return (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)


MINUTE = timedelta(minutes=1)


def test_schedule__at_the_minute__is_published_and_not_before(at):
    key = declare(default_value=0)
    made = draft(Proposal(key.key, 1))
    operations.schedule_change_set(change_set=made, activate_at=at)
    assert statuses(key) == [["scheduled"]]
    assert operations.apply_due_schedules(now=at - MINUTE) == 0
    assert (stored(made).stage, value_in_sql(key.key)) == (Stage.SCHEDULED, 0)
    assert operations.apply_due_schedules(now=at) == 1
    assert (stored(made).stage, stored(made).published_at) == (Stage.PUBLISHED, at)
    assert history(key) == [(1, "active", 1)]
    assert operations.apply_due_schedules(now=at + MINUTE) == 0
    await_value(key, 1)


def test_schedule__two_beats_at_once__publish_each_once(at):
    keys = [declare() for _ in range(8)]
    for key in keys:
        operations.schedule_change_set(change_set=draft(Proposal(key.key, 1)), activate_at=at)
    published: list[int] = []
    raised = at_once(*[lambda: published.append(operations.apply_due_schedules(now=at))] * 2)
    assert raised == []
    assert sum(published) == 8
    assert all(history(key) == [(1, "active", 1)] for key in keys)


def test_schedule__that_became_stale__says_why_and_holds_up_no_other(at, author):
    key, other = declare(), declare()
    stuck = draft(Proposal(key.key, 1))
    operations.schedule_change_set(change_set=stuck, activate_at=at - MINUTE)
    publish(Proposal(key.key, 2), actor=author)
    fine = draft(Proposal(other.key, 1))
    operations.schedule_change_set(change_set=fine, activate_at=at)
    with structlog.testing.capture_logs() as logs:
        assert operations.apply_due_schedules(now=at) == 1
    assert [line["change_set"] for line in logs if line["event"] == "config_schedule_stuck"] == [
        str(stuck.pk)
    ]
    assert stored(stuck).stage == Stage.SCHEDULED
    assert f"changed by {author.email}" in stored(stuck).problem
    assert (stored(fine).stage, stored(fine).problem) == (Stage.PUBLISHED, "")
    assert statuses(key) == [["scheduled", "active"]]
    # It is not tried again every minute; an operator takes it back, looks, and decides.
    with structlog.testing.capture_logs() as logs:
        assert operations.apply_due_schedules(now=at + MINUTE) == 0
    assert logs == []
    operations.unschedule_change_set(change_set=stuck)
    assert (stored(stuck).problem, stored(stuck).activate_at) == ("", None)


def test_schedule__protected_meanwhile__is_stuck(at):
    category = ConfigCategory.objects.create(name=unique("category"))
    key = declare(category_id=category.pk)
    made = draft(Proposal(key.key, 1))
    operations.schedule_change_set(change_set=made, activate_at=at)
    ConfigCategory.objects.filter(pk=category.pk).update(is_protected=True)
    with structlog.testing.capture_logs():
        assert operations.apply_due_schedules(now=at) == 0
    assert "protected" in stored(made).problem
    assert statuses(key) == [["scheduled"]]


def test_unschedule__approved_set__is_a_draft_without_approval(at, author, reviewer):
    key = declare(category_id="security")
    made = approved(draft(Proposal(key.key, 1), actor=author), reviewer)
    operations.schedule_change_set(change_set=made, activate_at=at, expires_at=at + MINUTE)
    back = operations.unschedule_change_set(change_set=made)
    assert (back.stage, back.approved_by, back.approved_at) == (Stage.DRAFT, None, None)
    assert (back.activate_at, back.expires_at) == (None, None)
    assert statuses(key) == [["draft"]]
    assert operations.apply_due_schedules(now=at) == 0


@pytest.mark.parametrize(
    ("activate", "expire", "errors"),
    [
        (-1, None, [("activate_at", "past")]),
        (0, None, [("activate_at", "past")]),
        (5, 5, [("expires_at", "order")]),
        (5, 4, [("expires_at", "order")]),
        (-1, -2, [("activate_at", "past"), ("expires_at", "order")]),
    ],
)
def test_schedule__times_that_cannot_be__refused(activate, expire, errors):
    now = timezone.now()
    key = declare()
    made = draft(Proposal(key.key, 1))
    refusal = refused(
        InvalidInput,
        lambda: operations.schedule_change_set(
            change_set=made,
            activate_at=now + activate * MINUTE,
            expires_at=None if expire is None else now + expire * MINUTE,
            now=now,
        ),
    )
    assert errors_of(refusal) == errors
    assert stored(made).stage == Stage.DRAFT


def test_publish__scheduled_for_later__goes_now_and_only_once(at):
    key = declare()
    made = draft(Proposal(key.key, 1))
    operations.schedule_change_set(change_set=made, activate_at=at)
    # Its own end may lie before the activation that does not come any more.
    operations.publish_change_set(change_set=made, expires_at=at - MINUTE)
    assert history(key) == [(1, "active", 1)]
    assert operations.apply_due_schedules(now=at) == 0


# --- expiry


def test_expiry__of_a_replacing_value__brings_back_what_it_replaced(at, enterprise):
    key = declare()
    set_value(key, 1)
    set_value(key, 10, enterprise)
    publish(Proposal(key.key, 2), Proposal(key.key, 20, enterprise), expires_at=at)
    operations.expire_values(now=at - MINUTE)
    assert [status for _, status, _ in history(key)] == ["superseded", "active"]
    assert operations.expire_values(now=at) >= 2
    assert history(key) == [(1, "superseded", 1), (2, "superseded", 2), (3, "active", 1)]
    assert history(key, enterprise)[-1] == (3, "active", 10)
    back = SystemConfig.objects.get(config_key=key, version=3, enterprise=None)
    assert (back.base_version, back.expires_at, back.activated_at) == (2, None, at)
    assert "Version 2 expired" in back.reason
    assert operations.expire_values(now=at + MINUTE) == 0
    await_value(key, 1)


def test_expiry__of_the_first_value__leaves_none(at):
    key = declare(default_value=7)
    publish(Proposal(key.key, 1), expires_at=at)
    operations.expire_values(now=at)
    assert history(key) == [(1, "superseded", 1), (2, "active", None)]
    assert SystemConfig.objects.get(config_key=key, version=2).unset
    assert value_in_sql(key.key) == 7


def test_expiry__of_a_clearing__brings_the_value_back(at):
    key = declare(default_value=7)
    set_value(key, 1)
    publish(Proposal(key.key, UNSET), expires_at=at)
    assert value_in_sql(key.key) == 7
    operations.expire_values(now=at)
    assert value_in_sql(key.key) == 1


def test_expiry__value_replaced_before_its_end__changes_nothing(at):
    key = declare()
    publish(Proposal(key.key, 1), expires_at=at)
    set_value(key, 2)
    operations.expire_values(now=at)
    assert history(key) == [(1, "superseded", 1), (2, "active", 2)]


def test_expiry__of_what_replaced_an_expired_value__goes_back_to_what_still_holds(at):
    key = declare()
    set_value(key, 1)
    publish(Proposal(key.key, 2), expires_at=at)
    publish(Proposal(key.key, 3), expires_at=at + MINUTE)
    operations.expire_values(now=at + MINUTE)
    # 2 would have been over by now.
    assert history(key)[-1] == (4, "active", 1)


def test_expiry__of_what_replaced_a_value_with_a_later_end__keeps_that_end(at):
    key = declare()
    set_value(key, 1)
    publish(Proposal(key.key, 2), expires_at=at + 2 * MINUTE)
    publish(Proposal(key.key, 3), expires_at=at)
    operations.expire_values(now=at)
    assert history(key)[-1] == (4, "active", 2)
    operations.expire_values(now=at + MINUTE)
    assert history(key)[-1] == (4, "active", 2)
    operations.expire_values(now=at + 2 * MINUTE)
    assert history(key)[-1] == (5, "active", 1)


def test_expiry__scheduled_with_an_end__begins_and_ends(at):
    key = declare(default_value=0)
    made = draft(Proposal(key.key, 1))
    operations.schedule_change_set(change_set=made, activate_at=at, expires_at=at + MINUTE)
    operations.apply_due_schedules(now=at)
    assert value_in_sql(key.key) == 1
    operations.expire_values(now=at + MINUTE)
    assert value_in_sql(key.key) == 0


def test_expiry__in_the_past__refused():
    key = declare()
    made = draft(Proposal(key.key, 1))
    now = timezone.now()
    refusal = refused(
        InvalidInput,
        lambda: operations.publish_change_set(change_set=made, expires_at=now, now=now),
    )
    assert errors_of(refusal) == [("expires_at", "past")]
    assert statuses(key) == [["draft"]]


def test_expiry__two_beats_at_once__end_each_once(at):
    keys = [declare() for _ in range(6)]
    for key in keys:
        publish(Proposal(key.key, 1), expires_at=at)
    ended: list[int] = []
    raised = at_once(*[lambda: ended.append(operations.expire_values(now=at))] * 2)
    assert raised == []
    assert sum(ended) == 6
    assert all(history(key) == [(1, "superseded", 1), (2, "active", None)] for key in keys)


def test_expiry__while_somebody_publishes_the_same_key__neither_waits_for_ever(at):
    key = declare()
    for number in range(10):
        set_value(key, number)
        publish(Proposal(key.key, -1), expires_at=at)
        made = draft(Proposal(key.key, 100 + number))

        def publish_made(made: ConfigChangeSet = made) -> None:
            try:
                operations.publish_change_set(change_set=made)
            except StaleVersion:
                operations.reject_change_set(change_set=made)

        raised = at_once(publish_made, lambda: operations.expire_values(now=at))
        assert raised == []
        assert statuses(key)[0].count("active") == 1
        # Whoever was second saw what the first had done.
        assert value_in_sql(key.key) in (number, 100 + number)


# --- staged releases


@pytest.fixture(scope="module")
def crowd() -> list[Enterprise]:
    """Tenants enough for a percentage to mean something."""
    return [make_enterprise() for _ in range(24)]


def reached(key: ConfigKey, crowd: list[Enterprise], value: Any) -> set[Any]:
    """Return the tenants for whom the key has this value, by SQL and by Python."""
    factories.catch_up()
    by_sql = {tenant.pk for tenant in crowd if value_in_sql(key.key, tenant.pk) == value}
    assert by_sql == {tenant.pk for tenant in crowd if configs.get(key.key, tenant) == value}
    return by_sql


def test_release__to_named_tenants__reaches_them_alone(crowd):
    key = declare(default_value=0)
    set_value(key, 1)
    made = draft(Proposal(key.key, 2))
    operations.stage_release(change_set=made, enterprises=crowd[:3])
    assert stored(made).stage == Stage.STAGED
    assert statuses(key) == [["active", "staged"]]
    assert reached(key, crowd, 2) == {tenant.pk for tenant in crowd[:3]}
    assert value_in_sql(key.key) == configs.get(key.key) == 1


def test_release__to_a_percentage__reaches_the_same_tenants_for_all_keys(crowd):
    one, two = declare(), declare("string")
    made = draft(Proposal(one.key, 5), Proposal(two.key, "five"))
    operations.stage_release(change_set=made, percentage=50)
    first = reached(one, crowd, 5)
    assert first == reached(two, crowd, "five")
    assert 0 < len(first) < len(crowd)


def test_release__other_sets__reach_other_tenants_first(crowd):
    groups = set()
    for _ in range(4):
        key = declare()
        operations.stage_release(change_set=draft(Proposal(key.key, 1)), percentage=40)
        groups.add(frozenset(reached(key, crowd, 1)))
    assert len(groups) > 1


def test_release__widened__takes_nobody_off(crowd):
    key = declare()
    made = draft(Proposal(key.key, 5))
    operations.stage_release(change_set=made, percentage=10, enterprises=crowd[:1])
    before: set[Any] = set()
    for percentage in (10, 30, 60, 100):
        operations.change_audience(change_set=made, percentage=percentage, enterprises=crowd[:1])
        now = reached(key, crowd, 5)
        assert before <= now
        assert crowd[0].pk in now
        before = now
    assert before == {tenant.pk for tenant in crowd}
    assert stored(made).release_percentage == 100


def test_release__narrowed__takes_them_off_again(crowd):
    key = declare()
    made = draft(Proposal(key.key, 5))
    operations.stage_release(change_set=made, enterprises=crowd[:4])
    operations.change_audience(change_set=made, percentage=0, enterprises=crowd[3:5])
    assert reached(key, crowd, 5) == {crowd[3].pk, crowd[4].pk}


def test_release__same_tenant_named_twice__is_named_once(crowd):
    key = declare()
    made = draft(Proposal(key.key, 5))
    operations.stage_release(change_set=made, enterprises=[crowd[0], crowd[0]])
    assert made.release_tenants.count() == 1


def test_release__where_a_tenant_has_its_own_value__comes_after_it(crowd):
    key = declare()
    set_value(key, 9, crowd[0])
    made = draft(Proposal(key.key, 5))
    operations.stage_release(change_set=made, enterprises=crowd[:2])
    assert reached(key, crowd[:2], 5) == {crowd[1].pk}
    set_value(key, UNSET, crowd[0])
    assert reached(key, crowd[:2], 5) == {crowd[0].pk, crowd[1].pk}


def test_release__promoted__holds_for_everybody(crowd):
    key = declare()
    set_value(key, 1)
    made = draft(Proposal(key.key, 5))
    operations.stage_release(change_set=made, enterprises=crowd[:1])
    operations.promote_release(change_set=made)
    assert stored(made).stage == Stage.PUBLISHED
    assert history(key) == [(1, "superseded", 1), (2, "active", 5)]
    assert len(reached(key, crowd, 5)) == len(crowd)
    assert SystemConfig.objects.get(config_key=key, version=2).release_percentage is None


def test_release__promoted_after_the_platforms_value_changed__refused(crowd, author):
    key = declare()
    made = draft(Proposal(key.key, 5))
    operations.stage_release(change_set=made, enterprises=crowd[:1])
    publish(Proposal(key.key, 6), actor=author)
    refusal = refused(StaleVersion, lambda: operations.promote_release(change_set=made))
    assert author.email in refusal.detail
    assert statuses(key) == [["staged", "active"]]
    assert stored(made).stage == Stage.STAGED


def test_release__withdrawn__leaves_what_was(crowd):
    key = declare()
    set_value(key, 1)
    made = draft(Proposal(key.key, 5))
    operations.stage_release(change_set=made, percentage=100)
    assert len(reached(key, crowd, 5)) == len(crowd)
    operations.withdraw_release(change_set=made)
    assert stored(made).stage == Stage.ROLLED_BACK
    assert history(key) == [(1, "active", 1), (2, "rejected", 5)]
    assert reached(key, crowd, 5) == set()
    # The way is free for the next.
    operations.stage_release(change_set=draft(Proposal(key.key, 6)), percentage=100)


@pytest.mark.parametrize(
    ("percentage", "named"), [(0, False), (-1, True), (101, True), (1000, False)]
)
def test_release__to_an_impossible_audience__refused(enterprise, percentage, named):
    key = declare()
    made = draft(Proposal(key.key, 5))
    audience = [enterprise] if named else []
    refusal = refused(
        InvalidInput,
        lambda: operations.stage_release(
            change_set=made, percentage=percentage, enterprises=audience
        ),
    )
    assert [error.field for error in refusal.errors] == ["percentage"]
    operations.stage_release(change_set=made, percentage=10)
    refused(
        InvalidInput,
        lambda: operations.change_audience(
            change_set=made, percentage=percentage, enterprises=audience
        ),
    )
    assert stored(made).release_percentage == 10


def test_release__of_what_cannot_be_staged__names_each_key(enterprise):
    tenants_own, cleared, restart, staged = (
        declare(), declare(), declare(requires_restart=True), declare(),
    )  # fmt: skip
    operations.stage_release(change_set=draft(Proposal(staged.key, 1)), percentage=5)
    made = draft(
        Proposal(tenants_own.key, 1, enterprise),
        Proposal(cleared.key, UNSET),
        Proposal(restart.key, 1),
        Proposal(staged.key, 2),
    )
    refusal = refused(InvalidInput, lambda: operations.stage_release(change_set=made, percentage=5))
    assert sorted(errors_of(refusal)) == sorted(
        (key.key, "not_stageable") for key in (tenants_own, cleared, restart, staged)
    )
    refused(InvalidInput, lambda: operations.stage_release(change_set=draft(), percentage=5))
    assert stored(made).stage == Stage.DRAFT


def test_release__two_of_one_key_at_once__one_is_told_of_the_other():
    key = declare()
    sets = [draft(Proposal(key.key, number)) for number in (1, 2)]
    raised = at_once(
        *[lambda s=one: operations.stage_release(change_set=s, percentage=5) for one in sets]  # type: ignore[misc]
    )
    assert [type(error) for error in raised] == [InvalidInput]
    assert sorted(statuses(key)[0]) == ["draft", "staged"]


def test_release__of_a_stale_value__refused():
    key = declare()
    made = draft(Proposal(key.key, 1))
    set_value(key, 2)
    refused(StaleVersion, lambda: operations.stage_release(change_set=made, percentage=5))
    assert statuses(key) == [["draft", "active"]]


# --- going back


def test_restore__an_earlier_version__is_a_new_one(author):
    key = declare("json")
    first = set_value(key, {"a": [1]})
    set_value(key, {"a": [2]})
    made = operations.restore_version(version=first, reason="the second was wrong", actor=author)
    assert made.title == f"Back to version 1 of {key.key}"
    assert stored(made).stage == Stage.DRAFT
    operations.publish_change_set(change_set=made)
    assert history(key) == [
        (1, "superseded", {"a": [1]}),
        (2, "superseded", {"a": [2]}),
        (3, "active", {"a": [1]}),
    ]


def test_restore__of_a_tenant__is_the_tenants(enterprise, author):
    key = declare(default_value=0)
    first = set_value(key, 1, enterprise)
    set_value(key, UNSET, enterprise)
    made = operations.restore_version(version=first, reason="it was right", actor=author)
    operations.publish_change_set(change_set=made)
    assert history(key, enterprise)[-1] == (3, "active", 1)
    assert history(key) == []


def test_restore__a_clearing__clears_again(author):
    key = declare(default_value=7)
    set_value(key, 1)
    cleared = set_value(key, UNSET)
    set_value(key, 2)
    made = operations.restore_version(version=cleared, reason="none was right", actor=author)
    operations.publish_change_set(change_set=made)
    assert value_in_sql(key.key) == 7
    assert SystemConfig.objects.get(config_key=key, version=4).unset


def test_restore__a_value_that_the_schema_forbids_by_now__refused(author):
    key = declare(schema={"maximum": 10})
    first = set_value(key, 9)
    set_value(key, 1)
    key.schema = {"maximum": 5}
    operations.save_declaration(key=key, base_version=1)
    refusal = refused(
        InvalidInput,
        lambda: operations.restore_version(version=first, reason="back", actor=author),
    )
    assert errors_of(refusal) == [(key.key, "schema")]


def test_restore__a_secret__opens_and_seals_anew(author, enterprise):
    key = declare("string", is_secret=True)
    first = set_value(key, "first hush", enterprise)
    set_value(key, "second hush", enterprise)
    made = operations.restore_version(version=first, reason="it leaked", actor=author)
    operations.publish_change_set(change_set=made)
    await_value(key, "first hush", enterprise)
    sealed = [value for _, _, value in history(key, enterprise)]
    assert len(set(sealed)) == 3
    assert not [value for value in sealed if "hush" in value]


# --- tenants' own overrides


def override(tenant: Enterprise, key: str, value: Any, version: int) -> SystemConfig:
    with tenant_scope(tenant.ref):
        return operations.set_override(
            tenant=tenant.ref, key=key, value=value, version=version, reason="by the API"
        )


def overridable(**fields: Any) -> ConfigKey:
    return declare(tenant_visible=True, tenant_overridable=True, **fields)


def test_override__set_changed_and_cleared__is_a_version_each(enterprise, other_enterprise):
    key = overridable(default_value=0)
    assert override(enterprise, key.key, 1, 0).version == 1
    assert override(enterprise, key.key, 2, 1).version == 2
    await_value(key, 2, enterprise)
    assert configs.get(key.key, other_enterprise) == 0
    cleared = override(enterprise, key.key, UNSET, 2)
    assert cleared.unset
    await_value(key, 0, enterprise)
    # Nothing stands: the next one is made on version 0.
    override(enterprise, key.key, 3, 0)
    assert history(key, enterprise) == [
        (1, "superseded", 1), (2, "superseded", 2), (3, "superseded", None), (4, "active", 3),
    ]  # fmt: skip
    trail = AuditEvent.objects.filter(table_name="system_configs", enterprise_id=enterprise.pk)
    assert trail.filter(operation="INSERT", database_role=roles.APP).count() == 4


def test_override__on_a_stale_version__refused(enterprise):
    key = overridable()
    override(enterprise, key.key, 1, 0)
    for version in (0, 2, -1):
        refusal = refused(StaleVersion, lambda v=version: override(enterprise, key.key, 5, v))
        assert errors_of(refusal) == [("version", "stale_version")]
        assert "version 1 now" in refusal.detail
    assert history(key, enterprise) == [(1, "active", 1)]


def test_override__two_at_once__one_is_stale(enterprise):
    key = overridable()
    raised = at_once(*[lambda: override(enterprise, key.key, 1, 0)] * 2)
    assert [type(error) for error in raised] == [StaleVersion]
    assert history(key, enterprise) == [(1, "active", 1)]


def test_override__bad_value__names_the_field(enterprise):
    key = overridable(schema={"maximum": 5})
    for value, code in ((6, "schema"), ("5", "type"), (None, "null"), (float("nan"), "number")):
        refusal = refused(InvalidInput, lambda v=value: override(enterprise, key.key, v, 0))
        assert errors_of(refusal) == [("value", code)]
    assert history(key, enterprise) == []


def test_override__clearing_nothing__refused(enterprise):
    key = overridable()
    refused(NothingToClear, lambda: override(enterprise, key.key, UNSET, 0))
    override(enterprise, key.key, 1, 0)
    override(enterprise, key.key, UNSET, 1)
    refused(NothingToClear, lambda: override(enterprise, key.key, UNSET, 0))
    assert statuses_of(key, enterprise) == ["superseded", "active"]


def statuses_of(key: ConfigKey, enterprise: Enterprise) -> list[str]:
    return [status for _, status, _ in history(key, enterprise)]


def test_override__unknown_and_hidden_keys__look_alike(enterprise):
    hidden = declare()
    missing = key_name()
    told = {
        refused(UnknownKey, lambda k=key: override(enterprise, k, 1, 0)).detail.replace(key, "…")
        for key in (hidden.key, missing)
    }
    assert told == {"There is no key …."}


def test_override__key_of_the_platform_or_protected__refused(enterprise):
    for key in (
        declare(tenant_visible=True),
        overridable(category_id="security"),
    ):
        refused(NotOverridable, lambda k=key: override(enterprise, k.key, 1, 0))
        assert history(key, enterprise) == []


def test_override__of_a_secret__is_sealed_for_the_tenant(enterprise):
    key = overridable(value_type="string", is_secret=True)
    version = override(enterprise, key.key, "hush hush", 0)
    assert "hush" not in version.value
    await_value(key, "hush hush", enterprise)


def test_override__made_by_an_operator__is_the_version_that_the_tenant_must_name(enterprise):
    key = overridable()
    set_value(key, 1, enterprise)
    refused(StaleVersion, lambda: override(enterprise, key.key, 2, 0))
    override(enterprise, key.key, 2, 1)
    assert history(key, enterprise) == [(1, "superseded", 1), (2, "active", 2)]


# --- declarations


def test_declare__key__is_known_to_processes():
    key = declare(default_value=5, schema={"minimum": 1})
    await_value(key, 5)
    assert ConfigKey.objects.get(pk=key.pk).version == 1


def test_declare__twice__refused():
    key = declare()
    again = ConfigKey(key=key.key, value_type="string", category_id="business", description="x")
    refusal = refused(Conflict, lambda: operations.save_declaration(key=again))
    assert errors_of(refusal) == [("key", "conflict")]
    assert ConfigKey.objects.get(pk=key.pk).value_type == "number"


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"key": "Upper.case"}, "key", "invalid"),
        ({"key": "nodots"}, "key", "invalid"),
        ({"key": "a.b\n"}, "key", "invalid"),
        ({"value_type": "integer"}, "value_type", "invalid"),
        ({"schema": []}, "schema", "schema"),
        ({"schema": {"minimun": 1}}, "schema", "schema"),
        ({"schema": {"allOf": 5}}, "schema", "schema"),
        ({"schema": {"pattern": "(a+)+"}}, "schema", "schema"),
        ({"default_value": "text"}, "default_value", "type"),
        ({"default_value": 5, "schema": {"maximum": 4}}, "default_value", "schema"),
        ({"default_value": float("nan")}, "default_value", "number"),
        ({"default_value": 1, "is_secret": True}, "default_value", "secret"),
        ({"tenant_overridable": True}, "tenant_visible", "invalid"),
        (
            {"tenant_overridable": True, "tenant_visible": True, "requires_restart": True},
            "tenant_overridable",
            "invalid",
        ),
    ],
)
def test_declare__bad__names_the_field_and_writes_nothing(fields, field, code):
    given = {"key": key_name(), "value_type": "number", **fields}
    key = ConfigKey(category_id="business", description="x", **given)
    refusal = refused(InvalidInput, lambda: operations.save_declaration(key=key))
    assert errors_of(refusal) == [(field, code)]
    assert not ConfigKey.objects.filter(pk=key.key).exists()


def test_declaration__changed__keeps_what_values_rely_on():
    key = declare(default_value=5, description="Before.")
    edited = ConfigKey(
        key=key.key,
        value_type="string",
        schema={"maximum": 10},
        default_value=6,
        description="After.",
        category_id="security",
        requires_restart=True,
        is_secret=True,
        tenant_visible=True,
    )
    operations.save_declaration(key=edited, base_version=1)
    now = ConfigKey.objects.get(pk=key.pk)
    assert (now.version, now.description, now.schema, now.tenant_visible) == (
        2, "After.", {"maximum": 10}, True,
    )  # fmt: skip
    assert (now.value_type, now.default_value, now.category_id) == ("number", 5, "business")
    assert (now.requires_restart, now.is_secret) == (False, False)


def test_declaration__schema_that_forbids_the_standing_default__refused():
    key = declare(default_value=50)
    edited = ConfigKey(
        key=key.key, value_type="number", category_id="business", description="x",
        schema={"maximum": 10},
    )  # fmt: skip
    refusal = refused(InvalidInput, lambda: operations.save_declaration(key=edited, base_version=1))
    assert errors_of(refusal) == [("default_value", "schema")]
    assert ConfigKey.objects.get(pk=key.pk).schema == {}


def test_declaration__changed_meanwhile__refused():
    key = declare()
    operations.save_declaration(key=key, base_version=1)
    refused(StaleVersion, lambda: operations.save_declaration(key=key, base_version=1))
    assert ConfigKey.objects.get(pk=key.pk).version == 2


def test_declaration__of_a_protected_key__is_changed_by_a_superuser_only():
    key = declare(category_id="security")
    key.description = "After."
    for actor in (None, make_operator(superuser=False)):
        refused(
            NeedsApproval,
            lambda actor=actor: operations.save_declaration(key=key, base_version=1, actor=actor),
        )
    operations.save_declaration(key=key, base_version=1, actor=make_operator())
    assert ConfigKey.objects.get(pk=key.pk).description == "After."


def test_declaration__changed__reaches_processes(enterprise):
    key = declare(default_value=5)
    set_value(key, 7)
    await_value(key, 7)
    key.schema = {"maximum": 10}
    operations.save_declaration(key=key, base_version=1)
    until(lambda: configs.directory.get().entries[key.key].declaration.schema == {"maximum": 10})


def test_withdraw__key_that_never_had_a_value__is_gone():
    key = declare(default_value=5)
    await_value(key, 5)
    operations.withdraw_declaration(key=ConfigKey.objects.get(pk=key.pk))
    assert not ConfigKey.objects.filter(pk=key.pk).exists()
    factories.await_undeclared(key)


def test_withdraw__key_with_versions__refused():
    for make in (set_value, lambda key, value: draft(Proposal(key.key, value))):
        key = declare()
        make(key, 1)
        refused(Conflict, lambda k=key: operations.withdraw_declaration(key=k))
        assert ConfigKey.objects.filter(pk=key.pk).exists()


# --- one transaction


def test_operations__inside_a_transaction_that_rolls_back__leave_nothing():
    key = declare()
    with atomic():
        operations.publish_change_set(change_set=draft(Proposal(key.key, 1)))
        assert value_in_sql(key.key) == 1
        transaction.set_rollback(True, using=current_alias())
    assert history(key) == []
