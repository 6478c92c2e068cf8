"""Keys of a test's own, as operators declare and set them."""

from __future__ import annotations

from typing import Any

from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.operations import (
    Proposal,
    draft_change_set,
    publish_change_set,
    save_declaration,
)
from apps.configs.runtime import configs
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.tenants.factories import unique


def declare(value_type: str = "number", **fields: Any) -> ConfigKey:
    """Declare a key that tenants see and may override, and wait until this process knows it."""
    name = fields.pop("key", None) or "tests." + unique("key").replace("-", "_")
    usual = {
        "category_id": "business",
        "description": "A key of the tests.",
        "tenant_visible": True,
        "tenant_overridable": True,
    }
    with operator_scope():
        key = save_declaration(
            key=ConfigKey(key=name, value_type=value_type, **{**usual, **fields})
        )
    until(lambda: key.key in configs.directory.get().entries)
    return key


def publish(*values: tuple[ConfigKey | str, Any] | tuple[ConfigKey | str, Any, Enterprise]) -> None:
    """Publish values (key, value, enterprise or none) at once, and wait until they are known."""
    proposals = [
        Proposal(key if isinstance(key, str) else key.key, value, *rest)
        for key, value, *rest in values
    ]
    configs.directory.get()
    version = configs.directory.version
    with operator_scope():
        publish_change_set(
            change_set=draft_change_set(
                title="tests", reason="as a test wants it", proposals=proposals, actor=None
            )
        )
    until(lambda: configs.directory.version > version)


def own_versions(key: ConfigKey, enterprise: Enterprise) -> list[SystemConfig]:
    """Return every version that a tenant ever had, oldest first."""
    with operator_scope():
        return list(SystemConfig.objects.of(key.key, enterprise.pk).order_by("version"))
