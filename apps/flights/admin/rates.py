"""Exchange rates as operators see them: how old they are, how they move, and how they come in."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.flights.ecb import table_of
from apps.flights.models import ExchangeRate, ExchangeRateFetch
from apps.flights.rate_operations import KEPT_DAYS, RateChanges, enter_rate, load_rates, rate_faults
from apps.flights.rates import maximum_age_days
from apps.flights.tasks import fetch_exchange_rates
from layoverhq.admin_site import give_reason, go_to
from layoverhq.errors import InvalidInput
from layoverhq.keyset import TextFilter
from layoverhq.model_admin import OperationAdmin, PageTab, ReadOnly, ReasonForm, enqueue, pill

CHART_DAYS = 90
CHANGES_SHOWN = 50
TONES = {"ecb": "success", "file": "info", "manual": "warning"}


class CurrencyFilter(TextFilter):
    title = "currency"
    parameter_name = field = "currency"
    placeholder = "ISO 4217, such as USD"

    def matching(self, queryset: Any, value: str) -> Any:
        return super().matching(queryset, value.upper())


class CourseTab(PageTab):
    """How the currency moved."""

    model = ExchangeRate
    model_name = "course"
    template_name = "admin/rate_course.html"

    def context(self) -> dict[str, Any]:
        rate = ExchangeRate.objects.get(pk=self.object_id)
        days = list(
            ExchangeRate.objects.filter(currency=rate.currency).order_by("-rate_date")[:CHART_DAYS]
        )[::-1]
        return {
            "rate": rate,
            "days": len(days),
            "lowest": min(days, key=lambda day: day.per_euro),
            "highest": max(days, key=lambda day: day.per_euro),
            "chart": json.dumps(
                {
                    "labels": [day.rate_date.isoformat() for day in days],
                    "datasets": [
                        {
                            "label": f"{rate.currency} for one euro",
                            "data": [float(day.per_euro) for day in days],
                            "borderColor": "var(--color-primary-600)",
                        }
                    ],
                }
            ),
            "options": json.dumps({"scales": {"y": {"beginAtZero": False}}}),
        }


class ConfirmFetch(BaseDialogForm):
    """Nothing to fill in: the dialog is there so that the change is a POST."""


class EnterForm(ReasonForm):
    consequence = (
        "Offers in this currency are priced by the newest rate. What the ECB tells of the same day"
        " later takes the place of what is entered here."
    )
    currency = forms.CharField(
        max_length=3, widget=UnfoldAdminTextInputWidget, help_text="ISO 4217, such as USD."
    )
    rate_date = forms.DateField(
        label="Day", widget=UnfoldAdminSingleDateWidget, help_text="Today at the latest."
    )
    per_euro = forms.DecimalField(
        max_digits=20,
        decimal_places=10,
        label="For one euro",
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Units of the currency that one euro is worth.",
    )
    field_order = ("currency", "rate_date", "per_euro", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            cleaned["currency"] = cleaned["currency"].upper()
            for fault in rate_faults(**self.told(), now=timezone.now()):
                self.add_error(fault.field, fault.detail)
        return cleaned

    def told(self) -> dict[str, Any]:
        """Return the rate as operations take it."""
        filled = self.cleaned_data
        return {
            "currency": filled["currency"],
            "day": filled["rate_date"],
            "per_euro": filled["per_euro"],
        }


class FileForm(forms.Form):
    """The ECB's history file; `changes` is what it would change."""

    text = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    file = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.xml,.zip"}),
        help_text="A CSV or XML of the European Central Bank's, such as eurofxref-hist.zip, as it"
        f" offers them for download. The last {KEPT_DAYS} days of it are taken.",
    )

    changes: RateChanges
    table: bytes
    data: Any

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        file = cleaned.get("file")
        self.table = file.read() if file else cleaned.get("text", "").encode()
        if not self.table:
            self.add_error("file", "Choose a file.")
            return cleaned
        try:
            self.changes = load_rates(table=self.table, now=timezone.now(), dry_run=True)
        except InvalidInput as error:
            self.add_error("file", " ".join(fault.detail for fault in error.errors))
        return cleaned


class ConfirmForm(forms.Form):
    reason = forms.CharField(
        min_length=3,
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the audit log with your name.",
    )


@admin.register(ExchangeRate)
class ExchangeRateAdmin(ReadOnly, OperationAdmin):
    list_display = ("rate_date", "currency", "shown_rate", "shown_source", "noted_at")
    list_display_links = ("rate_date", "currency")
    list_filter = (CurrencyFilter, "source")
    ordering = ("-rate_date", "currency")
    sortable_by = ()
    actions = None
    actions_list = ("fetch_now", "enter", "load_file")
    list_before_template = "admin/rates_standing.html"
    change_form_datasets = (CourseTab,)
    fields = ("currency", "rate_date", "shown_rate", "shown_source", "noted_at")
    readonly_fields = ("shown_rate", "shown_source")

    def has_enter_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.add_exchangerate")

    def has_fetch_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.fetch_exchangerate")

    @display(description="For one euro")
    def shown_rate(self, rate: ExchangeRate) -> str:
        return f"{rate.per_euro.normalize():f} {rate.currency}"

    @display(description="Source")
    def shown_source(self, rate: ExchangeRate) -> Any:
        return pill(ExchangeRate.Source(rate.source).label, TONES[rate.source])

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        newest = ExchangeRate.objects.order_by("-rate_date").first()
        today = timezone.now().date()
        limit = maximum_age_days()
        age = (today - newest.rate_date).days if newest else None
        standing = {
            "newest": newest,
            "age": age,
            "limit": limit,
            "stale": age is None or age > limit,
            # Easter is the longest time without rates: from Thursday to Tuesday.
            "late": age is not None and age > 5,
            "old": list(
                ExchangeRate.objects.values("currency")
                .annotate(newest=Max("rate_date"))
                .filter(newest__lt=today - timedelta(days=limit))
                .order_by("currency")
            ),
            "fetch": ExchangeRateFetch.objects.order_by("-id").first(),
        }
        return super().changelist_view(request, {**(extra_context or {}), "standing": standing})

    @action(
        description="Fetch now",
        url_path="fetch",
        permissions=["fetch"],
        icon="cloud_download",
        dialog=ActionDialog(
            title="Fetch now",
            description="Queues the task that asks the European Central Bank for its rates: the"
            " last day, or the last ninety days if some are missing.",
            form_class=ConfirmFetch,
            form_submit_text="Queue it",
        ),
    )
    def fetch_now(self, request: HttpRequest, form: ConfirmFetch) -> HttpResponse:
        enqueue(fetch_exchange_rates.name)
        messages.success(request, "Queued the fetch; reload in a minute to see what came of it.")
        return go_to(request, self.changelist_url())

    @action(
        description="Enter a rate",
        url_path="enter",
        permissions=["enter"],
        icon="edit",
        dialog=ActionDialog(
            title="Enter a rate",
            description="",
            form_class=EnterForm,
            form_submit_text="Enter it",
        ),
    )
    def enter(self, request: HttpRequest, form: EnterForm) -> HttpResponse:
        give_reason(form.cleaned_data["reason"])
        rate = enter_rate(**form.told(), now=timezone.now())
        messages.success(
            request, f"One euro is {self.shown_rate(rate)} on {rate.rate_date}, as you say."
        )
        return go_to(request, self.changelist_url())

    @action(description="Load a file", url_path="load", permissions=["enter"], icon="upload")
    def load_file(self, request: HttpRequest) -> HttpResponse:
        """Read the file, show what it would change, and change just that."""
        form = FileForm(request.POST or None, request.FILES or None)
        confirmation = ConfirmForm(request.POST if "confirmed" in request.POST else None)
        valid = request.method == "POST" and form.is_valid()
        if valid and "confirmed" in request.POST and confirmation.is_valid():
            give_reason(confirmation.cleaned_data["reason"])
            changes = load_rates(table=form.table, now=timezone.now(), dry_run=False)
            messages.success(
                request, f"{changes.count} rates changed; the newest is of {changes.newest}."
            )
            return go_to(request, self.changelist_url())
        return TemplateResponse(
            request,
            "admin/rates_file.html",
            {
                **self.admin_site.each_context(request),
                "title": "Load exchange rates from a file",
                "opts": self.opts,
                "form": form,
                "confirmation": confirmation,
                "changes": form.changes if valid else None,
                "shown": (
                    [*form.changes.changed, *form.changes.new][:CHANGES_SHOWN] if valid else ()
                ),
                "text": table_of([*form.changes.new, *form.changes.changed]) if valid else "",
                "changelist_url": self.changelist_url(),
            },
        )
