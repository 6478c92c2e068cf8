"""What the release declares: the guide's keys to the letter, and a reader for every key."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db.migrations.loader import MigrationLoader

from apps.configs import queries
from apps.configs.declarations import DeclareCategory, DeclareConfig
from apps.configs.models import ConfigCategory, ConfigKey, SystemConfig
from apps.configs.queries import literals_asked
from apps.configs.runtime import configs
from apps.configs.values import Declaration, fault_of, schema_fault
from layoverhq.tenancy import OWNER
from tests.configs.factories import history, key_name

pytestmark = pytest.mark.usefixtures("operator")

# Key, value, type, category and description, as in the guide's “Configuration Seeding”.
GUIDE = {
    "api.rate_limit.default": (1000, "number", "runtime", "Default API rate limit per hour"),
    "weather.cache_ttl": (300, "number", "runtime", "Weather data cache TTL in seconds"),
    "flight.search_timeout": (30, "number", "runtime", "Flight search timeout in seconds"),
    "layover.min_duration": (90, "number", "business", "Minimum layover duration in minutes"),
    "algorithm.weather_weight": (0.3, "number", "business", "Weather factor in scoring algorithm"),
    "security.session_timeout": (3600, "number", "security", "Session timeout in seconds"),
    "features.experimental_ml": (False, "boolean", "runtime", "Enable experimental ML features"),
}

# Keys of the guide that the release declares before the app that will read them arrives. An entry
# goes as soon as something reads its key, and has to by the time the app is there.
AWAITED = {
    "api.rate_limit.default": "billing",
    "features.experimental_ml": "storefront",
}


def seeds() -> Iterator[Any]:
    """Yield the declarations of all migrations."""
    loader = MigrationLoader(None)
    for migration in loader.disk_migrations.values():
        yield from (
            operation
            for operation in migration.operations
            if isinstance(operation, DeclareCategory | DeclareConfig)
        )


def declared() -> dict[str, DeclareConfig]:
    return {seed.key: seed for seed in seeds() if isinstance(seed, DeclareConfig)}


@pytest.mark.parametrize("key", GUIDE)
def test_seed__of_the_guide__is_there_to_the_letter(key):
    value, value_type, category, description = GUIDE[key]
    first = SystemConfig.objects.of(key, None).get(version=1)
    assert (first.value, type(first.value)) == (value, type(value))
    assert (first.value_type, first.category, first.description) == (
        value_type, category, description,
    )  # fmt: skip
    assert first.created_by_id is None
    declaration = ConfigKey.objects.get(pk=key)
    assert declaration.default_value == value
    assert declaration.requires_restart is declaration.is_secret is False


def test_seeds__all__are_declared_as_the_migrations_say():
    for key, seed in declared().items():
        row = ConfigKey.objects.get(pk=key)
        assert (row.value_type, row.category_id) == (
            seed.declared["value_type"], seed.declared["category"],
        ), key  # fmt: skip
        # Code asks without a fallback of its own.
        assert row.default_value is not None or row.is_secret, key
        assert schema_fault(row.schema) is None, key
        if not row.is_secret:
            assert fault_of(Declaration.of(row), row.default_value) is None, key
        configs.get(key)


def test_categories__of_the_release__security_alone_is_protected():
    found = dict(ConfigCategory.objects.values_list("name", "is_protected"))
    names = {seed.name for seed in seeds() if isinstance(seed, DeclareCategory)}
    assert {name: found[name] for name in names} == {
        "runtime": False, "business": False, "security": True, "providers": False,
        "storefront": False,
    }  # fmt: skip


# --- readers


def test_keys__that_code_reads__are_all_declared():
    assert set(queries.readers()) - set(declared()) == set()


def test_keys__declared__are_all_read_but_those_whose_app_has_not_arrived():
    assert set(declared()) - set(queries.readers()) == set(AWAITED)


@pytest.mark.parametrize("key", AWAITED)
def test_keys__awaited__are_the_guides_and_their_app_is_not_there_yet(key):
    assert key in GUIDE
    assert not (Path(settings.BASE_DIR) / "apps" / AWAITED[key]).exists()


def test_calls__outside_of_configuration_itself__name_their_key_in_full():
    # A key in a variable would escape the two tests above.
    hidden = []
    for folder in ("apps", "layoverhq"):
        for path in sorted((Path(settings.BASE_DIR) / folder).rglob("*.py")):
            if "configs" in path.relative_to(settings.BASE_DIR).parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "configs.get", "configs.together",
                ):  # fmt: skip
                    named = node.args if ast.unparse(node.func).endswith("r") else node.args[:1]
                    if not all(isinstance(argument, ast.Constant) for argument in named):
                        hidden.append(f"{path}:{node.lineno}")
    assert hidden == []


def test_literals_asked__of_a_module__are_the_literal_ones_with_their_lines():
    tree = ast.parse(
        "from apps.configs.runtime import configs\n"
        "a = configs.get('one.key')\n"
        "b = configs.get('two.key', tenant)\n"
        "c, d = configs.together('three.key',\n"
        "    'four.key', tenant=tenant)\n"
        "e = configs.get(name)\n"
        "f = others.get('no.key')\n"
        "g = configs.directory.get('no.key')\n"
        "h = {'configs': 1}.get('no.key')\n"
        "i = configs.get\n"
    )
    assert list(literals_asked(tree, "configs", "get", "together")) == [
        ("one.key", 2), ("two.key", 3), ("three.key", 4), ("four.key", 4),
    ]  # fmt: skip


def test_readers__of_this_project__are_places_that_exist():
    for key, places in queries.readers().items():
        for place in places:
            text = (Path(settings.BASE_DIR) / place.path).read_text().splitlines()
            assert "configs." in text[place.line - 1], (key, place)


# --- deploying again


def add(seed: Any) -> None:
    """Run a seed as a migration does."""
    seed.add("configs", MigrationLoader(None).project_state(("configs", "0002_seeds")), OWNER)


def test_declare__again_with_other_facts__leaves_what_operators_may_have_changed():
    seed = declared()["layover.min_duration"]
    before = history(seed.key), ConfigKey.objects.values().get(pk=seed.key)
    add(DeclareConfig(seed.key, value=5, **{**seed.declared, "default_value": 6, "schema": {}}))
    assert (history(seed.key), ConfigKey.objects.values().get(pk=seed.key)) == before
    add(DeclareCategory("security", description="other", is_protected=False))
    assert ConfigCategory.objects.get(pk="security").is_protected


@pytest.mark.parametrize("value", [{}, {"value": 0}, {"value": 3}])
def test_declare__new_key__is_added_with_its_value_if_it_has_one(value):
    key = key_name()
    seed = DeclareConfig(
        key, value_type="number", category="runtime", description="New.", default_value=1, **value
    )
    add(seed)
    assert ConfigKey.objects.get(pk=key).default_value == 1
    assert history(key) == ([(1, "active", value["value"])] if value else [])
    _, arguments, keywords = seed.deconstruct()
    assert DeclareConfig(*arguments, **keywords).deconstruct() == seed.deconstruct()
    assert ("value" in keywords) == bool(value)
