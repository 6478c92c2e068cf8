"""What the rule builder and the editor know: operators, segments, flags, namespaces, people."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from django import forms
from django.forms import Script
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.flags.definitions import blank_definition
from apps.flags.models import FeatureFlag, FlagNamespace, FlagSegment
from apps.flags.queries import operators
from apps.flags.words import OPERATORS
from layoverhq.model_admin import ReasonForm

# What contexts usually have; the editor takes any other name too.
ATTRIBUTES = ("user", "enterprise", "plan", "country", "language", "app_version", "device.os")


def conditions_known() -> dict[str, Any]:
    """Return what the rule builder offers."""
    return {
        "operators": [
            {"op": op, "words": words.replace(" …", ""), "input": kind}
            for op, (words, kind) in OPERATORS.items()
        ],
        "segments": list(FlagSegment.objects.values_list("name", flat=True)),
        "attributes": ATTRIBUTES,
    }


def editor_known(flag: FeatureFlag | None, check_url: str) -> dict[str, Any]:
    """Return what the editor of definitions offers."""
    others = FeatureFlag.objects.filter(is_archived=False)
    namespaces: dict[str, Any] = {
        namespace.name: {"holdout": namespace.holdout, "ranges": []}
        for namespace in FlagNamespace.objects.all()
    }
    for each in others.exclude(namespace=None).select_related("namespace"):
        namespaces[each.namespace.name]["ranges"].append(  # type: ignore[union-attr]
            {"flag": each.name, "low": each.namespace_low, "high": each.namespace_high}
        )
    return {
        **conditions_known(),
        "name": flag.name if flag else None,
        "value_type": flag.value_type if flag else None,
        "flags": {
            name: [variant["key"] for variant in variants]
            for name, variants in others.values_list("name", "variants")
            if flag is None or name != flag.name
        },
        "namespaces": namespaces,
        "owners": [
            (str(pk), email)
            for pk, email in operators().order_by("email").values_list("pk", "email")
        ],
        "blank": {kind: blank_definition(kind) for kind in FeatureFlag.ValueType.values},
        "check_url": check_url,
    }


class FewLines(UnfoldAdminTextareaWidget):  # type: ignore[misc]
    """A text of a line or two."""

    def __init__(self) -> None:
        super().__init__(attrs={"rows": 2})


def reason_on_page() -> Any:
    """Return the field of a reason for the end of a page: it must not take the focus there."""
    field = deepcopy(ReasonForm.base_fields["reason"])
    field.widget.attrs.pop("autofocus")
    return field


class ConditionsWidget(UnfoldAdminTextareaWidget):  # type: ignore[misc]
    """The rule builder over a field of JSON, which `check_url` checks while somebody edits."""

    template_name = "flags/conditions_widget.html"

    def __init__(self, check_url: str) -> None:
        super().__init__(attrs={"rows": 10, "spellcheck": "false"})
        self.check_url = check_url

    @property
    def media(self) -> forms.Media:
        return forms.Media(
            css={"all": ["flags/editor.css"]}, js=[Script("flags/widget.js", type="module")]
        )

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        context["known"] = conditions_known()
        context["known_id"] = f"{context['widget']['attrs'].get('id', name)}-known"
        context["widget"]["attrs"]["data-conditions"] = self.check_url
        return context
