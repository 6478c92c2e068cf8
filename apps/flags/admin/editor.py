"""The page that edits a definition: of a new flag, of one that stands, of a draft."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.configs.differences import Line, side_by_side
from apps.flags.admin.known import editor_known, reason_on_page
from apps.flags.admin.telling import served
from apps.flags.admin.verbs import DRAFTED, tell
from apps.flags.definitions import (
    MAXIMUM_RULES,
    blank_definition,
    definition_faults,
    document_of,
)
from apps.flags.merging import merged
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flags.operations import (
    change_flag,
    create_flag,
    draft_change,
    mark_of,
    revise_change,
)
from apps.flags.queries import surroundings
from apps.flags.reach import reached
from layoverhq.admin_site import give_reason
from layoverhq.errors import DomainError, FieldError, InvalidInput, StaleVersion
from layoverhq.strict_json import parse_value
from layoverhq.tenancy import OPERATOR

T = TypeVar("T")

MAXIMUM_CHARACTERS = 2_000_000
SEE_BELOW = "Nothing was saved: these places have to be mended."
ValueType = FeatureFlag.ValueType


class DefinitionForm(forms.Form):
    """A definition as JSON, which the page lays out; and why."""

    definition = forms.CharField(
        strip=False,
        max_length=MAXIMUM_CHARACTERS,
        widget=UnfoldAdminTextareaWidget(
            attrs={
                "rows": 24,
                "spellcheck": "false",
                "style": "font-family: ui-monospace, monospace",
                "aria-label": "The definition as JSON",
            }
        ),
    )
    base_version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    # Of a draft: when it was last changed.
    seen = forms.CharField(widget=forms.HiddenInput, required=False)
    reason = reason_on_page()
    faults: tuple[FieldError, ...] = ()
    """What was refused of places inside the definition."""

    def clean_definition(self) -> Any:
        text = self.cleaned_data["definition"]
        try:
            return parse_value(text, "definition")
        except InvalidInput as error:
            raise ValidationError(error.errors[0].detail) from error

    def again(self, **fields: Any) -> None:
        """Have the page show other values of these fields, and all else as it was typed."""
        self.data = {**self.data.dict(), **fields}

    def attempt(self, operation: Callable[..., T], **arguments: Any) -> T | None:
        """Run an operation on the definition; what it refuses stands here. Raises StaleVersion."""
        reason = self.cleaned_data["reason"]
        give_reason(reason)
        try:
            with transaction.atomic(using=OPERATOR):
                return operation(
                    definition=self.cleaned_data["definition"], reason=reason, **arguments
                )
        except StaleVersion:
            raise
        except DomainError as error:
            own = self.fields.keys() - {"definition"}
            self.faults = tuple(fault for fault in error.errors if fault.field not in own)
            for fault in error.errors:
                if fault.field in own:
                    self.add_error(fault.field, fault.detail)
            if self.faults or not error.errors:
                self.add_error(None, SEE_BELOW if self.faults else error.detail)
            return None


class NewFlagForm(DefinitionForm):
    """What never changes afterwards, besides."""

    name = forms.CharField(
        max_length=100,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "enhanced_search"}),
        help_text="What code asks for; never changes.",
    )
    value_type = forms.ChoiceField(
        label="Type of its values",
        choices=ValueType.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="Never changes.",
    )
    field_order = ("name", "value_type")


class EditorPages:
    """The pages of the editor, of an admin that says where they lead back to."""

    def add_flag(self, request: HttpRequest) -> HttpResponse:
        """Make a flag."""
        initial = {
            "definition": written(blank_definition(ValueType.BOOLEAN)),
            "value_type": ValueType.BOOLEAN.value,
        }
        form = NewFlagForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            fixed = {name: form.cleaned_data[name] for name in ("name", "value_type")}
            if made := form.attempt(create_flag, actor=request.user, **fixed):
                return tell(request, made, "Made {}.")
        return self._editor(request, form, "Add a flag", None)

    def edit_flag(self, request: HttpRequest, flag: FeatureFlag) -> HttpResponse:
        """Edit what holds: to publish at once, or to draft."""
        document = document_of(flag)
        initial = {"definition": written(document), "base_version": flag.version}
        context: dict[str, Any] = {}
        draft = flag.versions.filter(number=_number(request.GET.get("from"))).first()
        if draft:
            both, context = together(flag, draft.base_number, document, draft.definition)
            initial |= {"definition": written(both), "reason": draft.reason}
        form = DefinitionForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            publish = "publish" in request.POST
            if publish and not self.has_publish_permission(request):  # type: ignore[attr-defined]
                raise PermissionDenied
            try:
                arguments = {
                    "flag": flag,
                    "base_version": form.cleaned_data["base_version"] or 0,
                    "actor": request.user,
                }
                if publish:
                    made = form.attempt(change_flag, **arguments)
                else:
                    drawn_from = [draft] if draft else []
                    made = form.attempt(draft_change, drawn_from=drawn_from, **arguments)
            except StaleVersion as error:
                form.add_error(None, error.detail)
                cleaned = form.cleaned_data
                both, context = together(
                    flag, cleaned["base_version"], document, cleaned["definition"]
                )
                # Whoever sends the form again has seen the differences.
                form.again(definition=written(both), base_version=flag.version)
            else:
                if made:
                    return tell(request, made, "Published {}." if publish else DRAFTED)
        return self._editor(request, form, f"Edit {flag}", flag, **context)

    def edit_draft(self, request: HttpRequest, version: FlagVersion) -> HttpResponse:
        """Edit what waits; an approval is asked for again."""
        initial = {
            "definition": written(version.definition),
            "reason": version.reason,
            "seen": mark_of(version),
        }
        form = DefinitionForm(request.POST or None, initial=initial)
        context: dict[str, Any] = {}
        if request.method == "POST" and form.is_valid():
            seen = form.cleaned_data["seen"]
            try:
                made = form.attempt(revise_change, version=version, actor=request.user, seen=seen)
            except StaleVersion as error:
                form.add_error(None, error.detail)
                standing = FlagVersion.objects.get(pk=version.pk)
                lines = side_by_side(standing.definition, form.cleaned_data["definition"], around=2)
                context = {"differences": [("What you would change of it", lines)]}
                form.again(seen=mark_of(standing))
            else:
                if made:
                    return tell(request, made, "Saved {} as a draft.")
        return self._editor(
            request, form, f"Edit {version}", version.flag, version=version, **context
        )

    def _editor(
        self,
        request: HttpRequest,
        form: DefinitionForm,
        title: str,
        flag: FeatureFlag | None,
        version: FlagVersion | None = None,
        **context: Any,
    ) -> HttpResponse:
        check_url = (
            reverse("admin:flags_featureflag_check", args=[flag.pk])
            if flag
            else reverse("admin:flags_featureflag_check_new")
        )
        known = editor_known(flag, check_url)
        may_publish = self.has_publish_permission(request)  # type: ignore[attr-defined]
        return TemplateResponse(
            request,
            "admin/flags/editor.html",
            {
                **self.admin_site.each_context(request),  # type: ignore[attr-defined]
                "title": title,
                "opts": self.opts,  # type: ignore[attr-defined]
                "form": form,
                "flag": flag,
                "version": version,
                "known": known,
                "faults": [{"field": fault.field, "detail": fault.detail} for fault in form.faults],
                "may_publish": may_publish
                and flag is not None
                and version is None
                and not flag.is_protected,
                "back_url": self.back_url(version or flag),  # type: ignore[attr-defined]
                **context,
            },
        )


class CheckPage:
    """What the editor asks while somebody types; of the flags' admin."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view  # type: ignore[attr-defined]
        own = [
            path("check/", wrap(self.check_definition), name="flags_featureflag_check_new"),
            path(
                "<uuid:object_id>/check/",
                wrap(self.check_definition),
                name="flags_featureflag_check",
            ),
        ]
        return [*own, *super().get_urls()]  # type: ignore[misc]

    def check_definition(self, request: HttpRequest, object_id: Any = None) -> HttpResponse:
        """Answer the editor while somebody types: what is refused, and whom it would reach."""
        if not (self.has_edit_permission(request) or self.has_add_permission(request)):  # type: ignore[attr-defined]
            raise PermissionDenied
        flag = self.find(object_id) if object_id else None  # type: ignore[attr-defined]
        form = DefinitionForm({**request.POST.dict(), "reason": "checked only"})
        if not form.is_valid():
            told = " ".join(form.errors.get("definition", ["There is none."]))
            fault = {"field": "definition", "detail": told}
            return JsonResponse({"faults": [fault], "reach": {}, "told": ""})
        document = form.cleaned_data["definition"]
        name = flag.name if flag else request.POST.get("name", "").replace("\x00", "")
        value_type = flag.value_type if flag else request.POST.get("value_type", "")
        faults = definition_faults(
            document,
            name=name,
            value_type=value_type if value_type in ValueType.values else ValueType.BOOLEAN,
            around=surroundings(name),
            standing=document_of(flag) if flag else None,
        )
        return JsonResponse(
            {
                "faults": [{"field": each.field, "detail": each.detail} for each in faults],
                "reach": reach_of(document, flag.salt if flag else name),
                "told": ""
                if faults
                else " ".join(served(flag or FeatureFlag(name=name), document)),
            }
        )


def together(
    flag: FeatureFlag, base_number: int | None, now: dict[str, Any], yours: Any
) -> tuple[Any, dict[str, Any]]:
    """Return a definition that was edited from an older version with what changed since brought
    in, and what the page shows of that."""
    version = flag.versions.filter(number=base_number).first()
    base = version.definition if version else {}
    both, brought, clashing = (
        merged(base, now, yours) if isinstance(yours, dict) else (yours, [], [])
    )
    differences: list[tuple[str, list[Line]]] = [
        ("What was changed meanwhile", side_by_side(base, now, around=2)),
        ("What you would change now", side_by_side(now, both, around=2)),
    ]
    return both, {"differences": differences, "brought": brought, "clashing": clashing}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def reach_of(document: Any, salt: str) -> dict[str, str]:
    """Return whom each rollout of a definition reaches: by the rule's place, "" its own."""
    try:
        # What has more of them is refused, and each is counted for by itself.
        rules = document["rules"][:MAXIMUM_RULES]
        rollouts = {f"rules[{place}]": rule["rollout"] for place, rule in enumerate(rules)}
        own = document["rollout_percentage"]
        unit = str(document["bucketing_unit"])
    except (KeyError, TypeError):
        return {}
    whole = {place: rollout for place, rollout in rollouts.items() if type(rollout) is int}
    if type(own) is int:
        whole[""] = own * 100
    told = reached(unit, salt, whole.values())
    return {place: told.get(rollout, "") for place, rollout in whole.items()}


def written(document: Any) -> str:
    """Return a definition as JSON to edit."""
    return json.dumps(document, ensure_ascii=False, indent=2)
