"""Secrets: sealed where they rest, opened for whom it concerns, and written down nowhere else."""

from __future__ import annotations

import base64
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
import structlog
from django.conf import settings
from django.db import connections
from django.test import override_settings
from hypothesis import assume, given
from hypothesis import strategies as st
from psycopg import errors, sql

from apps.audit.models import AuditEvent
from apps.configs import operations, tasks
from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.operations import Proposal
from apps.configs.runtime import SecretUnreadable, configs
from apps.configs.values import Declaration, fault_of, open_secret, sealed
from apps.tenants.models import Enterprise
from layoverhq.errors import DomainError, InvalidInput
from layoverhq.logs import SHARED
from layoverhq.sealing import CannotOpen, CannotSeal, seal, sealed_by, sealing_key, unseal
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.configs.factories import (
    approved,
    await_value,
    catch_up,
    declaration,
    declare,
    draft,
    history,
    publish,
    ring_key,
    set_value,
    value_in_sql,
)
from tests.isolation import roles
from tests.tenants.factories import make_operator, unique


@contextmanager
def ring(*keys: str) -> Iterator[None]:
    with override_settings(ENCRYPTION_KEYS=list(keys)):
        yield


@pytest.fixture
def usual() -> str:
    """The key by which the suite seals."""
    return str(settings.ENCRYPTION_KEYS[0])


def refusal_of(text: str, owner: str) -> str:
    with pytest.raises(CannotOpen) as refusal:
        unseal(text, owner=owner)
    return str(refusal.value)


# --- sealing


@given(st.binary(max_size=200), st.text(max_size=20))
def test_seal__anything__opens_for_its_owner_and_nobody_else(secret, owner):
    text = seal(secret, owner=owner)
    assert unseal(text, owner=owner) == secret
    assert secret not in text.encode() or len(secret) < 4
    assert "does not open it" in refusal_of(text, owner + "x")


def test_seal__same_secret_twice__differs():
    assert seal(b"hush", owner="a") != seal(b"hush", owner="a")


def test_seal__with_a_ring__is_by_the_first_key_and_all_open():
    old, new = ring_key("old"), ring_key("new")
    with ring(old):
        by_old = seal(b"hush", owner="a")
    with ring(new, old):
        by_new = seal(b"hush", owner="a")
        assert (sealed_by(by_old), sealed_by(by_new), sealing_key()) == ("old", "new", "new")
        assert unseal(by_old, owner="a") == unseal(by_new, owner="a") == b"hush"
    with ring(new):
        assert unseal(by_new, owner="a") == b"hush"
        assert "sealed with the key “old”" in refusal_of(by_old, "a")


def test_unseal__another_key_of_the_same_name__does_not_open():
    with ring(ring_key("shared")):
        text = seal(b"hush", owner="a")
    with ring(ring_key("shared")):
        assert "another key of that name" in refusal_of(text, "a")


@given(st.data())
def test_unseal__any_byte_damaged__does_not_open(data):
    text = seal(b"a secret of some length", owner="a")
    body = bytearray(base64.b64decode(text.rpartition(":")[2]))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    head = text.rpartition(":")[0]
    refusal_of(f"{head}:{base64.b64encode(bytes(body)).decode()}", "a")


@given(st.text(max_size=60))
def test_unseal__any_text__is_refused_without_a_crash(text):
    refusal_of(text, "a")
    refusal_of(f"sealed:test:{text}", "a")


@pytest.mark.parametrize("cut", [0, 1, 12, 16, 28])
def test_unseal__cut_short__is_refused(cut):
    text = seal(b"hush", owner="a")
    body = base64.b64decode(text.rpartition(":")[2])[:cut]
    refusal_of(f"sealed:test:{base64.b64encode(body).decode()}", "a")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "is not set"),
        (["nothing"], "not of the form name:base64"),
        (["short:" + base64.b64encode(b"x" * 16).decode()], "16 bytes instead of 32"),
        (["bad:%%%"], "is not base64"),
        (["weak:" + base64.b64encode(b"\0" * 32).decode()], "is weak"),
    ],
)
def test_seal__with_an_unusable_first_key__says_why_and_seals_nothing(keys, why):
    with ring(*keys):
        with pytest.raises(CannotSeal, match=why):
            seal(b"hush", owner="a")
        key = declare("string", is_secret=True)
        with pytest.raises(InvalidInput) as refusal:
            draft(Proposal(key.key, "hush"))
        assert [(error.field, error.code) for error in refusal.value.errors] == [
            (key.key, "cannot_seal")
        ]
    assert history(key) == []


# --- secrets of keys


@given(st.recursive(st.text() | st.integers(-(2**53), 2**53) | st.none() | st.booleans(), st.lists))
def test_secret__any_value__opens_to_what_it_was(value):
    declared = declaration("json", is_secret=True)
    tenant = uuid4()
    assume(fault_of(declared.unsealed(), {"v": value}) is None)
    stored = sealed(declared, {"v": value}, tenant, "field")
    assert open_secret(declared, stored, tenant) == {"v": value}


def test_secret__moved_to_another_key_or_tenant__does_not_open(enterprise, other_enterprise):
    one, two = declare("string", is_secret=True), declare("string", is_secret=True)
    set_value(one, "hush", enterprise)
    ((_, _, stored),) = history(one, enterprise)
    opened = Declaration.of(one)
    assert open_secret(opened, stored, enterprise.pk) == "hush"
    for declared, tenant in (
        (opened, other_enterprise.pk),
        (opened, None),
        (Declaration.of(two), enterprise.pk),
        (Declaration.of(two), None),
    ):
        with pytest.raises(CannotOpen, match="it was moved or damaged"):
            open_secret(declared, stored, tenant)


def test_secret__row_moved_by_hand__is_unreadable_where_it_lies(enterprise, other_enterprise):
    key = declare("string", is_secret=True)
    set_value(key, "hush", enterprise)
    ((_, _, stored),) = history(key, enterprise)
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(
            "insert into system_configs (key, tenant_id, value, value_type, category)"
            " values (%s, %s, to_jsonb(%s::text), 'string', 'business')",
            [key.key, other_enterprise.pk, stored],
        )
    with structlog.testing.capture_logs():
        catch_up()
        with pytest.raises(SecretUnreadable):
            configs.get(key.key, other_enterprise)
    assert configs.get(key.key, enterprise) == "hush"


@pytest.mark.parametrize(
    ("value_type", "value", "answer"),
    [
        ("string", "hush", "hush"),
        ("number", 42, 42),
        ("boolean", True, True),
        ("json", {"user": "u", "password": "hush"}, {"user": "u", "password": "hush"}),
        ("array", ["hush"], ("hush",)),
    ],
)
def test_secret__of_each_type__is_a_sealed_text_at_rest_and_itself_in_memory(
    enterprise, value_type, value, answer
):
    key = declare(value_type, is_secret=True)
    set_value(key, value)
    set_value(key, value, enterprise)
    await_value(key, answer, enterprise)
    assert configs.get(key.key) == answer
    for tenant in (None, enterprise):
        ((_, _, stored),) = history(key, tenant)
        assert stored.startswith("sealed:test:")
    # SQL has no keys: it answers what is stored.
    with operator_scope():
        assert value_in_sql(key.key).startswith("sealed:test:")


def test_secret__bad_value__is_refused_before_it_is_sealed():
    key = declare("string", is_secret=True, schema={"minLength": 20})
    with pytest.raises(InvalidInput) as refusal:
        draft(Proposal(key.key, "too short a hush"))
    assert refusal.value.errors[0].detail == "At least 20 characters."
    assert history(key) == []


def test_secret__that_opens_to_what_the_schema_forbids__is_unreadable(enterprise):
    key = declare("string", is_secret=True)
    set_value(key, "hush")
    await_value(key, "hush")
    # By hand: a declaration that forbids what holds is refused.
    with roles.connect_as_superuser() as superuser:
        superuser.execute(
            """update config_keys set schema = '{"maxLength": 2}' where key = %s""", [key.key]
        )
    with structlog.testing.capture_logs() as logs:
        catch_up()
        with pytest.raises(SecretUnreadable, match="At most 2 characters") as refusal:
            configs.get(key.key)
    assert "hush" not in f"{refusal.value} {logs}"


def test_secret__key_of_the_ring_is_missing__fails_for_that_value_alone(usual, enterprise):
    lost = ring_key("lost")
    key, fine = declare("string", is_secret=True), declare("string", is_secret=True)
    set_value(fine, "readable")
    with ring(lost, usual):
        set_value(key, "lost hush")
        set_value(key, "tenant's hush", enterprise)
    with ring(usual):
        set_value(key, "kept hush", enterprise)
        with structlog.testing.capture_logs() as logs:
            catch_up()
            with pytest.raises(SecretUnreadable, match="“lost”, which ENCRYPTION_KEYS has not"):
                configs.get(key.key)
        assert [line["key"] for line in logs if line["event"] == "config_value_unusable"] == [
            key.key
        ]
        assert configs.get(key.key, enterprise) == "kept hush"
        assert configs.get(fine.key) == "readable"


def test_override_by_a_tenant__sealed_for_it__cannot_be_replayed_by_another(
    enterprise, other_enterprise
):
    key = declare("string", is_secret=True, tenant_visible=True, tenant_overridable=True)
    with tenant_scope(enterprise.ref):
        version = operations.set_override(
            tenant=enterprise.ref, key=key.key, value="hush", version=0, reason="by the API"
        )
    with pytest.raises(CannotOpen):
        open_secret(Declaration.of(key), version.value, other_enterprise.pk)


# --- rotation


def unreadable_of(key: ConfigKey, faults: list[str]) -> list[str]:
    return [fault for fault in faults if fault.startswith(key.key)]


@pytest.fixture
def resealed_again(usual: str) -> Iterator[Callable[[str], Any]]:
    """Rotate to another first key, and back again afterwards: other tests have secrets too."""
    used: list[str] = []

    def rotate(first: str) -> Any:
        used.append(first)
        return ring(first, usual, *used[:-1])

    yield rotate
    with ring(usual, *used), structlog.testing.capture_logs():
        tasks.rotate_secrets()


def sealers(key: ConfigKey, tenant: Enterprise | None = None) -> set[str]:
    return {sealed_by(value) for _, _, value in history(key, tenant)}


def test_reseal__in_batches__reaches_every_version_once(
    resealed_again, monkeypatch, enterprise, operator
):
    key = declare("string", is_secret=True)
    for number in range(3):
        set_value(key, f"hush {number}")
        set_value(key, f"tenant's hush {number}", enterprise)
    plain = declare("string")
    set_value(plain, "sealed:test:looks like one")
    await_value(key, "tenant's hush 2", enterprise)
    monkeypatch.setattr(operations, "RESEAL_BATCH", 4)
    with resealed_again(ring_key("new")):
        told = list(operations.reseal_secrets())
        steps = [later.done - before.done for before, later in pairwise(told)]
        assert max(steps) <= 4
        done = told[-1].done
        assert operations.seal_counts()["new"] == done - len(told[-1].unreadable) >= 6
        assert sealers(key) == sealers(key, enterprise) == {"new"}
        # What is done is not done again.
        *_, again = operations.reseal_secrets()
        assert again.done == len(again.unreadable) == len(told[-1].unreadable)
        # The values are what they were, in order, for processes that follow too.
        catch_up()
        assert configs.get(key.key) == "hush 2"
        assert configs.get(key.key, enterprise) == "tenant's hush 2"
        versions = SystemConfig.objects.of(key.key, None).order_by("version")
        assert [operations.stored_plain(version) for version in versions] == [
            "hush 0", "hush 1", "hush 2",
        ]  # fmt: skip
        assert [(number, status) for number, status, _ in history(key)] == [
            (1, "superseded"), (2, "superseded"), (3, "active"),
        ]  # fmt: skip
    assert history(plain) == [(1, "active", "sealed:test:looks like one")]


def test_reseal__what_does_not_open__is_named_and_left(resealed_again, usual, enterprise, operator):
    key, fine = declare("string", is_secret=True), declare("string", is_secret=True)
    with ring(ring_key("lost"), usual):
        set_value(key, "lost hush")
    before = history(key)
    set_value(fine, "hush")
    with resealed_again(ring_key("new")):
        *_, told = operations.reseal_secrets()
        faults = list(told.unreadable)
        assert len(unreadable_of(key, faults)) == 1
        assert "version 1" in unreadable_of(key, faults)[0]
        assert "“lost”" in unreadable_of(key, faults)[0]
        assert history(key) == before
        assert sealers(fine) == {"new"}


def test_reseal__value_that_changed_hands_meanwhile__is_left_to_who_was_faster(operator):
    key = declare("string", is_secret=True)
    version = set_value(key, "hush")
    with connections["operator"].cursor() as cursor:
        cursor.execute(
            "select reseal_config(%s, %s, %s)", [version.pk, "sealed:test:other", "sealed:new:x"]
        )
        assert cursor.fetchone() == (False,)
    assert history(key) == [(1, "active", version.value)]


def test_reseal__plain_value__is_none_of_its_business(operator):
    key = declare("string")
    version = set_value(key, "text")
    with connections["operator"].cursor() as cursor:
        cursor.execute("select reseal_config(%s, %s, %s)", [version.pk, "text", "other"])
        assert cursor.fetchone() == (False,)
    assert history(key) == [(1, "active", "text")]


def test_reseal__without_a_key_to_seal_by__raises(operator):
    with ring(), pytest.raises(CannotSeal):
        list(operations.reseal_secrets())


# --- revealing


def test_reveal__with_a_reason__is_noted_with_who_and_why_and_not_what(enterprise):
    key = declare("string", is_secret=True)
    person = make_operator()
    version = set_value(key, "hush", enterprise)
    with operator_scope(actor_id=person.pk, reason="the provider asks", request_id="r1"):
        assert operations.reveal_secret(version=version) == "hush"
    with operator_scope():
        event = AuditEvent.objects.get(row_id=str(version.pk), operation="READ")
    assert (event.user_id, event.reason, event.request_id) == (
        person.pk, "the provider asks", "r1",
    )  # fmt: skip
    assert (event.table_name, event.enterprise_id) == ("system_configs", enterprise.pk)
    assert (event.old_values, event.new_values) == (None, None)


def test_reveal__that_fails__is_noted_all_the_same(usual):
    key = declare("string", is_secret=True)
    with ring(ring_key("lost"), usual):
        version = set_value(key, "hush")
    with operator_scope(reason="curious"), pytest.raises(InvalidInput) as refusal:
        operations.reveal_secret(version=version)
    assert "“lost”" in refusal.value.detail
    with operator_scope():
        event = AuditEvent.objects.get(row_id=str(version.pk), operation="READ")
    assert event.reason == "curious"


def test_reveal__by_a_tenants_role__refused(enterprise):
    key = declare("string", is_secret=True, tenant_visible=True, tenant_overridable=True)
    version = set_value(key, "hush", enterprise)
    with (
        roles.connect_as(roles.APP) as app,
        roles.acting_as(app, enterprise.pk),
        pytest.raises(errors.InsufficientPrivilege),
    ):
        app.execute("select audit_reading('system_configs', %s, null)", [str(version.pk)])


# --- where a secret must not be found


def test_plaintext__after_a_whole_life__is_nowhere(enterprise, usual, caplog, resealed_again):
    mark = unique("plaintext-of-a-secret")
    person, reviewer = make_operator(), make_operator()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    told: list[str] = []
    key = declare("json", is_secret=True, category_id="security", schema={"maxProperties": 2})

    def attempt(action: Callable[[], Any]) -> None:
        with pytest.raises((DomainError, SecretUnreadable)) as refusal:
            action()
        error = refusal.value
        told.extend([str(error), repr(error), "".join(traceback.format_exception(error))])

    try:
        with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs(SHARED) as logs:
            made = draft(
                Proposal(key.key, {mark: mark}), Proposal(key.key, {"a": mark}, enterprise),
                actor=person,
            )  # fmt: skip
            with operator_scope(actor_id=person.pk, reason="rotation of the provider's key"):
                approved(made, reviewer)
                operations.publish_change_set(change_set=made)
                versions = list(made.items.order_by("enterprise_id"))
                operations.reveal_secret(version=versions[0])
                attempt(lambda: operations.draft_change_set(
                    title="bad", reason="too many", actor=person,
                    proposals=[Proposal(key.key, {mark: 1, mark + "b": mark, "c": 3})],
                ))  # fmt: skip
                attempt(lambda: operations.draft_change_set(
                    title="bad", reason="another type", actor=person,
                    proposals=[Proposal(key.key, mark)],
                ))  # fmt: skip
                attempt(lambda: operations.draft_change_set(
                    title="bad", reason="stale", actor=person,
                    proposals=[Proposal(key.key, {"a": mark}, base_version=9)],
                ))  # fmt: skip
                operations.restore_version(version=versions[0], reason="back", actor=person)
                told += [repr(version) for version in versions] + [repr(made), str(made.__dict__)]
                told += [str(version.__dict__) for version in versions]
                with resealed_again(ring_key("new")):
                    tasks.rotate_secrets()
                    catch_up()
                    # Who may read it does.
                    assert configs.get(key.key) == {mark: mark}
                with ring(ring_key("nobody")):
                    attempt(lambda: operations.reveal_secret(version=versions[0]))
                    attempt(lambda: operations.stored_plain(versions[0]))
            entry = configs.directory.get().entries[key.key]
            told += [repr(entry), repr(entry.declaration), str(configs.directory.facts())]
            with ring(ring_key("nobody")):
                attempt(lambda: configs.get(key.key, enterprise))
            told += [repr(configs.faults())]
    finally:
        logging.getLogger().removeHandler(handler)
    assert len(told) > 12
    assert mark not in f"{told}{logs}{caplog.text}{written.getvalue()}"
    for table in (
        "system_configs", "config_keys", "config_change_sets", "config_release_tenants",
        "audit_log", "snapshot_changes", "snapshot_versions", "processes",
    ):  # fmt: skip
        assert rows_with(table, mark) == 0, table
    with operator_scope():
        trail = AuditEvent.objects.filter(
            table_name="system_configs", row_id__in=[str(version.pk) for version in versions]
        )
        assert trail.count() >= 5
        for event in trail:
            for values in (event.old_values, event.new_values):
                assert values is None or values["value"] == "[redacted]"
                assert values is None or values["reason"]


def rows_with(table: str, mark: str) -> int:
    with roles.connect_as_superuser() as superuser:
        row = superuser.execute(
            sql.SQL("select count(*) from {} t where t::text like %s").format(
                sql.Identifier(table)
            ),
            [f"%{mark}%"],
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_plaintext__of_a_plain_key__is_in_the_trail():
    # The sieve above would find it: this is what it finds where nothing is secret.
    mark = unique("plain")
    key = declare("string")
    publish(Proposal(key.key, mark))
    assert rows_with("audit_log", mark) == 2
    assert rows_with("system_configs", mark) == 1
