"""Analyses that are kept, with their inputs; and one to try."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.flights.airports import airports
from apps.layovers.keeping import Asked, renewed, weights_of
from apps.layovers.models import LayoverAnalysis, LayoverInput
from apps.layovers.operations import invalidate_analyses
from apps.layovers.questions import PARAMETERS, parse_values
from apps.tenants.models import Enterprise
from layoverhq.admin_site import add_refusal
from layoverhq.errors import InvalidInput
from layoverhq.keyset import TextFilter
from layoverhq.model_admin import (
    OperationAdmin,
    PageTab,
    ReadOnly,
    ReasonedChange,
    ReasonForm,
    pill,
)

INVALIDATE = ReasonedChange(
    title="Invalidate",
    done="Invalidated all analyses at the airports of",
    consequence="Every kept analysis at the same airports is void at once, in every process: the"
    " next request makes a new one. Nothing is lost but the time that takes.",
    obstacle=lambda analysis: "",
    operation=lambda chosen: invalidate_analyses(
        airports={each.airport_code for each in chosen}, actor=None
    ),
)


class AirportFilter(TextFilter):
    title = "airport"
    parameter_name = "airport"
    placeholder = "IATA code"
    field = "airport_code"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().matching(queryset, value.upper())


def outdated_by(analysis: LayoverAnalysis) -> list[str]:
    """Return why an entry is answered no longer; empty while it is fresh."""
    reasons = []
    if analysis.expires_at <= timezone.now():
        reasons.append("expired")
    newest = LayoverInput.objects.filter(pk=analysis.airport_code).first()
    if newest:
        reasons += [
            words
            for words, mine, theirs in (
                ("experiences changed", analysis.experiences_version, newest.experiences_version),
                (
                    "weather changed",
                    analysis.weather_version,
                    newest.weather_version if analysis.real_time_weather else 0,
                ),
                ("invalidated", analysis.invalidations, newest.invalidations),
            )
            if mine < theirs
        ]
    return reasons


class ResultTab(PageTab):
    """The analysis: its score by component, and all that it tells."""

    model = LayoverAnalysis
    model_name = "result"
    title = "Result"
    template_name = "admin/layovers/tab_result.html"

    def context(self) -> dict[str, Any]:
        found = LayoverAnalysis.objects.filter(pk=self.object_id).first()
        return {"result": shown(found.analysis_result)} if found else {}


def shown(document: dict[str, Any]) -> dict[str, Any]:
    """Return an analysis for a template, with its text as JSON besides."""
    return {**document, "text": json.dumps(document, indent=2, ensure_ascii=False)}


class TryForm(forms.Form):
    """A layover, in the API's own parameters."""

    HELP: ClassVar[dict[str, str]] = {
        "airport": "IATA code of where the layover is.",
        "arrival": "On the airport's clock, such as 2026-12-01T08:30.",
        "departure": "On the airport's clock; at most 10 days later.",
        "from": "IATA code; empty: from abroad.",
        "to": "IATA code; empty: to abroad.",
        "passport": "Two letters of ISO 3166-1, such as DE.",
        "visa_held": "true where the traveller has the visa that is needed.",
        "self_transfer": "true on separate tickets.",
        "price": "What the journey costs.",
        "best_price": "What the best alternative costs, in the same currency.",
        "duration": "How long the journey takes, such as 18h30m.",
        "best_duration": "How long the best alternative takes.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in PARAMETERS:
            self.fields[name] = forms.CharField(
                required=False,
                max_length=200,
                help_text=self.HELP[name],
                widget=UnfoldAdminTextInputWidget,
            )
        self.fields["enterprise"] = forms.CharField(
            required=False,
            max_length=100,
            help_text="Slug of whose weights hold; empty: the platform's.",
            widget=UnfoldAdminTextInputWidget,
        )
        self.fields["real_time_weather"] = forms.BooleanField(
            required=False,
            initial=True,
            help_text="Ask for the weather, whatever the flag says for the enterprise.",
        )

    asked: Asked

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        tenant = None
        if slug := cleaned.get("enterprise", "").strip():
            tenant = Enterprise.objects.living().filter(slug=slug).first()
            if tenant is None:
                self.add_error("enterprise", "There is no such enterprise.")
                return cleaned
        try:
            texts = {name: cleaned.get(name) or "" for name in PARAMETERS}
            question = parse_values(texts, zones=airports.get(), now=timezone.now())
        except InvalidInput as error:
            add_refusal(self, error)
        else:
            self.asked = Asked(question, weights_of(tenant), bool(cleaned["real_time_weather"]))
        return cleaned


@admin.register(LayoverAnalysis)
class LayoverAnalysisAdmin(ReadOnly, OperationAdmin):
    list_display = (
        "layover",
        "shown_score",
        "confidence_score",
        "hit_count",
        "last_accessed",
        "expires_at",
        "shown_standing",
    )
    list_display_links = ("layover",)
    list_filter = (AirportFilter, "real_time_weather")
    ordering = ("-computed_at",)
    sortable_by = ("hit_count", "last_accessed", "expires_at", "confidence_score")
    actions = ("invalidate_selected",)
    actions_list = ("try_analysis",)
    actions_detail = ("invalidate",)
    change_form_datasets = (ResultTab,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "layover",
                    ("shown_score", "confidence_score"),
                    ("shown_standing", "expires_at"),
                    ("hit_count", "last_accessed"),
                )
            },
        ),
        (
            "Inputs",
            {
                "fields": (
                    "request",
                    "weights",
                    "real_time_weather",
                    ("experiences_version", "weather_version", "invalidations"),
                    "computed_at",
                    "cache_key",
                )
            },
        ),
    )
    readonly_fields = ("layover", "shown_score", "shown_standing")

    def has_invalidate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("layovers.invalidate_layoveranalysis")

    def has_try_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("layovers.view_layoveranalysis")

    @display(description="Layover")
    def layover(self, analysis: LayoverAnalysis) -> str:
        return str(analysis)

    @display(description="Score")
    def shown_score(self, analysis: LayoverAnalysis) -> str:
        result = analysis.analysis_result
        if not result["feasible"]:
            return "infeasible"
        return f"{result['score']} ({result['mode']})"

    @display(description="Standing")
    def shown_standing(self, analysis: LayoverAnalysis) -> SafeString:
        reasons = outdated_by(analysis)
        return pill(", ".join(reasons), "warning") if reasons else pill("fresh", "success")

    @action(description="Invalidate…", permissions=["invalidate"])
    def invalidate_selected(
        self, request: HttpRequest, queryset: QuerySet[LayoverAnalysis]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, INVALIDATE)

    @action(
        description="Invalidate…",
        url_path="invalidate",
        permissions=["invalidate"],
        icon="block",
        variant=ActionVariant.DANGER,
        dialog=INVALIDATE.dialog(),
    )
    def invalidate(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, INVALIDATE)

    @action(description="Try an analysis", permissions=["try"], icon="science", url_path="try")
    def try_analysis(self, request: HttpRequest) -> HttpResponse:
        """Analyse any layover, as an enterprise would be answered, and show of what it is made."""
        form = TryForm(request.POST or None)
        result = None
        if request.method == "POST" and form.is_valid():
            result = shown(json.loads(renewed(form.asked, now=timezone.now()).body))
        return TemplateResponse(
            request,
            "admin/layovers/try_analysis.html",
            {
                **self.admin_site.each_context(request),
                "title": "Try an analysis",
                "opts": self.opts,
                "changelist_url": self.changelist_url(),
                "form": form,
                "result": result,
                "key": form.asked.key if result else "",
                "url": self.change_url(form.asked.key) if result else "",
            },
        )
