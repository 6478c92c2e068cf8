"""Keys in memory: who calls, and who no longer does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.tenants import directory
from apps.tenants.directory import ApiKeyDirectory, Principal, api_keys, token_hash
from apps.tenants.models import ApiKey, Enterprise, Scope
from apps.tenants.operations import (
    resume_enterprise,
    revoke_api_keys,
    suspend_enterprise,
)
from layoverhq import snapshot
from layoverhq.snapshot import connect
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.tenants import factories
from tests.tenants.factories import await_key


def found(token: str) -> Principal:
    await_key(token)
    principal = api_keys.find(token)
    assert principal is not None
    return principal


def test_find__known_token__is_whose_it_is(enterprise):
    issued = factories.make_key(enterprise, [Scope.FLIGHTS_READ])
    principal = found(issued.token)
    assert principal.key_id == issued.key.pk
    assert principal.tenant == enterprise.ref
    assert principal.scopes == {Scope.FLIGHTS_READ}
    assert (principal.enterprise_status, principal.subscription_plan) == ("active", "free")


@pytest.mark.parametrize("token", ["", "lhq_", "lhq_" + "A7x-" * 10 + "Q9z", "é", "\x00"])
def test_find__unknown_token__is_nobody(token):
    assert api_keys.find(token) is None


def test_find__almost_the_token__is_nobody(enterprise):
    token = factories.make_key(enterprise).token
    await_key(token)
    for wrong in (token[:-1], token + "x", token.swapcase(), token[:12], " " + token):
        assert api_keys.find(wrong) is None


def test_find__the_stored_hash_as_token__is_nobody(enterprise):
    # Whoever reads the table must not be able to call with what stands there.
    issued = factories.make_key(enterprise)
    await_key(issued.token)
    digest = token_hash(issued.token)
    assert api_keys.find(digest.hex()) is None
    assert api_keys.find(digest.decode("latin-1")) is None


def test_revoked__key__is_unknown_at_once(enterprise):
    issued = factories.make_key(enterprise)
    await_key(issued.token)
    with operator_scope():
        revoke_api_keys(keys=[issued.key])
    await_key(issued.token, known=False)


def test_expired__key__is_unknown_without_a_notification(enterprise, monkeypatch):
    soon = timezone.now() + timedelta(hours=1)
    issued = factories.make_key(enterprise, expires_at=soon)
    await_key(issued.token)
    version = api_keys.version
    monkeypatch.setattr(directory.timezone, "now", lambda: soon - timedelta(microseconds=1))
    assert api_keys.find(issued.token) is not None
    monkeypatch.setattr(directory.timezone, "now", lambda: soon)
    assert api_keys.find(issued.token) is None
    assert api_keys.version == version


def test_suspended_and_resumed__enterprise__is_known_as_such(enterprise):
    token = factories.make_key(enterprise).token
    assert found(token).enterprise_status == "active"
    with operator_scope():
        suspend_enterprise(enterprise=enterprise)
    until(lambda: found(token).enterprise_status == "suspended")
    with operator_scope():
        resume_enterprise(enterprise=enterprise)
    until(lambda: found(token).enterprise_status == "active")


def test_plan_and_isolation__changed__are_known(enterprise):
    token = factories.make_key(enterprise).token
    await_key(token)
    with operator_scope():
        Enterprise.objects.filter(pk=enterprise.pk).update(
            subscription_plan="business", isolation="dedicated"
        )
    until(lambda: found(token).subscription_plan == "business")
    assert found(token).tenant.schema == enterprise.schema_name


def test_deleted__key__is_unknown(enterprise):
    issued = factories.make_key(enterprise)
    await_key(issued.token)
    with operator_scope():
        ApiKey.objects.filter(pk=issued.key.pk).delete()
    await_key(issued.token, known=False)


def test_touch__key__notes_its_use_once_a_minute(enterprise):
    issued = factories.make_key(enterprise)
    principal = found(issued.token)
    version = api_keys.version

    def last_used():
        with operator_scope():
            return ApiKey.objects.get(pk=issued.key.pk).last_used_at

    api_keys.touch(principal)
    first = last_used()
    assert first is not None
    api_keys.touch(principal)
    assert last_used() == first
    # Another process, which does not know of the first use, writes no more than this one.
    with connect() as connection:
        connection.execute("select touch_api_key(%s)", [issued.key.pk])
    assert last_used() == first
    # A use is no change of the key: nobody reloads.
    assert api_keys.version == version


def test_touch__unknown_key__is_nothing():
    with connect() as connection:
        connection.execute("select touch_api_key(%s)", ["00000000-0000-7000-8000-000000000000"])


def test_load__fresh_process__has_the_living_keys_only(enterprise):
    living, revoked = factories.make_key(enterprise), factories.make_key(enterprise)
    with operator_scope():
        revoke_api_keys(keys=[revoked.key])
    registered = snapshot.registry["api_keys"]
    try:
        fresh = ApiKeyDirectory()
        assert fresh.find(living.token) is not None
        assert fresh.find(revoked.token) is None
    finally:
        snapshot.registry["api_keys"] = registered


def test_principal__shown__has_no_token(enterprise):
    token = factories.make_key(enterprise).token
    assert token not in repr(found(token))
