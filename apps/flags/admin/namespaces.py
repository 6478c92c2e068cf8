"""Namespaces: what is held out of them, and which flag has which range."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.audit.history import HistoryTab
from apps.flags.admin.known import FewLines, reason_on_page
from apps.flags.admin.verbs import flag_url
from apps.flags.models import BASIS_POINTS, FlagNamespace
from apps.flags.segment_operations import (
    delete_namespace,
    mark_of_namespace,
    save_namespace,
)
from layoverhq.admin_site import give_reason
from layoverhq.model_admin import OperationAdmin


class NamespaceForm(forms.ModelForm):
    """A namespace; its holdout in per cent."""

    holdout = forms.DecimalField(
        label="Held out (%)",
        min_value=0,
        max_value=100,
        decimal_places=2,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="No flag of the namespace gets them: they stay as they are, to compare with.",
    )
    reason = reason_on_page()
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = FlagNamespace
        fields = ("name", "description", "holdout")
        widgets: ClassVar[dict[str, Any]] = {"description": FewLines}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.initial["seen"] = mark_of_namespace(self.instance)
        self.initial["holdout"] = f"{self.instance.holdout / 100:g}"

    def clean_holdout(self) -> int:
        share: Decimal = self.cleaned_data["holdout"]
        return int(share * 100)


@admin.register(FlagNamespace)
class FlagNamespaceAdmin(OperationAdmin):
    form = NamespaceForm
    list_display = ("name", "description", "held_out", "ranges")
    search_fields = ("name", "description")
    actions = None
    change_form_datasets = (HistoryTab.of(FlagNamespace),)
    fields = ("name", "description", "holdout", "ranges", "reason", "seen")

    class Media:
        css = {"all": ("flags/editor.css",)}  # noqa: RUF012 - as Django has it

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("name", "ranges") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else [name for name in self.fields if name != "ranges"]

    @display(description="Held out")
    def held_out(self, namespace: FlagNamespace) -> str:
        return f"{namespace.holdout / 100:g} %"

    @display(description="Ranges")
    def ranges(self, namespace: FlagNamespace) -> SafeString:
        """Draw who has which buckets."""
        flags = namespace.flags.filter(is_archived=False).order_by("namespace_low")
        shares = [
            {
                "title": flag.name,
                "url": flag_url(flag.pk),
                **_share(flag.namespace_low or 0, flag.namespace_high or 0),
                "kind": "taken",
            }
            for flag in flags
        ]
        if namespace.holdout:
            ends = _share(BASIS_POINTS - namespace.holdout, BASIS_POINTS)
            shares.append({"title": "held out", **ends, "kind": "held"})
        return render_to_string("admin/flags/ranges.html", {"shares": shares})

    def save_model(self, request: HttpRequest, obj: FlagNamespace, form: Any, change: bool) -> None:
        give_reason(form.cleaned_data["reason"])
        saved = save_namespace(
            namespace=obj,
            seen=form.cleaned_data["seen"],
            actor=request.user,  # type: ignore[arg-type]
        )
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: FlagNamespace) -> None:
        delete_namespace(namespace=obj)


def _share(low: int, high: int) -> dict[str, str]:
    """Return the ends and the width of a range in per cent, as styles and people take them."""
    ends = {"left": low, "right": high, "width": high - low}
    return {name: f"{points / 100:g}" for name, points in ends.items()}
