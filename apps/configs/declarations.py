"""Declarations that come with the code: migrations declare each key that the code reads."""

from __future__ import annotations

from typing import Any

from django.db.migrations.state import ProjectState

from layoverhq.seeds import Seed

NO_VALUE: Any = object()


class DeclareCategory(Seed):
    """Add a category of keys."""

    def __init__(self, name: str, *, description: str, is_protected: bool = False) -> None:
        self.name = name
        self.description = description
        self.is_protected = is_protected

    def add(self, app_label: str, state: ProjectState, alias: str) -> None:
        state.apps.get_model("configs", "ConfigCategory").objects.using(alias).get_or_create(
            name=self.name,
            defaults={"description": self.description, "is_protected": self.is_protected},
        )

    def describe(self) -> str:
        return f"Declare the category {self.name}"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        keywords = {"description": self.description, "is_protected": self.is_protected}
        return type(self).__qualname__, [self.name], keywords


class DeclareConfig(Seed):
    """Declare a key; with `value`, the platform gets that value besides.

    `declared` are fields of ConfigKey: value_type, category, description, schema, default_value …
    """

    def __init__(self, key: str, *, value: Any = NO_VALUE, **declared: Any) -> None:
        self.key = key
        self.value = value
        self.declared = declared

    def add(self, app_label: str, state: ProjectState, alias: str) -> None:
        category = state.apps.get_model("configs", "ConfigCategory").objects.using(alias)
        fields = {**self.declared, "category": category.get(name=self.declared["category"])}
        key, _ = (
            state.apps.get_model("configs", "ConfigKey")
            .objects.using(alias)
            .get_or_create(key=self.key, defaults=fields)
        )
        versions = state.apps.get_model("configs", "SystemConfig").objects.using(alias)
        if (
            self.value is not NO_VALUE
            and not versions.filter(config_key=key, enterprise__isnull=True).exists()
        ):
            versions.create(config_key=key, value=self.value, status="active", reason="seed")

    def describe(self) -> str:
        return f"Declare {self.key}"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        keywords = dict(self.declared)
        if self.value is not NO_VALUE:
            keywords["value"] = self.value
        return type(self).__qualname__, [self.key], keywords
