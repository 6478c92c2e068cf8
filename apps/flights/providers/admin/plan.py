"""The pull plan: which routes, how many days ahead, how often, and how fresh each is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.audit.history import HistoryTab
from apps.flights.providers.admin.fetching import FETCH_TOLD, DayForm, fetch_now
from apps.flights.providers.admin.providers import fetches_url
from apps.flights.providers.models import ProviderRoute
from apps.flights.providers.operations import save_route, set_routes_active
from apps.flights.providers.queries import Freshness, freshness
from layoverhq.keyset import EnterpriseFilter, TextFilter
from layoverhq.model_admin import OperationAdmin, ReasonedChange, pill


class OriginFilter(TextFilter):
    title = "origin"
    parameter_name = field = "origin"
    placeholder = "IATA code"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().matching(queryset, value.upper())


class DestinationFilter(OriginFilter):
    title = "destination"
    parameter_name = field = "destination"


def _code(name: str) -> forms.CharField:
    return forms.CharField(
        max_length=3,
        widget=UnfoldAdminTextInputWidget,
        help_text=ProviderRoute._meta.get_field(name).help_text,
    )


class RouteForm(forms.ModelForm):
    origin = _code("origin")
    destination = _code("destination")

    class Meta:
        model = ProviderRoute
        fields: ClassVar[list[str]] = [
            "provider",
            "origin",
            "destination",
            "enterprise",
            "days_ahead",
            "every_minutes",
            "is_active",
        ]


def _activation(*, on: bool) -> ReasonedChange:
    def operation(routes: Sequence[ProviderRoute]) -> None:
        set_routes_active(routes=routes, is_active=on)

    return ReasonedChange(
        title="Take in" if on else "Leave out",
        done="Took in" if on else "Left out",
        consequence="They are fetched again, from the next minute on."
        if on
        else "They are fetched no more; offers that stand stay until they depart or expire.",
        obstacle=lambda route: (
            f"is {'in' if on else 'left out'} already" if route.is_active is on else ""
        ),
        operation=operation,
    )


@admin.register(ProviderRoute)
class ProviderRouteAdmin(OperationAdmin):
    form = RouteForm
    list_display = (
        "route",
        "provider",
        "enterprise",
        "days_ahead",
        "every",
        "shown_freshness",
        "newest",
        "shown_active",
    )
    list_display_links = ("route",)
    list_filter = ("provider", "is_active", OriginFilter, DestinationFilter, EnterpriseFilter)
    list_select_related = ("provider", "enterprise")
    ordering = ("origin", "destination", "id")
    autocomplete_fields = ("enterprise",)
    actions = ("take_in", "leave_out")
    actions_detail = ("fetch",)
    change_form_datasets = (HistoryTab.of(ProviderRoute),)
    fieldsets = (
        (None, {"fields": ("provider", ("origin", "destination"), "enterprise")}),
        ("How often", {"fields": (("days_ahead", "every_minutes"), "is_active")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Another route, provider or buyer is another row.
        return ("provider", "origin", "destination", "enterprise") if obj else ()

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        found = freshness([route.pk for route in changelist.result_list], now=timezone.now())
        for route in changelist.result_list:
            route.freshness = found.get(route.pk, Freshness(0, None, None))
        return changelist

    @display(description="Route", ordering="origin")
    def route(self, route: ProviderRoute) -> str:
        return f"{route.origin} → {route.destination}"

    @display(description="Every", ordering="every_minutes")
    def every(self, route: ProviderRoute) -> str:
        return f"{route.every_minutes:,} min"

    @display(description="Fresh days")
    def shown_freshness(self, route: ProviderRoute) -> SafeString:
        fresh: int = route.freshness.days
        tone = "success" if fresh == route.days_ahead else "warning" if fresh else "danger"
        label = pill(f"{fresh} of {route.days_ahead}", tone if route.is_active else "")
        url = fetches_url(route.provider, origin=route.origin, destination=route.destination)
        return format_html('<a href="{}">{}</a>', url, label)

    @display(description="Last answer")
    def newest(self, route: ProviderRoute) -> Any:
        return route.freshness.newest_at

    @display(description="Active", ordering="is_active")
    def shown_active(self, route: ProviderRoute) -> SafeString:
        return pill("active", "success") if route.is_active else pill("left out")

    def save_model(self, request: HttpRequest, obj: ProviderRoute, form: Any, change: bool) -> None:
        save_route(route=obj, actor=request.user)  # type: ignore[arg-type]

    def has_activate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.change_providerroute")

    def has_fetch_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.fetch_flightprovider")

    @admin.action(description="Take in…", permissions=["activate"])
    def take_in(
        self, request: HttpRequest, queryset: QuerySet[ProviderRoute]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, _activation(on=True))

    @admin.action(description="Leave out…", permissions=["activate"])
    def leave_out(
        self, request: HttpRequest, queryset: QuerySet[ProviderRoute]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, _activation(on=False))

    @action(
        description="Fetch now…",
        permissions=["fetch"],
        icon="download",
        variant=ActionVariant.PRIMARY,
        url_path="fetch",
        dialog=ActionDialog(
            title="Fetch a day",
            description=FETCH_TOLD,
            form_class=DayForm,
            form_submit_text="Fetch",
        ),
    )
    def fetch(self, request: HttpRequest, form: DayForm, object_id: str) -> HttpResponse:
        try:
            route = ProviderRoute.objects.select_related("provider", "enterprise").get(pk=object_id)
        except (ProviderRoute.DoesNotExist, ValueError) as error:
            raise Http404 from error
        return fetch_now(
            request,
            route.provider,
            origin=route.origin,
            destination=route.destination,
            day=form.cleaned_data["day"],
            enterprise=route.enterprise,
        )
