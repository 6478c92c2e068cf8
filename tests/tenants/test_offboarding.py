"""Leaving: archived whole, then erased whole, and nobody else's row touched."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from django.core.files.storage import default_storage
from django.db import DatabaseError, connections

from apps.audit.models import AuditEvent
from apps.configs.operations import Proposal, stage_release
from apps.tenants import offboarding as leaving
from apps.tenants.models import ApiKey, Enterprise, Offboarding, User
from apps.tenants.operations import WrongStatus
from apps.trips.models import Traveller
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.configs.factories import await_value, declare, draft, history, set_value
from tests.tenants import factories


def populate(enterprise: Enterprise) -> None:
    with operator_scope():
        User.objects.create_user(f"{factories.unique('ann')}@example.com", enterprise=enterprise)
    factories.make_key(enterprise)
    with tenant_scope(enterprise.ref):
        for number in range(3):
            Traveller.objects.create(enterprise=enterprise, reference=f"T{number}", name="Ann")


def advanced(offboarding: Offboarding) -> Offboarding:
    with operator_scope():
        leaving.advance_offboarding(offboarding_id=offboarding.pk)
        return Offboarding.objects.select_related("enterprise").get(pk=offboarding.pk)


@pytest.fixture
def queued(monkeypatch) -> list[str]:
    """What would have been sent to the worker."""
    sent: list[str] = []
    monkeypatch.setattr(
        leaving.current_app, "send_task", lambda name, kwargs: sent.append(kwargs["offboarding_id"])
    )
    return sent


def test_offboarding__exported__archive_holds_every_row_and_no_secret(enterprise, queued):
    populate(enterprise)
    with operator_scope():
        started = leaving.start_offboarding(enterprise=enterprise)
    assert queued == [str(started.pk)]
    done = advanced(started)
    assert done.stage == Offboarding.Stage.EXPORTED
    assert done.rows_done == done.rows_total > 0
    with default_storage.open(done.archive) as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    travellers = [json.loads(line) for line in archive.open("travellers.ndjson")]
    assert {row["reference"] for row in travellers} == {"T0", "T1", "T2"}
    assert {row["enterprise_id"] for row in travellers} == {str(enterprise.pk)}
    users = [json.loads(line) for line in archive.open("users.ndjson")]
    assert users
    assert all("password" not in user for user in users)
    keys = [json.loads(line) for line in archive.open("api_keys.ndjson")]
    assert keys
    assert all("key_hash" not in key for key in keys)
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["rows"]["travellers"] == 3


def test_offboarding__erased__nothing_is_left_and_others_keep_theirs(
    enterprise, other_enterprise, queued
):
    populate(enterprise)
    populate(other_enterprise)
    with operator_scope():
        started = leaving.start_offboarding(enterprise=enterprise)
    exported = advanced(started)
    with operator_scope():
        leaving.erase_enterprise(offboarding=exported, confirmation=enterprise.slug)
    done = advanced(exported)
    assert done.stage == Offboarding.Stage.ERASED
    with operator_scope():
        for model in (User, ApiKey, Traveller):
            assert not model.objects.filter(enterprise=enterprise).exists()
            assert model.objects.filter(enterprise=other_enterprise).exists()
        tombstone = Enterprise.objects.get(pk=enterprise.pk)
        assert tombstone.status == Enterprise.Status.OFFBOARDED
        assert tombstone.deleted_at is not None
        trail = AuditEvent.objects.filter(enterprise_id=enterprise.pk)
        assert trail.filter(table_name="users", operation="DELETE").exists()
        kept = trail.exclude(table_name__in=["enterprises", "offboardings"])
        assert not kept.exclude(old_values=None).exists()
        assert not kept.exclude(new_values=None).exists()


def test_offboarding__with_configuration_of_its_own__is_exported_sealed_and_erased(
    enterprise, other_enterprise, queued
):
    key, secret = declare(default_value=0), declare("string", is_secret=True)
    for tenant in (enterprise, other_enterprise):
        set_value(key, 1, tenant)
        set_value(key, 2, tenant)
        set_value(secret, "archived hush", tenant)
    release = draft(Proposal(key.key, 5))
    with operator_scope():
        stage_release(change_set=release, enterprises=[enterprise, other_enterprise])
        started = leaving.start_offboarding(enterprise=enterprise)
    exported = advanced(started)
    with default_storage.open(exported.archive) as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    rows = [json.loads(line) for line in archive.open("system_configs.ndjson")]
    assert {(row["key"], row["version"], row["tenant_id"]) for row in rows} == {
        (key.key, 1, str(enterprise.pk)),
        (key.key, 2, str(enterprise.pk)),
        (secret.key, 1, str(enterprise.pk)),
    }
    assert len(archive.open("config_release_tenants.ndjson").readlines()) == 1
    assert all(b"hush" not in archive.read(name) for name in archive.namelist())
    # Until it is being erased, nobody deletes history.
    with (
        operator_scope(),
        connections["operator"].cursor() as cursor,
        pytest.raises(DatabaseError, match="never deleted"),
    ):
        cursor.execute("delete from system_configs where tenant_id = %s", [enterprise.pk])
    with operator_scope():
        leaving.erase_enterprise(offboarding=exported, confirmation=enterprise.slug)
    assert advanced(exported).stage == Offboarding.Stage.ERASED
    assert history(key, enterprise) == history(secret, enterprise) == []
    assert [status for _, status, _ in history(key, other_enterprise)] == ["superseded", "active"]
    assert history(secret, other_enterprise)[0][1] == "active"
    with operator_scope():
        assert [named.enterprise_id for named in release.release_tenants.all()] == [
            other_enterprise.pk
        ]
        trail = AuditEvent.objects.filter(
            enterprise_id=enterprise.pk, table_name="system_configs", operation="DELETE"
        )
        assert trail.count() == 3
        assert not trail.exclude(old_values=None).exists()
    await_value(key, 0, enterprise)
    await_value(key, 2, other_enterprise)


def test_erase__confirmation_differs__refused_and_nothing_changes(enterprise, queued):
    with operator_scope():
        exported = advanced(leaving.start_offboarding(enterprise=enterprise))
        with pytest.raises(leaving.NotConfirmed):
            leaving.erase_enterprise(offboarding=exported, confirmation="yes")
        assert Offboarding.objects.get(pk=exported.pk).stage == Offboarding.Stage.EXPORTED


def test_erase_trail__enterprise_is_not_leaving__refused_by_the_database(enterprise):
    with (
        operator_scope(),
        connections["operator"].cursor() as cursor,
        pytest.raises(DatabaseError, match="is not being erased"),
    ):
        cursor.execute("select erase_offboarded_trail(%s)", [enterprise.pk])


def test_erase__not_exported_yet__refused(enterprise, queued):
    with operator_scope():
        started = leaving.start_offboarding(enterprise=enterprise)
        with pytest.raises(WrongStatus):
            leaving.erase_enterprise(offboarding=started, confirmation=enterprise.slug)


def test_offboarding__worker_dies_while_exporting__schedule_takes_it_up(
    enterprise, queued, monkeypatch
):
    populate(enterprise)
    with operator_scope():
        started = leaving.start_offboarding(enterprise=enterprise)
        with monkeypatch.context() as broken:
            broken.setattr(leaving, "_export_table", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                leaving.advance_offboarding(offboarding_id=started.pk)
        stalled = Offboarding.objects.get(pk=started.pk)
        assert stalled.stage == Offboarding.Stage.EXPORTING
        assert "ZeroDivisionError" in stalled.error
        monkeypatch.setattr(leaving, "STALLED_AFTER", -leaving.STALLED_AFTER)
        assert started.pk in leaving.stalled_offboardings()
    done = advanced(started)
    assert done.stage == Offboarding.Stage.EXPORTED
    assert done.error == ""


def test_offboarding__started__keys_are_refused(enterprise, queued):
    api = factories.make_client(enterprise)
    assert api.get("/api/v1/enterprise").status_code == 200
    with operator_scope():
        leaving.start_offboarding(enterprise=enterprise)
    response = factories.await_status(api, "/api/v1/enterprise", 403)
    assert response.json()["code"] == "enterprise_suspended"
