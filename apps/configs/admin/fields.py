"""A form field for a key's value, made from its declaration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminPasswordToggleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.configs.models import ConfigKey, ValueType
from apps.configs.values import Declaration, fault_of, parse_json
from layoverhq.errors import InvalidInput
from layoverhq.model_admin import MONOSPACED

LONG_TEXT = 200


class ValueField(forms.Field):
    """Reads what an operator typed as a value of the key, and checks it by the declaration."""

    def __init__(self, key: ConfigKey, **kwargs: Any) -> None:
        self.key = key
        kwargs.setdefault("label", f"Value ({key.unit})" if key.unit else "Value")
        kwargs.setdefault("help_text", bounds(key))
        super().__init__(widget=widget(key), required=False, **kwargs)

    def to_python(self, value: Any) -> Any:
        if self.key.value_type == ValueType.BOOLEAN and not self.key.is_secret:
            return value in (True, "on", "true")
        text = value or ""
        if self.key.value_type == ValueType.STRING and not _choices(self.key):
            # Browsers send line ends as CR LF, whatever they were.
            return text.replace("\r\n", "\n")
        if not text.strip():
            raise ValidationError("Give a value.")
        try:
            return parse_json(text, "value")
        except InvalidInput as error:
            raise ValidationError(error.errors[0].detail) from error

    def validate(self, value: Any) -> None:
        if fault := fault_of(Declaration.of(self.key).unsealed(), value):
            raise ValidationError(fault.detail, code=fault.code)

    def prepare_value(self, value: Any) -> Any:
        """Show a value as it would be typed; what was typed is shown as it is."""
        if isinstance(value, Typed):
            return _shown(self.key, value.value)
        return value


class Typed:
    """A value, told apart from what somebody typed."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _shown(key: ConfigKey, value: Any) -> Any:
    if key.value_type == ValueType.BOOLEAN:
        return value
    if key.value_type == ValueType.STRING and not _choices(key):
        return value
    if key.value_type in (ValueType.JSON, ValueType.ARRAY):
        return json.dumps(value, ensure_ascii=False, indent=2)
    return json.dumps(value, ensure_ascii=False)


def _choices(key: ConfigKey) -> list[Any]:
    options = key.schema.get("enum")
    return options if isinstance(options, list) else []


def widget(key: ConfigKey) -> forms.Widget:
    """Return what fits the type: a switch, a number with its bounds, a choice, a text, JSON."""
    if key.is_secret:
        if key.value_type in (ValueType.STRING, ValueType.NUMBER):
            return UnfoldAdminPasswordToggleWidget(attrs={"autocomplete": "off"})
        return UnfoldAdminTextareaWidget(attrs={"rows": 6, **MONOSPACED})
    if key.value_type == ValueType.BOOLEAN:
        return UnfoldBooleanSwitchWidget()
    if options := _choices(key):
        return UnfoldAdminSelectWidget(
            choices=[(json.dumps(option, ensure_ascii=False), str(option)) for option in options]
        )
    if key.value_type == ValueType.NUMBER:
        whole = key.schema.get("type") == "integer"
        attrs: dict[str, Any] = {"type": "number", "step": "1" if whole else "any"}
        attrs |= _limits(key.schema)
        return UnfoldAdminTextInputWidget(attrs=attrs)
    if key.value_type == ValueType.STRING:
        longest = key.schema.get("maxLength")
        if isinstance(longest, int) and longest <= LONG_TEXT:
            return UnfoldAdminTextInputWidget(attrs={"maxlength": longest})
        return UnfoldAdminTextareaWidget(attrs={"rows": 3})
    return UnfoldAdminTextareaWidget(attrs={"rows": 12, **MONOSPACED})


def _limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        attribute: schema[keyword]
        for attribute, keyword in (("min", "minimum"), ("max", "maximum"))
        if keyword in schema
    }


def bounds(key: ConfigKey) -> str:
    """Return the declaration's bounds in words."""
    schema, unit = key.schema, f" {key.unit}" if key.unit else ""
    told = []
    if "minimum" in schema and "maximum" in schema:
        told.append(f"From {schema['minimum']:,} to {schema['maximum']:,}{unit}.")
    elif "minimum" in schema:
        told.append(f"At least {schema['minimum']:,}{unit}.")
    elif "maximum" in schema:
        told.append(f"At most {schema['maximum']:,}{unit}.")
    if schema.get("type") == "integer":
        told.append("Whole numbers.")
    if "pattern" in schema:
        told.append(f"Matches {schema['pattern']}.")
    if key.is_secret:
        told.append("Stored sealed; it is never shown here again.")
    return " ".join(told)
