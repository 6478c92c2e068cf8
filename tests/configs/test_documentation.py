"""Every key that is declared is documented and read; every key that is read is declared."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.db.migrations.loader import MigrationLoader

from apps.configs.admin.arrivals import AWAITED
from apps.configs.declarations import NO_VALUE, DeclareConfig
from apps.configs.queries import readers


def declared() -> dict[str, DeclareConfig]:
    """Return what the project's migrations declare."""
    migrations = MigrationLoader(None).disk_migrations.values()
    return {
        operation.key: operation
        for migration in migrations
        for operation in migration.operations
        if isinstance(operation, DeclareConfig)
    }


def row(operation: DeclareConfig) -> str:
    """Return the key's row of the table in the documentation."""
    fields = operation.declared
    schema = fields.get("schema", {})
    notes = {"tenant_visible": "read", "tenant_overridable": "override"}
    notes |= {"requires_restart": "restart", "is_secret": "secret"}
    cells = [
        f"`{operation.key}`",
        "integer" if schema.get("type") == "integer" else fields["value_type"],
        f"`{json.dumps(fields.get('default_value'))}`",
        bounds(schema),
        fields["category"],
        ", ".join(word for name, word in notes.items() if fields.get(name)),
        fields["description"],
    ]
    return "| " + " | ".join(cells) + " |"


def bounds(schema: dict[str, Any]) -> str:
    if "minimum" not in schema:
        return ""
    return f"{schema['minimum']} to {schema['maximum']} {schema.get('x-unit', '')}".strip()


def test_documentation__table_of_keys__is_what_the_migrations_declare() -> None:
    text = (settings.BASE_DIR / "docs" / "configuration.md").read_text()
    documented = [line for line in text.splitlines() if line.startswith("| `")]
    assert documented == [row(operation) for _, operation in sorted(declared().items())]


def test_declarations__seeded_value__is_the_default() -> None:
    for key, operation in declared().items():
        if operation.value is not NO_VALUE:
            assert operation.value == operation.declared["default_value"], key


def test_declarations__what_the_code_reads__is_declared() -> None:
    assert readers().keys() - declared().keys() == set()


def test_declarations__what_is_declared__is_read_or_awaited() -> None:
    assert declared().keys() - readers().keys() == AWAITED.keys()
