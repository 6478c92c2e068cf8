"""A provider's page: how it stands and why, what can be done about it, how it went of late."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.audit.history import HistoryTab
from apps.flights.providers.admin.fetching import FETCH_TOLD, JourneyForm, fetch_now, fetch_url
from apps.flights.providers.credentials import KEYS
from apps.flights.providers.models import FlightProvider, ProviderFetch, ProviderRoute
from apps.flights.providers.operations import (
    close_circuit,
    pause_provider,
    resume_provider,
    save_provider,
)
from apps.flights.providers.queries import (
    Situation,
    Standing,
    fetch_history,
    freshness,
    minute_quota,
    requests_today,
    situation,
)
from layoverhq.admin_site import give_reason, go_to
from layoverhq.model_admin import OperationAdmin, PageTab, ReasonForm, pill

WORDS: dict[Standing, tuple[str, str]] = {
    Standing.PAUSED: ("paused", "warning"),
    Standing.NO_CREDENTIALS: ("no credentials", "warning"),
    Standing.OPEN: ("open circuit", "danger"),
    Standing.THROTTLED: ("throttled", "warning"),
    Standing.DEGRADED: ("degraded", "warning"),
    Standing.UNUSED: ("not asked yet", ""),
    Standing.HEALTHY: ("healthy", "success"),
}
FETCHES_SHOWN = 20
SPANS: dict[str, tuple[str, timedelta, str, timedelta]] = {
    "day": ("24 hours", timedelta(hours=24), "hour", timedelta(hours=1)),
    "month": ("30 days", timedelta(days=30), "day", timedelta(days=1)),
}
CHART = {
    "responsive": True,
    "maintainAspectRatio": False,
    "animation": False,
    "scales": {"x": {"stacked": True}, "y": {"stacked": True, "beginAtZero": True}},
    "plugins": {"legend": {"display": True, "position": "bottom"}},
}


def fetches_url(provider: FlightProvider, **filters: str) -> str:
    """Return the log of a provider."""
    query = "".join(f"&{name}={value}" for name, value in filters.items())
    return f"{reverse('admin:flights_providerfetch_changelist')}?provider={provider.name}{query}"


class SuccessTab(PageTab):
    """Fetches over time, by how they ended."""

    model = FlightProvider
    model_name = "success"
    title = "Success"
    template_name = "admin/flights/tab_provider_success.html"

    def context(self) -> dict[str, Any]:
        chosen = self.request.GET.get("span", "")
        words, span, step, width = SPANS[chosen if chosen in SPANS else "day"]
        until = timezone.now()
        first = _floor(until - span, step)
        history = fetch_history(self.object_id, since=first, step=step)
        slots = [first + width * number for number in range((until - first) // width + 1)]
        done = [history.get(slot, (0, 0))[0] for slot in slots]
        failed = [history.get(slot, (0, 0))[1] for slot in slots]
        form = "%H:00" if step == "hour" else "%m-%d"
        chart = {
            "labels": [slot.strftime(form) for slot in slots],
            "datasets": [
                {"label": "done", "data": done, "backgroundColor": "#059669"},
                {"label": "failed", "data": failed, "backgroundColor": "#dc2626"},
            ],
        }
        return {
            "spans": [(name, SPANS[name][0], SPANS[name][0] == words) for name in SPANS],
            "words": words,
            "chart": json.dumps(chart),
            "options": json.dumps(CHART),
            "done": sum(done),
            "failed": sum(failed),
            "causes": _causes(self.object_id, first),
            "provider": FlightProvider.objects.get(pk=self.object_id),
        }


def _floor(at: datetime, step: str) -> datetime:
    at = at.replace(minute=0, second=0, microsecond=0)
    return at if step == "hour" else at.replace(hour=0)


def _causes(provider_id: str, since: datetime) -> list[tuple[str, int]]:
    failed = ProviderFetch.objects.filter(
        provider=provider_id, created_at__gte=since, status=ProviderFetch.Status.FAILED
    )
    rows = failed.order_by().values_list("error_code").annotate(number=Count("pk"))
    return list(rows.order_by("-number", "error_code"))


class FetchesTab(PageTab):
    """The latest fetches."""

    model = FlightProvider
    model_name = "fetches"
    title = "Fetches"
    template_name = "admin/flights/tab_provider_fetches.html"

    def context(self) -> dict[str, Any]:
        provider = FlightProvider.objects.get(pk=self.object_id)
        latest = ProviderFetch.objects.filter(provider=provider).select_related("enterprise")
        return {
            "fetches": [(each, fetch_url(each.pk)) for each in latest[:FETCHES_SHOWN]],
            "all_url": fetches_url(provider),
        }


class PlanTab(PageTab):
    """The provider's rows of the pull plan."""

    model = FlightProvider
    model_name = "plan"
    title = "Pull plan"
    template_name = "admin/flights/tab_provider_plan.html"

    def context(self) -> dict[str, Any]:
        provider = FlightProvider.objects.get(pk=self.object_id)
        routes = list(
            ProviderRoute.objects.filter(provider=provider)
            .select_related("enterprise")
            .order_by("origin", "destination")[:100]
        )
        fresh = freshness([route.pk for route in routes], now=timezone.now())
        changelist = reverse("admin:flights_providerroute_changelist")
        return {
            "rows": [
                {
                    "route": route,
                    "fresh": fresh.get(route.pk),
                    "url": reverse("admin:flights_providerroute_change", args=[route.pk]),
                }
                for route in routes
            ],
            "all_url": f"{changelist}?provider__id__exact={provider.pk}",
            "add_url": f"{reverse('admin:flights_providerroute_add')}?provider={provider.pk}",
        }


class ProviderForm(forms.ModelForm):
    name = forms.CharField(
        max_length=50,
        widget=UnfoldAdminTextInputWidget,
        help_text=FlightProvider._meta.get_field("name").help_text,
    )
    base_url = forms.CharField(
        label="Address",
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text=FlightProvider._meta.get_field("base_url").help_text,
    )
    market = forms.CharField(
        max_length=2,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=FlightProvider._meta.get_field("market").help_text,
    )
    currency = forms.CharField(
        max_length=3,
        initial="USD",
        widget=UnfoldAdminTextInputWidget,
        help_text=FlightProvider._meta.get_field("currency").help_text,
    )

    class Meta:
        model = FlightProvider
        fields: ClassVar[list[str]] = [
            "name",
            "kind",
            "base_url",
            "priority",
            "quota_per_minute",
            "quota_per_day",
            "market",
            "currency",
        ]


class PauseForm(ReasonForm):
    consequence = (
        "Nothing is fetched from it until it is resumed. Offers that stand stay until they depart "
        "or expire."
    )
    until = forms.DateTimeField(
        label="Until (UTC)",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
        help_text="Empty: until somebody resumes it.",
    )
    field_order = ("reason", "until")


class ResumeForm(ReasonForm):
    consequence = "Its plan is followed again, from the next minute on."


class CircuitForm(ReasonForm):
    consequence = (
        "It is asked again at once, although it failed again and again; if it still does, it is "
        "left alone again."
    )


@admin.register(FlightProvider)
class FlightProviderAdmin(OperationAdmin):
    form = ProviderForm
    list_display = (
        "name",
        "standing",
        "told",
        "used_today",
        "used_minute",
        "last_success_at",
        "shown_error",
        "priority",
    )
    list_filter = ("kind",)
    search_fields = ("name",)
    actions = None
    actions_detail = ("fetch", "pause", "resume", "close_circuit")
    change_form_datasets = (PlanTab, FetchesTab, SuccessTab, HistoryTab.of(FlightProvider))
    change_form_outer_before_template = "admin/flights/provider_summary.html"
    fieldsets = (
        (None, {"fields": (("name", "kind"), "base_url")}),
        ("Quotas", {"fields": (("quota_per_minute", "quota_per_day"), "priority")}),
        ("Prices", {"fields": (("market", "currency"),)}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("name", "kind") if obj else ()

    # --- the list

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        now = timezone.now()
        for provider in changelist.result_list:
            provider.situation = situation(provider, now)
        return changelist

    @display(description="Status")
    def standing(self, provider: FlightProvider) -> SafeString:
        return standing_pill(provider.situation)

    @display(description="Why")
    def told(self, provider: FlightProvider) -> str:
        told: str = provider.situation.told
        return told

    @display(description="Requests today")
    def used_today(self, provider: FlightProvider) -> SafeString:
        used = requests_today(provider, timezone.now())
        quota = f"{provider.quota_per_day:,}" if provider.quota_per_day else "unbounded"
        url = fetches_url(provider)
        return format_html('<a class="text-link" href="{}">{} of {}</a>', url, f"{used:,}", quota)

    @display(description="Left this minute")
    def used_minute(self, provider: FlightProvider) -> str:
        left = minute_quota(provider).left(timezone.now())
        return "unbounded" if left is None else f"{left:,} of {provider.quota_per_minute:,}"

    @display(description="Last error", ordering="last_error_at")
    def shown_error(self, provider: FlightProvider) -> str:
        if provider.last_error_at is None:
            return "—"
        code = provider.last_error.partition(":")[0]
        return f"{code}, {provider.last_error_at:%Y-%m-%d %H:%M}"

    # --- a provider's page

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = dict(extra_context or {})
        if object_id and (provider := self.get_object(request, object_id)):
            context["summary"] = self.summary(provider)
        return super().changeform_view(request, object_id, form_url, context)

    def summary(self, provider: FlightProvider) -> dict[str, Any]:
        """Return what stands on top of a provider's page."""
        now = timezone.now()
        stands = situation(provider, now)
        return {
            "provider": provider,
            "pill": standing_pill(stands),
            "stands": stands,
            "credentials": [
                (key, reverse("admin:configs_configkey_change", args=[quote(key)]))
                for key in KEYS[provider.kind]
            ],
            "today": requests_today(provider, now),
            "minute": minute_quota(provider).left(now),
            "fetches_url": fetches_url(provider),
            "failed_url": fetches_url(provider, status="failed"),
        }

    def save_model(
        self, request: HttpRequest, obj: FlightProvider, form: Any, change: bool
    ) -> None:
        save_provider(provider=obj, actor=request.user)  # type: ignore[arg-type]

    # One that is of no use any more is paused: its offers and its log are known by it.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- what can be done

    def asked(self, object_id: str) -> FlightProvider:
        """Return the provider of a page. Raises Http404."""
        try:
            return FlightProvider.objects.get(pk=object_id)
        except (FlightProvider.DoesNotExist, ValueError) as error:
            raise Http404 from error

    def has_pause_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.pause_flightprovider")

    def has_fetch_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.fetch_flightprovider")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Leave out what cannot be done with the provider as it stands."""
        provider = self.get_object(request, str(object_id))
        if provider is None:
            return []
        stands = situation(provider, timezone.now())
        paused = stands.standing is Standing.PAUSED
        hidden = {"pause" if paused else "resume"}
        if stands.circuit.retry_at is None and not provider.is_throttled(timezone.now()):
            hidden.add("close_circuit")
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        permitted = super().get_actions_detail(request, object_id)
        return [each for each in permitted if each.action_name.removeprefix(prefix) not in hidden]

    @action(
        description="Fetch now…",
        permissions=["fetch"],
        icon="download",
        variant=ActionVariant.PRIMARY,
        url_path="fetch",
        dialog=ActionDialog(
            title="Fetch a route and day",
            description=FETCH_TOLD,
            form_class=JourneyForm,
            form_submit_text="Fetch",
        ),
    )
    def fetch(self, request: HttpRequest, form: JourneyForm, object_id: str) -> HttpResponse:
        provider = self.asked(object_id)
        cleaned = form.cleaned_data
        return fetch_now(
            request,
            provider,
            origin=cleaned["origin"],
            destination=cleaned["destination"],
            day=cleaned["day"],
        )

    @action(
        description="Pause…",
        permissions=["pause"],
        icon="pause",
        variant=ActionVariant.DANGER,
        url_path="pause",
        dialog=ActionDialog(
            title="Pause", description="", form_class=PauseForm, form_submit_text="Pause"
        ),
    )
    def pause(self, request: HttpRequest, form: PauseForm, object_id: str) -> HttpResponse:
        reason, until = form.cleaned_data["reason"], form.cleaned_data["until"]
        give_reason(reason)
        provider = pause_provider(
            provider=self.asked(object_id), reason=reason, until=until, now=timezone.now()
        )
        words = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "until it is resumed"
        messages.success(request, f"“{provider}” is paused {words}.")
        return go_to(request, self.change_url(object_id))

    @action(
        description="Resume…",
        permissions=["pause"],
        icon="play_arrow",
        variant=ActionVariant.SUCCESS,
        url_path="resume",
        dialog=ActionDialog(
            title="Resume", description="", form_class=ResumeForm, form_submit_text="Resume"
        ),
    )
    def resume(self, request: HttpRequest, form: ResumeForm, object_id: str) -> HttpResponse:
        give_reason(form.cleaned_data["reason"])
        provider = resume_provider(provider=self.asked(object_id))
        messages.success(request, f"“{provider}” is resumed: its plan is followed again.")
        return go_to(request, self.change_url(object_id))

    @action(
        description="Ask again now…",
        permissions=["pause"],
        icon="restart_alt",
        url_path="close-circuit",
        dialog=ActionDialog(
            title="Ask again now",
            description="",
            form_class=CircuitForm,
            form_submit_text="Close the circuit",
        ),
    )
    def close_circuit(
        self, request: HttpRequest, form: CircuitForm, object_id: str
    ) -> HttpResponse:
        give_reason(form.cleaned_data["reason"])
        provider = close_circuit(provider=self.asked(object_id))
        messages.success(request, f"“{provider}” is asked again from the next minute on.")
        return go_to(request, self.change_url(object_id))


def standing_pill(stands: Situation) -> SafeString:
    """Return the standing as a label."""
    word, tone = WORDS[stands.standing]
    return pill(word, tone)
