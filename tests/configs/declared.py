"""Keys that tenants see and may override; this process knows of each change when it returns."""

from __future__ import annotations

from typing import Any

from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.operations import Proposal
from apps.configs.runtime import configs
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.configs import factories
from tests.kernel.test_snapshot import until


def declare(value_type: str = "number", **fields: Any) -> ConfigKey:
    key = factories.declare(
        value_type, **{"tenant_visible": True, "tenant_overridable": True, **fields}
    )
    until(lambda: key.key in configs.directory.get().entries)
    return key


def publish(*values: tuple[ConfigKey | str, Any] | tuple[ConfigKey | str, Any, Enterprise]) -> None:
    """Publish values at once: each a key, its value, and whose it is if it is a tenant's."""
    factories.publish(
        *(
            Proposal(key if isinstance(key, str) else key.key, value, *rest)
            for key, value, *rest in values
        )
    )
    factories.catch_up()


def own_versions(key: ConfigKey, enterprise: Enterprise) -> list[SystemConfig]:
    """Return every version that a tenant ever had, oldest first."""
    with operator_scope():
        return list(SystemConfig.objects.of(key.key, enterprise.pk).order_by("version"))
