"""The page that changes a key's value: for the platform, for one tenant, or for many."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.configs.admin.fields import Typed, ValueField
from apps.configs.differences import NOTHING, Line, side_by_side
from apps.configs.models import ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import OPEN_STAGES, UNSET, Proposal, active_versions
from apps.tenants.models import Enterprise, Plan
from layoverhq.model_admin import ReasonForm

NEW_SET = ""
MAXIMUM_TENANTS = 10_000


class ChangeForm(forms.Form):
    """What every change asks for besides the value: why, until when, and in which set."""

    clear = forms.BooleanField(
        label="Clear the value",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="From then on there is none at this level, and the next one holds.",
    )
    reason = ReasonForm.base_fields["reason"]
    expires_at = forms.DateTimeField(
        label="Until (UTC)",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
        help_text="When published now: what held before comes back then. Empty: for good.",
    )
    change_set = forms.ChoiceField(
        label="Change set",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="What is drafted together is published together.",
    )

    def __init__(self, *args: Any, key: ConfigKey, initial_value: Any = NOTHING, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.key = key
        self.fields["value"] = ValueField(key)
        if initial_value is not NOTHING and not key.is_secret:
            self.fields["value"].initial = Typed(initial_value)
        self.fields["change_set"].choices = [
            (NEW_SET, "A new one"),
            *(
                (str(pk), title)
                for pk, title in ConfigChangeSet.objects.filter(stage__in=OPEN_STAGES)
                .order_by("-created_at")
                .values_list("pk", "title")[:50]
            ),
        ]
        self.order_fields(["value", "clear"])

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("clear"):
            # What else stands in the field does not matter then.
            self.errors.pop("value", None)
            cleaned["value"] = UNSET
        if (until := cleaned.get("expires_at")) and until <= timezone.now():
            self.add_error("expires_at", "Lies in the past.")
        return cleaned

    @property
    def chosen_set(self) -> ConfigChangeSet | None:
        chosen = self.cleaned_data.get("change_set")
        return ConfigChangeSet.objects.get(pk=chosen) if chosen else None


class ValueForm(ChangeForm):
    """One level: the platform's value, or one tenant's."""

    base_version = forms.IntegerField(widget=forms.HiddenInput)


class ManyTenantsForm(ChangeForm):
    """The same value for many tenants."""

    tenants = forms.CharField(
        label="Tenants",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "placeholder": "acme\nglobex"}),
        help_text="Slugs, with commas, spaces or line ends between.",
    )
    plans = forms.MultipleChoiceField(
        label="And all of these plans",
        required=False,
        choices=Plan.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields(["tenants", "plans", "value", "clear"])
        self.enterprises: list[Enterprise] = []

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        slugs = set(re.split(r"[\s,;]+", cleaned.get("tenants", "").strip())) - {""}
        if not slugs and not cleaned.get("plans"):
            raise ValidationError({"tenants": "Name tenants, or choose a plan."})
        living = Enterprise.objects.living()
        named = list(living.filter(slug__in=slugs))
        if unknown := sorted(slugs - {enterprise.slug for enterprise in named}):
            shown = ", ".join(f"“{slug}”" for slug in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise ValidationError({"tenants": f"There is no {shown}{more}."})
        by_plan: QuerySet[Enterprise] = living.filter(subscription_plan__in=cleaned["plans"])
        chosen = {enterprise.pk: enterprise for enterprise in [*named, *by_plan]}
        if len(chosen) > MAXIMUM_TENANTS:
            raise ValidationError({"tenants": f"At most {MAXIMUM_TENANTS:,} at once."})
        if not chosen:
            raise ValidationError({"plans": "No tenant has one of these plans."})
        self.enterprises = sorted(chosen.values(), key=lambda enterprise: enterprise.name)
        return cleaned


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change would do to one tenant."""

    enterprise: Enterprise
    before: Any
    same: bool


def effects(key: ConfigKey, enterprises: list[Enterprise], value: Any) -> list[Effect]:
    """Return what each tenant has of its own now; equal values would change nothing."""
    standing = active_versions((key.pk, enterprise.pk) for enterprise in enterprises)
    found = []
    for enterprise in enterprises:
        version = standing.get((key.pk, enterprise.pk))
        before = stored(version)
        same = not key.is_secret and (before is NOTHING if value is UNSET else before == value)
        found.append(Effect(enterprise, before, same))
    return found


def stored(version: SystemConfig | None) -> Any:
    """Return a version's value as it is stored, NOTHING where there is none."""
    return NOTHING if version is None or version.unset else version.value


def meanwhile(
    key: ConfigKey, enterprise: Enterprise | None, seen: int, proposed: Any
) -> list[tuple[str, list[Line]]]:
    """Return the differences that a stale editor has to see: theirs, and then yours."""
    if key.is_secret:
        return []
    versions = SystemConfig.objects.of(key.pk, enterprise.pk if enterprise else None)
    before = stored(versions.filter(version=seen).first())
    now = stored(versions.filter(is_active=True).first())
    yours = NOTHING if proposed is UNSET else proposed
    return [
        ("What was changed meanwhile", side_by_side(before, now)),
        ("What you would change now", side_by_side(now, yours)),
    ]


def proposals(form: ChangeForm, enterprises: list[Enterprise | None]) -> list[Proposal]:
    """Return what the form asks for."""
    cleaned = form.cleaned_data
    return [
        Proposal(form.key.pk, cleaned["value"], enterprise, cleaned.get("base_version"))
        for enterprise in enterprises
    ]


def tenant_asked(request: HttpRequest) -> Enterprise | None:
    """Return the tenant that the address names. Raises Enterprise.DoesNotExist."""
    slug = request.GET.get("tenant", "")
    return Enterprise.objects.living().get(slug=slug) if slug else None
