"""Operators' pages about routes, partitions and the search itself."""

from __future__ import annotations

import json
from datetime import date
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from drf_spectacular.utils import OpenApiParameter
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.flights.admin.filters import DestinationFilter, OriginFilter
from apps.flights.api.journeys import (
    CALENDAR_PARAMETERS,
    ITINERARY_PARAMETERS,
    LAYOVER_PARAMETERS,
)
from apps.flights.models import (
    PartitionSize,
    PopularLayoverRoute,
    RouteDay,
    RouteDayRefresh,
    SearchPlayground,
)
from apps.flights.money import DECIMALS
from apps.flights.parameters import SEARCH_PARAMETERS
from apps.flights.playground import KINDS, Kind, Tried, search_as
from apps.flights.tasks import refresh_popular_routes
from apps.tenants.models import Enterprise
from layoverhq.admin_site import add_refusal, give_reason, go_to
from layoverhq.errors import DomainError
from layoverhq.keyset import InputFilter, KeysetChangeList
from layoverhq.model_admin import OperationAdmin, ReadOnly, enqueue
from layoverhq.tenancy import OPERATOR

PARTITION_INDEXES = """
    select name, bytes, scans, last_scan_at, definition
    from partition_indexes
    where partition = %s
    order by bytes desc, name
"""

PARAMETERS: dict[str, list[OpenApiParameter]] = {
    "search": SEARCH_PARAMETERS,
    "itineraries": ITINERARY_PARAMETERS,
    "calendar": CALENDAR_PARAMETERS,
    "layovers": LAYOVER_PARAMETERS,
}


def dollars(minor: float | None) -> str:
    return "—" if minor is None else f"{minor / 100:,.2f} USD"


def offers_url(origin: str, destination: str, day: date | None = None) -> str:
    """Return the list of the offers behind a number."""
    asked = {"origin_airport": origin, "destination_airport": destination}
    if day:
        asked["day"] = day.isoformat()
    return f"{reverse('admin:flights_flight_changelist')}?{urlencode(asked)}"


class ConfirmRefresh(BaseDialogForm):
    """Nothing to fill in: the dialog is there so that the change is a POST."""


@admin.register(PopularLayoverRoute)
class PopularRouteAdmin(ReadOnly, OperationAdmin):
    """Routes with the most offers that have a layover, as they were last counted."""

    list_display = (
        "shown_route",
        "shown_offers",
        "shown_price",
        "avg_layovers",
        "shown_airports",
        "days",
        "refreshed_at",
    )
    list_filter = (OriginFilter, DestinationFilter)
    ordering = ("-flight_count", "route")
    sortable_by = ("shown_offers", "shown_price", "avg_layovers", "refreshed_at")
    actions = None
    actions_list = ("refresh",)

    def has_refresh_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("flights.change_popularlayoverroute"))

    @display(description="Route", ordering="route")
    def shown_route(self, route: PopularLayoverRoute) -> str:
        return f"{route.origin_airport} → {route.destination_airport}"

    @display(description="Offers", ordering="flight_count")
    def shown_offers(self, route: PopularLayoverRoute) -> SafeString:
        return format_html(
            '<a class="text-link" href="{}">{}</a>',
            offers_url(route.origin_airport, route.destination_airport),
            f"{route.flight_count:,}",
        )

    @display(description="Average price", ordering="avg_price")
    def shown_price(self, route: PopularLayoverRoute) -> str:
        return dollars(float(route.avg_price) * 100)

    @display(description="Layovers are mostly in")
    def shown_airports(self, route: PopularLayoverRoute) -> str:
        return ", ".join(route.layover_airports)

    @display(description="By day")
    def days(self, route: PopularLayoverRoute) -> SafeString:
        asked = urlencode(
            {
                "origin_airport": route.origin_airport,
                "destination_airport": route.destination_airport,
            }
        )
        url = f"{reverse('admin:flights_routeday_changelist')}?{asked}"
        return format_html('<a class="text-link" href="{}">days</a>', url)

    @action(
        description="Count now",
        url_path="refresh",
        permissions=["refresh"],
        icon="refresh",
        dialog=ActionDialog(
            title="Count the routes now",
            description="Queues the task that counts the shared offers of days that were loaded or"
            " expire. The schedule does it every ten minutes. Searches do not wait for it.",
            form_class=ConfirmRefresh,
            form_submit_text="Queue it",
        ),
    )
    def refresh(self, request: HttpRequest, form: ConfirmRefresh) -> HttpResponse:
        enqueue(refresh_popular_routes.name)
        messages.success(request, "Queued the count of routes; reload in a minute.")
        return go_to(request, self.changelist_url())


class RouteDayFilter(InputFilter):
    title = "departure day"
    parameter_name = "day"
    input_type = "date"

    def queryset(self, request: HttpRequest, queryset: QuerySet[RouteDay]) -> QuerySet[RouteDay]:
        value = self.value()
        if not value:
            return queryset
        try:
            day = date.fromisoformat(value)
        except ValueError:
            messages.error(request, f"“{value}” is not a day: give YYYY-MM-DD.")
            return queryset.none()
        return queryset.filter(departure_day=day)


@admin.register(RouteDay)
class RouteAdmin(ReadOnly, OperationAdmin):
    """What the shared inventory has by route and day, as it was last counted."""

    list_display = (
        "departure_day",
        "shown_route",
        "shown_offers",
        "layover_offers",
        "lowest_price",
        "average_price",
        "shown_airports",
    )
    list_filter = (RouteDayFilter, OriginFilter, DestinationFilter)
    ordering = ("departure_day", "origin_airport", "destination_airport")
    sortable_by = ()
    actions = None
    fields = (
        "departure_day",
        "shown_route",
        ("shown_offers", "layover_offers", "layovers"),
        ("lowest_price", "average_price"),
        "shown_airports",
        "counted_at",
    )
    readonly_fields = (
        "shown_route",
        "shown_offers",
        "lowest_price",
        "average_price",
        "shown_airports",
        "counted_at",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    @display(description="Route")
    def shown_route(self, route: RouteDay) -> str:
        return f"{route.origin_airport} → {route.destination_airport}"

    @display(description="Offers")
    def shown_offers(self, route: RouteDay) -> SafeString:
        return format_html(
            '<a class="text-link" href="{}">{}</a>',
            offers_url(route.origin_airport, route.destination_airport, route.departure_day),
            f"{route.offers:,}",
        )

    @display(description="Lowest price")
    def lowest_price(self, route: RouteDay) -> str:
        return dollars(route.lowest_price_minor)

    @display(description="Average price with a layover")
    def average_price(self, route: RouteDay) -> str:
        if not route.layover_offers:
            return "—"
        return dollars(route.layover_price_minor / route.layover_offers)

    @display(description="Offers with a layover in")
    def shown_airports(self, route: RouteDay) -> str:
        used = sorted(route.layover_airports.items(), key=lambda each: (-each[1], each[0]))
        return ", ".join(f"{airport} {offers:,}" for airport, offers in used[:5]) or "—"

    @display(description="Counted at")
    def counted_at(self, route: RouteDay) -> Any:
        counted = RouteDayRefresh.objects.filter(day=route.departure_day).first()
        return counted.refreshed_at if counted else None


@admin.register(PartitionSize)
class PartitionAdmin(ReadOnly, OperationAdmin):
    """Every partition: how large it is, and when it was last looked after."""

    list_display = (
        "name",
        "parent",
        "bounds",
        "shown_rows",
        "shown_dead",
        "shown_table",
        "shown_indexes",
        "vacuumed_at",
        "analysed_at",
    )
    list_filter = ("parent",)
    search_fields = ("name",)
    search_help_text = "Find by name, such as flights_y2026m12."
    ordering = ("parent", "name")
    sortable_by = ("name", "shown_rows", "shown_dead", "shown_table", "shown_indexes")
    list_per_page = 100
    actions = None
    fields = (
        ("name", "parent"),
        "bounds",
        ("shown_rows", "shown_dead"),
        ("shown_table", "shown_indexes"),
        ("vacuumed_at", "analysed_at"),
        "indexes",
    )
    readonly_fields = ("shown_rows", "shown_dead", "shown_table", "shown_indexes", "indexes")

    @display(description="Rows (estimate)", ordering="estimated_rows")
    def shown_rows(self, partition: PartitionSize) -> str:
        rows = partition.estimated_rows
        return "never analysed" if rows is None else f"{rows:,}"

    @display(description="Dead rows", ordering="dead_rows")
    def shown_dead(self, partition: PartitionSize) -> str:
        return f"{partition.dead_rows or 0:,}"

    @display(description="Table", ordering="table_bytes")
    def shown_table(self, partition: PartitionSize) -> str:
        return filesizeformat(partition.table_bytes)

    @display(description="Indexes", ordering="index_bytes")
    def shown_indexes(self, partition: PartitionSize) -> str:
        return filesizeformat(partition.index_bytes)

    @display(description="Each index")
    def indexes(self, partition: PartitionSize) -> Any:
        with connections[OPERATOR].cursor() as cursor:
            cursor.execute(PARTITION_INDEXES, [partition.name])
            rows = [
                {
                    "name": name,
                    "size": filesizeformat(size),
                    "scans": f"{scans or 0:,}",
                    "last_scan_at": last_scan_at,
                    "definition": definition,
                }
                for name, size, scans, last_scan_at, definition in cursor.fetchall()
            ]
        return render_to_string("admin/partition_indexes.html", {"rows": rows})


class PlaygroundForm(forms.Form):
    """Whose search, why, and the parameters of the search itself."""

    enterprise = forms.SlugField(
        max_length=63,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "slug", "autocomplete": "off"}),
        help_text="Its slug. You see what its API keys would see, its private offers included.",
    )
    reason = forms.CharField(
        min_length=3,
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Kept in the audit log with your name and the query.",
    )
    plan = forms.BooleanField(
        required=False,
        label="Show the plan",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Runs the search's own SQL once more under EXPLAIN ANALYZE.",
    )

    def __init__(self, *args: Any, parameters: list[OpenApiParameter], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked = [parameter.name for parameter in parameters]
        for parameter in parameters:
            self.fields[parameter.name] = _field(parameter)

    @property
    def own_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("enterprise", "reason", "plan")]

    @property
    def search_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.asked]

    @property
    def query_string(self) -> str:
        """The search as a client would send it."""
        given = {name: self.cleaned_data[name] for name in self.asked if self.cleaned_data[name]}
        return urlencode(given)

    def clean_enterprise(self) -> Enterprise:
        found = Enterprise.objects.living().filter(slug=self.cleaned_data["enterprise"]).first()
        if found is None:
            raise forms.ValidationError("There is no such enterprise.")
        return found


def _field(parameter: OpenApiParameter) -> forms.Field:
    """Return the field of a parameter, as the OpenAPI document describes it."""
    schema: Any = parameter.type
    about = {
        "label": parameter.name,
        "required": False,
        "help_text": (parameter.description or "").replace("`", ""),
    }
    if choices := schema.get("enum"):
        named = [("", "—"), *((choice, choice) for choice in choices)]
        return forms.ChoiceField(choices=named, widget=UnfoldAdminSelectWidget, **about)
    placeholder = str(schema.get("example") or schema.get("default") or "")
    if schema.get("format") == "date":
        placeholder = "2026-12-01"
    return forms.CharField(
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": placeholder}), **about
    )


@admin.register(SearchPlayground)
class SearchPlaygroundAdmin(ReadOnly, OperationAdmin):
    """One page: a search, answered as an enterprise would be."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        name = request.GET.get("kind", "search")
        kind = KINDS.get(name) or KINDS["search"]
        parameters = PARAMETERS[name if name in KINDS else "search"]
        form = PlaygroundForm(request.POST or None, parameters=parameters)
        tried = None
        if request.method == "POST" and form.is_valid():
            tried = self._try(form, kind)
        return TemplateResponse(
            request,
            "admin/playground.html",
            {
                **self.admin_site.each_context(request),
                "title": "Search playground",
                "opts": self.opts,
                "kinds": [
                    {"title": each.title, "url": f"?kind={key}", "chosen": each is kind}
                    for key, each in KINDS.items()
                ],
                "kind": kind,
                "form": form,
                "tried": tried,
                "query": form.query_string if tried else "",
                "rows": rows_of(tried.answer) if tried else [],
                "json": json.dumps(tried.answer, indent=2, ensure_ascii=False) if tried else "",
            },
            headers={"Cache-Control": "no-store"},
        )

    def _try(self, form: PlaygroundForm, kind: Kind) -> Tried | None:
        give_reason(form.cleaned_data["reason"])
        try:
            return search_as(
                enterprise=form.cleaned_data["enterprise"],
                kind=kind,
                query_string=form.query_string,
                with_plans=form.cleaned_data["plan"],
                now=timezone.now(),
            )
        except DomainError as error:
            add_refusal(form, error)
            return None


def rows_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answer's offers, a row each; what has none of its own is told by its names."""
    rows = []
    for number, result in enumerate(answer["results"], 1):
        if "slices" in result:
            found = result["slices"]
        elif "offer" in result:
            found = [result["offer"]]
        elif "segments" in result:
            found = [result]
        else:
            rows.append(
                {
                    "number": number,
                    "journey": result.get("date")
                    or f"{result['departure_date']} – {result['return_date']}",
                    "price": shown_price(result) if result["price_minor"] is not None else "—",
                }
            )
            continue
        rows += [_row(number, offer) for offer in found]
    return rows


def _row(number: int, offer: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": number,
        "journey": f"{offer['origin']} → {offer['destination']}",
        "departs": offer["departs_at"],
        "arrives": offer["arrives_at"],
        "layovers": ", ".join(
            f"{stop['airport']} {stop['minutes'] // 60} h {stop['minutes'] % 60:02}"
            for stop in offer["layovers"]
        )
        or "nonstop",
        "price": shown_price(offer),
        "private": offer["private"],
        "provider": offer["provider"],
    }


def shown_price(told: dict[str, Any]) -> str:
    """Return a price of an answer as people read it."""
    decimals = DECIMALS.get(told["price_currency"], 2)
    return f"{told['price_minor'] / 10**decimals:,.{decimals}f} {told['price_currency']}"
