"""What a tenant is told of its configuration. A secret is null: it is never opened here."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apps.configs.models import UNIT_KEYWORD, ConfigKey, SystemConfig
from apps.configs.operations import UnknownKey
from apps.configs.queries import Layer, explain_config
from apps.configs.runtime import ABSENT, Content, Entry
from apps.configs.values import Declaration, fault_of
from layoverhq.answers import Answer, encoded
from layoverhq.tenancy import TenantRef

TENANT, RELEASE, PLATFORM, DEFAULT = SOURCES = ("tenant", "release", "platform", "default")

# With ten thousand visible keys a body has two megabytes, and there may be many tenants.
KEPT_BYTES = 32 * 1024 * 1024


class Listings:
    """What has been told of one content: the keys that are the platform's to all who ask."""

    def __init__(self, content: Content) -> None:
        self.keys = sorted(
            key for key, entry in content.entries.items() if entry.declaration.tenant_visible
        )
        self.shared: dict[str, bytes] = {}
        self.answers: dict[UUID, Answer] = {}
        self.kept_bytes = 0


def listing(content: Content, tenant_id: UUID, prefix: str = "") -> Answer:
    """Return all visible keys with the tenant's effective values, from memory."""
    derived = content.derived
    listings: Listings = derived.get(Listings) or derived.setdefault(Listings, Listings(content))
    known = listings.answers.get(tenant_id)
    if known is not None and not prefix:
        return known
    items = [
        _item(content, listings, key, tenant_id) for key in listings.keys if key.startswith(prefix)
    ]
    answer = Answer.of(b'{"results":[' + b",".join(items) + b"]}")
    if not prefix:
        if listings.kept_bytes + len(answer.body) > KEPT_BYTES:
            listings.answers.clear()
            listings.kept_bytes = 0
        listings.answers[tenant_id] = answer
        listings.kept_bytes += len(answer.body)
    return answer


def _item(content: Content, listings: Listings, key: str, tenant_id: UUID) -> bytes:
    entry = content.entries[key]
    source = _source(entry, tenant_id)
    if source in (TENANT, RELEASE):
        return encoded(_effective(content, key, entry, source, tenant_id))
    item = listings.shared.get(key)
    if item is None:
        item = listings.shared[key] = encoded(_effective(content, key, entry, source, None))
    return item


def _source(entry: Entry, tenant_id: UUID) -> str:
    if tenant_id in entry.overrides:
        return TENANT
    if entry.staged and entry.staged.reaches(tenant_id):
        return RELEASE
    return DEFAULT if entry.platform is ABSENT else PLATFORM


def _effective(
    content: Content, key: str, entry: Entry, source: str, tenant_id: UUID | None
) -> dict[str, Any]:
    declared = entry.declaration
    value = None
    if not declared.is_secret:
        value = content.value(key, tenant_id)
        if tenant_id in entry.faults:
            source = DEFAULT
    return {
        "key": key,
        "value": value,
        "source": source,
        "value_type": declared.value_type,
        "unit": _unit(declared),
        "is_secret": declared.is_secret,
        "overridable": entry.overridable,
        "category": entry.category,
        "description": entry.description,
    }


def _unit(declared: Declaration) -> str:
    return str(declared.schema.get(UNIT_KEYWORD, ""))


def visible_key(key: str) -> ConfigKey:
    """Return the declaration of a key that tenants see. Raises UnknownKey."""
    declared = ConfigKey.objects.select_related("category").filter(pk=key).first()
    if declared is None or not declared.tenant_visible:
        raise UnknownKey(f"There is no key {key}.")
    return declared


def detail(tenant: TenantRef, key: str) -> dict[str, Any]:
    """Return one key with its effective value and the tenant's own, from inside its scope.

    The override's version is what set_override asks for; 0 where there is none.
    """
    row = visible_key(key)
    declared = Declaration.of(row)
    layers = explain_config(key, tenant.id)
    source, value = _holding(layers, declared)
    own = SystemConfig.objects.of(key, tenant.id).filter(is_active=True, unset=False).first()
    return {
        "key": key,
        "value": value,
        "source": source,
        "value_type": declared.value_type,
        "unit": row.unit,
        "is_secret": declared.is_secret,
        "overridable": row.tenant_overridable and not row.category.is_protected,
        "category": row.category_id,
        "description": row.description,
        "schema": declared.schema,
        "override": {
            "version": own.version if own else 0,
            "value": None if own is None or declared.is_secret else own.value,
            "expires_at": own.expires_at if own else None,
        },
    }


def explanation(tenant: TenantRef, key: str) -> dict[str, Any]:
    """Return every value that stands for the tenant, from inside its scope: see configs.get."""
    declared = Declaration.of(visible_key(key))
    layers = explain_config(key, tenant.id)
    source, _ = _holding(layers, declared)
    return {
        "key": key,
        "is_secret": declared.is_secret,
        "layers": [
            {
                "source": layer.layer,
                "value": None if declared.is_secret else declared.typed(layer.value),
                "version": layer.version,
                "holds": layer.layer == source,
                "problem": _problem(declared, layer),
            }
            for layer in layers
        ],
    }


def _problem(declared: Declaration, layer: Layer) -> str:
    """Return why a value that stands cannot hold, as configs.get finds it; empty if it can."""
    if declared.is_secret or layer.layer == DEFAULT:
        return ""
    fault = fault_of(declared, layer.value)
    return fault.detail if fault else ""


def _holding(layers: list[Layer], declared: Declaration) -> tuple[str, Any]:
    """Return which layer holds and its value: an unusable one gives way to the default."""
    if not layers:
        return DEFAULT, None
    first = layers[0]
    if _problem(declared, first):
        return DEFAULT, declared.typed(declared.default)
    return first.layer, None if declared.is_secret else declared.typed(first.value)
