"""The demo's key: kept while it works for everything."""

from __future__ import annotations

import pytest

from apps.tenants.directory import token_hash
from apps.tenants.models import ApiKey, Scope
from layoverhq.management.commands.seed_demo import Command
from tests.tenants import factories

pytestmark = pytest.mark.usefixtures("operator")


def test_demo_key__whole__is_kept():
    enterprise, token = Command().demo_key(None)
    assert Command().demo_key(token) == (enterprise, token)


def test_demo_key__from_before_a_scope_came__is_replaced_by_one_that_has_all():
    enterprise, old = Command().demo_key(None)
    ApiKey.objects.filter(key_hash=token_hash(old)).update(scopes=[Scope.FLIGHTS_READ])
    _, token = Command().demo_key(old)
    assert token != old
    key = ApiKey.objects.get(key_hash=token_hash(token))
    assert (set(key.scopes), key.enterprise, key.revoked_at) == (
        set(Scope.values),
        enterprise,
        None,
    )
    assert ApiKey.objects.get(key_hash=token_hash(old)).revoked_at is not None
    factories.await_key(old, known=False)
