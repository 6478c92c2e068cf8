"""Secrets move to another key of the ring, in a database of the test's own."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from apps.audit.models import AuditEvent
from apps.configs import operations
from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.operations import UNSET, Proposal, reseal_secrets, seal_counts
from apps.configs.tasks import rotate_secrets
from apps.tenants.models import Enterprise
from layoverhq.sealing import CannotOpen, seal, sealed_by, unseal
from layoverhq.tenancy import operator_scope
from tests import servers
from tests.tenants import factories

KEY = "tests.secret"


@pytest.fixture
def database() -> Iterator[None]:
    """Use a database where nobody else's secrets stand."""
    name = f"rotation_{servers.WORKER}"
    with psycopg.connect(servers.ENDPOINTS.superuser_dsn(), autocommit=True) as server:
        server.execute("select pg_advisory_lock(hashtextextended('template', 0))")
        template = servers.make_template(servers.ENDPOINTS, server)
        servers.drop_database(server, name)
        server.execute(f"create database {name} template {template} owner layoverhq_owner")
        servers.create_roles_and_database(
            servers.ENDPOINTS.superuser_dsn(), name, servers.ENDPOINTS.passwords
        )
        earlier = connections["operator"].settings_dict["NAME"]
        try:
            _use(name)
            yield
        finally:
            _use(earlier)
            servers.drop_database(server, name)


def _use(name: str) -> None:
    for alias in ("default", "operator"):
        connections[alias].close()
        connections[alias].settings_dict["NAME"] = name


def ring_key(name: str) -> str:
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


OLD, NEW, LOST = ring_key("old"), ring_key("new"), ring_key("lost")


@pytest.fixture
def ring(settings: Any) -> Any:
    settings.ENCRYPTION_KEYS = [OLD]
    return settings


@pytest.fixture
def secrets(database: None, ring: Any) -> Enterprise:
    """Five secrets under the old key: two of the platform, two of an enterprise, one a draft."""
    enterprise = factories.make_enterprise()
    with operator_scope():
        operations.save_declaration(
            key=ConfigKey(
                key=KEY,
                value_type="string",
                category_id="runtime",
                description="A secret.",
                is_secret=True,
            )
        )
    for each in (None, enterprise):
        for number in (1, 2):
            publish(f"hush {number}", each)
    draft("hush 3", None)
    # No value, and so nothing to seal.
    publish(UNSET, None)
    return enterprise


def draft(value: Any, enterprise: Enterprise | None) -> Any:
    with operator_scope():
        return operations.draft_change_set(
            title="secret",
            reason="test",
            proposals=[Proposal(KEY, value, enterprise)],
            actor=None,
        )


def publish(value: Any, enterprise: Enterprise | None) -> None:
    change_set = draft(value, enterprise)
    with operator_scope():
        operations.publish_change_set(change_set=change_set)


def plain() -> list[str]:
    with operator_scope():
        found = SystemConfig.objects.filter(is_secret=True, unset=False)
        return sorted(
            str(operations.stored_plain(version)) for version in found.select_related("config_key")
        )


def sealers() -> dict[str, int]:
    with operator_scope():
        return seal_counts()


def rotate() -> str:
    said = io.StringIO()
    call_command("rotate_secrets", stdout=said, stderr=said)
    return said.getvalue()


HUSHED = ["hush 1", "hush 1", "hush 2", "hush 2", "hush 3"]


def test_rotate_secrets__new_first_key__seals_all_and_keeps_what_they_say(
    secrets: Enterprise, ring: Any
) -> None:
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    assert rotate() == "5 secrets are sealed anew.\n"
    assert sealers() == {"new": 5}
    # The old key is not needed any more.
    ring.ENCRYPTION_KEYS = [NEW]
    assert plain() == HUSHED


def test_rotate_secrets__again__changes_nothing(secrets: Enterprise, ring: Any) -> None:
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    rotate()

    def rows() -> set[tuple[Any, ...]]:
        with operator_scope():
            return set(SystemConfig.objects.values_list("pk", "value", "status", "updated_at"))

    before = rows()
    assert rotate() == "0 secrets are sealed anew.\n"
    assert rows() == before


def test_rotate_secrets__killed_and_run_again__completes_it(
    secrets: Enterprise, ring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    monkeypatch.setattr(operations, "RESEAL_BATCH", 2)
    sealed = []
    reseal = operations.reseal

    def dying(*args: Any) -> str:
        if len(sealed) == 3:
            raise KeyboardInterrupt
        sealed.append(args)
        return reseal(*args)

    with patch.object(operations, "reseal", dying), pytest.raises(KeyboardInterrupt):
        rotate()
    # A batch stands or does not.
    assert sealers() == {"new": 2, "old": 3}
    assert plain() == HUSHED
    assert rotate() == "3 secrets are sealed anew.\n"
    assert sealers() == {"new": 5}
    assert plain() == HUSHED


def test_reseal_secrets__in_batches__tells_how_far_it_is(
    secrets: Enterprise, ring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    monkeypatch.setattr(operations, "RESEAL_BATCH", 2)
    with operator_scope():
        assert [(each.done, each.total) for each in reseal_secrets()] == [
            (0, 5), (2, 5), (4, 5), (5, 5)
        ]  # fmt: skip


def test_rotate_secrets__some_do_not_open__names_them_and_fails(
    secrets: Enterprise, ring: Any
) -> None:
    ring.ENCRYPTION_KEYS = [LOST]
    publish("never to be seen", secrets)
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    said = io.StringIO()
    with pytest.raises(CommandError, match=r"^1 of 6 secrets did not open\.$"):
        call_command("rotate_secrets", stdout=said, stderr=said)
    (line,) = said.getvalue().splitlines()
    assert line.startswith(f"{KEY} for {secrets}, version 3: ")
    assert "“lost”" in line
    assert "never" not in line
    assert sealers() == {"lost": 1, "new": 5}


def test_rotate_secrets__moved_to_another_level_by_hand__does_not_open(
    secrets: Enterprise, ring: Any
) -> None:
    with operator_scope():
        theirs = SystemConfig.objects.of(KEY, secrets.pk).first()
        ours = SystemConfig.objects.of(KEY, None).filter(unset=False).first()
        assert theirs is not None
        assert ours is not None
    with psycopg.connect(
        servers.ENDPOINTS.superuser_dsn(connections["operator"].settings_dict["NAME"])
    ) as server:
        server.execute(
            "update system_configs set value = to_jsonb(%s::text) where id = %s",
            [theirs.value, ours.pk],
        )
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    with pytest.raises(CommandError, match="1 of 5"):
        rotate()
    assert sealers() == {"new": 4, "old": 1}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([], "ENCRYPTION_KEYS is not set."),
        (["new:short", OLD], "ENCRYPTION_KEYS key 1 (new) is not base64."),
        ([NEW, "old:AAAA"], "ENCRYPTION_KEYS key 2 (old) has 3 bytes instead of 32."),
        ([NEW, OLD, NEW], "ENCRYPTION_KEYS key 3 (new) has the name of an earlier one."),
    ],
)
def test_rotate_secrets__unusable_ring__says_so_and_changes_nothing(
    secrets: Enterprise, ring: Any, keys: list[str], said: str
) -> None:
    ring.ENCRYPTION_KEYS = keys
    with pytest.raises(CommandError) as refused:
        rotate()
    assert str(refused.value) == said
    assert sealers() == {"old": 5}


def test_rotate_secrets__audit_trail__tells_of_it_without_the_secret(
    secrets: Enterprise, ring: Any
) -> None:
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    rotate()
    with operator_scope():
        events = AuditEvent.objects.filter(
            table_name="system_configs", reason="rotation of the encryption keys"
        )
        told = str(list(events.values()))
        assert events.count() == 5
    assert "hush" not in told
    assert "sealed:" not in told


def test_task__new_first_key__does_the_same(secrets: Enterprise, ring: Any) -> None:
    ring.ENCRYPTION_KEYS = [NEW, OLD]
    rotate_secrets(unknown="keyword of a later release")
    assert sealers() == {"new": 5}
    assert plain() == HUSHED


def test_seal__ring_with_one_name_twice__seals_with_the_first(ring: Any) -> None:
    first, second = ring_key("k"), ring_key("k")
    ring.ENCRYPTION_KEYS = [first, second]
    text = seal(b"hush", owner="o")
    assert sealed_by(text) == "k"
    ring.ENCRYPTION_KEYS = [first]
    assert unseal(text, owner="o") == b"hush"
    ring.ENCRYPTION_KEYS = [second]
    with pytest.raises(CannotOpen):
        unseal(text, owner="o")
