"""The form of a declaration: bounds and choices as fields, the whole schema for who wants it."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from unfold.widgets import (
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.configs.models import UNIT_KEYWORD, ConfigKey, ValueType
from apps.configs.values import parse_json
from layoverhq.errors import InvalidInput
from layoverhq.model_admin import MONOSPACED

# The form's fields, and the keyword of the schema that each one is.
KEYWORDS = {
    "unit": UNIT_KEYWORD,
    "minimum": "minimum",
    "maximum": "maximum",
    "whole": "type",
    "choices": "enum",
    "pattern": "pattern",
}


class PrettyJSONField(forms.JSONField):
    """JSON as people read it."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, InvalidJSONInput | str):
            return value
        return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, InvalidJSONInput):
            return super().to_python(value)
        if not value.strip():
            return None
        try:
            return parse_json(value, "value")
        except InvalidInput as error:
            raise ValidationError(error.errors[0].detail) from error


class DefaultField(PrettyJSONField):
    """A default: JSON, and for a text just the text; the form knows which."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except ValidationError:
            return Unparsed(value)


class Unparsed(str):
    """What was typed as a default and is no JSON."""


class DeclarationForm(forms.ModelForm):
    base_version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    unit = forms.CharField(
        required=False,
        max_length=40,
        widget=UnfoldAdminTextInputWidget,
        help_text="What values are counted in, such as minutes.",
    )
    minimum = forms.CharField(
        required=False, widget=UnfoldAdminTextInputWidget(attrs={"type": "number", "step": "any"})
    )
    maximum = forms.CharField(
        required=False, widget=UnfoldAdminTextInputWidget(attrs={"type": "number", "step": "any"})
    )
    whole = forms.BooleanField(
        label="Whole numbers", required=False, widget=UnfoldBooleanSwitchWidget
    )
    choices = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="One a line; empty: anything.",
    )
    pattern = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs=MONOSPACED),
        help_text="A regular expression that a text matches.",
    )

    class Meta:
        model = ConfigKey
        fields: ClassVar[list[str]] = [
            "key",
            "value_type",
            "category",
            "description",
            "schema",
            "default_value",
            "is_secret",
            "requires_restart",
            "tenant_visible",
            "tenant_overridable",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["base_version"].initial = self.instance.version
            schema = self.instance.schema
            self.fields["unit"].initial = schema.get(UNIT_KEYWORD, "")
            for name in ("minimum", "maximum", "pattern"):
                self.fields[name].initial = schema.get(name, "")
            self.fields["whole"].initial = schema.get("type") == "integer"
            self.fields["choices"].initial = "\n".join(
                option if isinstance(option, str) else json.dumps(option)
                for option in schema.get("enum", [])
            )
        for name, rows in (("description", 3), ("schema", 8), ("default_value", 3)):
            if name in self.fields:
                self.fields[name].widget.attrs["rows"] = rows
                if name != "description":
                    self.fields[name].widget.attrs.update(MONOSPACED)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        value_type = cleaned.get("value_type") or self.instance.value_type
        default = cleaned.get("default_value")
        if isinstance(default, Unparsed):
            if value_type == ValueType.STRING:
                cleaned["default_value"] = str(default)
            else:
                self.add_error("default_value", "This is no JSON.")
        if "schema" in cleaned and isinstance(cleaned["schema"], dict | None):
            schema = dict(cleaned["schema"] or {})
            # What stands in the schema's own field holds, but for what was typed beside it.
            for name in set(self.changed_data) & KEYWORDS.keys():
                self._put(schema, name, cleaned.get(name), value_type)
            cleaned["schema"] = schema
        return cleaned

    def _put(self, schema: dict[str, Any], name: str, typed: Any, value_type: str) -> None:
        keyword = KEYWORDS[name]
        if typed in ("", None, False):
            schema.pop(keyword, None)
            return
        try:
            if name in ("minimum", "maximum"):
                schema[keyword] = parse_json(typed, name)
            elif name == "whole":
                schema[keyword] = "integer"
            elif name == "choices":
                lines = [line.strip() for line in typed.splitlines() if line.strip()]
                texts = value_type == ValueType.STRING
                schema[keyword] = [line if texts else parse_json(line, name) for line in lines]
            else:
                schema[keyword] = typed
        except InvalidInput as error:
            self.add_error(name, error.errors[0].detail)

    def _get_validation_exclusions(self) -> set[str]:
        # The constraints on these are the operation's to tell, which names the field at fault.
        return super()._get_validation_exclusions() | {"is_secret", "tenant_overridable"}
