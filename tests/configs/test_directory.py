"""What a process holds after a change is what it would load afresh."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from apps.configs import operations, runtime
from apps.configs.models import ConfigKey
from apps.configs.operations import UNSET, Proposal
from apps.configs.runtime import ABSENT, ConfigDirectory, Content
from apps.tenants.models import Enterprise
from layoverhq.snapshot import connect, registry
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.isolation import roles
from tests.tenants.factories import unique


@pytest.fixture
def directory() -> ConfigDirectory:
    """One that no listener refreshes: the test says when."""
    standing = registry["configs"]
    made = ConfigDirectory()
    registry["configs"] = standing
    with connect() as connection:
        made.refresh(connection, at_least=0)
    return made


def declare(**fields: Any) -> ConfigKey:
    fields = {"value_type": "number", "category_id": "business", "description": "x", **fields}
    key = ConfigKey(key="test." + unique("held").replace("-", "_"), **fields)
    with operator_scope():
        return operations.save_declaration(key=key)


def publish(*proposals: Proposal) -> None:
    with operator_scope():
        drafted = operations.draft_change_set(
            title="Test", reason="as the test wants it", proposals=proposals, actor=None
        )
        operations.publish_change_set(change_set=drafted)


def refreshed(directory: ConfigDirectory) -> Content:
    with connect() as connection:
        directory.refresh(connection, at_least=directory.version + 1)
    return directory.get()


def loaded() -> Content:
    """Return what a process that starts now holds."""
    standing = registry["configs"]
    fresh = ConfigDirectory()
    registry["configs"] = standing
    with connect() as connection:
        fresh.refresh(connection, at_least=0)
    return fresh.get()


def told(content: Content) -> dict[str, Any]:
    """Return everything that a content says, in values that can be compared."""
    return {
        key: (
            {name: getattr(entry.declaration, name) for name in entry.declaration.__slots__},
            None if entry.platform is ABSENT else entry.platform,
            entry.platform_version,
            entry.staged,
            dict(entry.overrides),
        )
        for key, entry in content.entries.items()
    }


def test_advance__changes_of_every_kind__holds_what_a_load_would(
    directory, enterprise, other_enterprise, monkeypatch
):
    monkeypatch.setattr(runtime, "KEYS_AT_ONCE", 3)
    keys = [declare(tenant_visible=True, tenant_overridable=True) for _ in range(8)]
    first, second, third = (key.key for key in keys[:3])

    publish(*(Proposal(key.key, 1, enterprise) for key in keys), Proposal(first, 10))
    assert told(refreshed(directory)) == told(loaded())

    publish(Proposal(first, 2, other_enterprise), Proposal(first, UNSET, enterprise))
    publish(Proposal(second, 20), Proposal(second, 3, enterprise))
    with tenant_scope(enterprise.ref):
        operations.set_override(
            tenant=enterprise.ref, key=third, value=UNSET, version=1, reason="api"
        )
    with operator_scope():
        staged = operations.draft_change_set(
            title="Test", reason="as the test wants it", proposals=[Proposal(third, 5)], actor=None
        )
        operations.stage_release(change_set=staged, percentage=50, enterprises=[enterprise])
        gone = declare()
        keys[3].schema = {"minimum": 0}
        operations.save_declaration(key=keys[3], base_version=1)
    content = refreshed(directory)
    assert told(content) == told(loaded())
    assert content.value(first, other_enterprise.pk) == 2
    assert content.value(first, enterprise.pk) == 10
    assert content.entries[first].overrides == {other_enterprise.pk: 2}

    with operator_scope():
        operations.withdraw_declaration(key=gone)
        operations.withdraw_release(change_set=staged)
    publish(Proposal(first, UNSET))
    content = refreshed(directory)
    assert gone.key not in content.entries
    assert told(content) == told(loaded())


def test_advance__tenants_rows_erased__forgets_them(directory, enterprise, other_enterprise):
    key = declare().key
    publish(Proposal(key, 1, enterprise), Proposal(key, 2, other_enterprise))
    assert set(refreshed(directory).entries[key].overrides) == {enterprise.pk, other_enterprise.pk}
    erase(enterprise)
    content = refreshed(directory)
    assert content.entries[key].overrides == {other_enterprise.pk: 2}
    assert told(content) == told(loaded())


def erase(enterprise: Enterprise) -> None:
    """Delete a tenant's versions as its erasure does, whose guard is not what is tested."""
    with roles.connect_as_superuser() as superuser, superuser.transaction():
        guard = "trigger system_configs_guard"
        superuser.execute(f"alter table system_configs disable {guard}")
        superuser.execute("delete from system_configs where tenant_id = %s", [enterprise.pk])
        superuser.execute(f"alter table system_configs enable {guard}")


def test_advance__list_of_changes_forgotten__loads_the_whole(directory, enterprise):
    key = declare().key
    publish(Proposal(key, 1, enterprise))
    with roles.connect_as_superuser() as superuser:
        superuser.execute("select forget_snapshot_changes(now() + interval '1 minute')")
    heard: list[Any] = []
    directory.watchers.append(heard.append)
    assert refreshed(directory).entries[key].overrides == {enterprise.pk: 1}
    assert heard == [None]


def test_advance__other_keys__keep_what_was_resolved(directory, enterprise):
    changed, kept = declare().key, declare().key
    publish(Proposal(changed, 1), Proposal(kept, 7))
    before = refreshed(directory)
    before.value(changed, enterprise.pk)
    before.value(kept, enterprise.pk)
    publish(Proposal(changed, 2))
    after = refreshed(directory)
    assert after.entries[kept] is before.entries[kept]
    assert after.value(changed, enterprise.pk) == 2
    # Whoever still has the old content in hand sees its values to the end.
    assert before.value(changed, enterprise.pk) == 1


def test_entry__secret_that_was_read__is_not_in_its_repr(directory):
    key = declare(value_type="string", is_secret=True).key
    publish(Proposal(key, "hush-hush"))
    content = refreshed(directory)
    assert content.value(key, None) == "hush-hush"
    assert "hush" not in repr(content.entries[key])


def test_refresh__after_a_change__asks_the_server_once_before_the_swap(directory, enterprise):
    key = declare().key
    publish(Proposal(key, 1, enterprise))
    sent: list[str] = []

    class Counting(psycopg.ClientCursor[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(query)
            return super().execute(query, *args, **kwargs)

    with connect() as connection, pytest.MonkeyPatch.context() as patched:
        patched.setattr(psycopg, "ClientCursor", Counting)
        patched.setattr(connection, "execute", sent.append)
        directory.refresh(connection, at_least=directory.version + 1)
    assert len(sent) == 1
    assert directory.get().value(key, enterprise.pk) == 1
