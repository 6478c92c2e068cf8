"""Keys, change sets and processes for tests; every test has keys of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections

from apps.configs import operations
from apps.configs.models import ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import Proposal
from apps.configs.runtime import UndeclaredKey, configs
from apps.configs.values import Declaration
from apps.tenants.models import Enterprise, User
from layoverhq.tenancy import current_alias, operator_scope
from tests.kernel.test_snapshot import until
from tests.tenants.factories import unique

REASON = "as the test wants it"


def key_name(word: str = "key") -> str:
    """Return the name of a key that no other test has."""
    return "test." + unique(word).replace("-", "_")


def declare(value_type: str = "number", **fields: Any) -> ConfigKey:
    """Declare a key of the test's own; not protected unless its category is `security`."""
    fields = {"category_id": "business", "description": "A key of a test.", **fields}
    key = ConfigKey(key=fields.pop("key", None) or key_name(), value_type=value_type, **fields)
    with operator_scope():
        return operations.save_declaration(key=key)


def declaration(
    value_type: str = "json", schema: Mapping[str, Any] | None = None, **fields: Any
) -> Declaration:
    """Return a declaration that no table holds."""
    return Declaration(
        **{
            "key": "test.key",
            "value_type": value_type,
            "schema": schema or {},
            "default": None,
            "is_secret": False,
            "tenant_visible": False,
            **fields,
        }
    )


def draft(*proposals: Proposal, actor: User | None = None) -> ConfigChangeSet:
    with operator_scope():
        return operations.draft_change_set(
            title=unique("set"), reason=REASON, proposals=proposals, actor=actor
        )


def publish(*proposals: Proposal, **options: Any) -> ConfigChangeSet:
    """Publish values of unprotected keys at once."""
    change_set = draft(*proposals, actor=options.pop("actor", None))
    with operator_scope():
        return operations.publish_change_set(change_set=change_set, **options)


def set_value(key: ConfigKey, value: Any, enterprise: Enterprise | None = None) -> SystemConfig:
    """Publish a value of an unprotected key and return the version that holds it."""
    change_set = publish(Proposal(key.key, value, enterprise))
    with operator_scope():
        return change_set.items.get()


def approved(change_set: ConfigChangeSet, reviewer: User) -> ConfigChangeSet:
    with operator_scope():
        operations.submit_change_set(change_set=change_set)
        return operations.approve_change_set(change_set=change_set, actor=reviewer)


def history(key: ConfigKey | str, enterprise: Enterprise | None = None) -> list[tuple[Any, ...]]:
    """Return version, status and value of all that a level ever had, the oldest first."""
    name = key if isinstance(key, str) else key.key
    with operator_scope():
        return list(
            SystemConfig.objects.of(name, enterprise.pk if enterprise else None)
            .order_by("version")
            .values_list("version", "status", "value")
        )


def value_in_sql(key: str, tenant_id: UUID | None = None) -> Any:
    """Return what get_config() answers to the current role."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("select get_config(%s, %s)::text", [key, tenant_id])
        (text,) = cursor.fetchone()
    return None if text is None else json.loads(text)


def await_value(key: ConfigKey, value: Any, tenant: Enterprise | None = None) -> None:
    """Wait until this process knows the value: a notification away."""

    def known() -> bool:
        try:
            return bool(configs.get(key.key, tenant) == value)
        except UndeclaredKey:
            return False

    until(known)


def await_undeclared(key: ConfigKey) -> None:
    """Wait until this process knows the key no longer."""

    def unknown() -> bool:
        return key.key not in configs.directory.get().entries

    until(unknown)


def stored_version() -> int:
    """Return the version of configuration that is committed."""
    with operator_scope(), connections[current_alias()].cursor() as cursor:
        cursor.execute("select version from snapshot_versions where name = 'configs'")
        return int(cursor.fetchone()[0])


def catch_up() -> None:
    """Let this process know all that is committed."""
    version = stored_version()
    configs.directory.get()
    until(lambda: configs.directory.version >= version)


def ring_key(name: str) -> str:
    """Return a fresh key for ENCRYPTION_KEYS."""
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


SCRIPT = """
import json, sys
import django
django.setup()
from apps.configs.runtime import configs
from layoverhq import processes
from layoverhq.snapshot import listener
from layoverhq.tenancy import TenantRef
from uuid import UUID
processes.be("other")
configs.directory.get()
assert listener.connected.wait(20)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    key, tenant = json.loads(line)
    value = configs.get(key, TenantRef(UUID(tenant)) if tenant else None)
    print(json.dumps(value), flush=True)
listener.stop()
"""


class OtherProcess:
    """A process that answers what its configuration is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def get(self, key: ConfigKey, tenant: Enterprise | None = None) -> Any:
        assert self._process.stdin
        asked = json.dumps([key.key, str(tenant.pk) if tenant else None])
        self._process.stdin.write(asked + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the other process died"
        return json.loads(line)


@contextmanager
def other_process() -> Iterator[OtherProcess]:
    """Run another process of the project, with a listener of its own; it ends in order."""
    command: Sequence[str] = [sys.executable, "-W", "error", "-c", SCRIPT]
    with subprocess.Popen(
        command,
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "layoverhq.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        other = OtherProcess(process)
        try:
            assert other.answer() == "ready"
            yield other
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(timeout=30)
    assert process.returncode == 0
