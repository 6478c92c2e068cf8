"""Travellers, searches, trips and alerts as operators see them: read only, in each one's home.

What identifies a person is shown on request alone, with a reason that the audit trail keeps.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from apps.tenants.models import Enterprise
from apps.trips.models import AlertEvent, PriceAlert, SavedSearch, Traveller, Trip
from apps.trips.operations import reveal_traveller
from apps.trips.queries import home_of
from layoverhq.admin_site import give_reason
from layoverhq.keyset import EnterpriseFilter, KeysetChangeList, WindowFilter
from layoverhq.model_admin import (
    OperationAdmin,
    ReadOnly,
    ReadOnlyInline,
    ReasonForm,
    pill,
)
from layoverhq.tenancy import lead_to_schema

HOMES_LISTED = 20
SPACE = "\N{NO-BREAK SPACE}"


def money(minor: int | None, currency: str = "USD") -> str:
    """Return an amount as people read it."""
    return "—" if minor is None else SPACE.join((f"{minor / 100:,.2f}", currency))


def link(model: type[Model], pk: Any, words: Any) -> SafeString:
    """Return a link to an object's page."""
    options = model._meta
    url = reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, words)


class HomeAdmin(ReadOnly, OperationAdmin):
    """Rows of the pooled enterprises together, and of a dedicated one when it is named."""

    list_select_related = ("enterprise",)
    list_before_template = "admin/trips/homes.html"
    ordering = ("-id",)
    sortable_by = ()
    actions = None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        dedicated = Enterprise.objects.living().filter(isolation=Enterprise.Isolation.DEDICATED)
        slug = request.GET.get(EnterpriseFilter.parameter_name, "").strip()
        here = dedicated.filter(slug=slug).first() if slug and "\0" not in slug else None
        lead_to_schema(here.schema_name if here else "")
        others = dedicated.count()
        shown: dict[str, Any] = {
            "dedicated_here": here,
            "dedicated_enterprises": list(dedicated[:HOMES_LISTED]),
            "more_dedicated": max(0, others - HOMES_LISTED),
        }
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        self.enter_home(object_id)
        return super().get_object(request, object_id, from_field)

    def enter_home(self, object_id: str) -> str:
        """Let the page read the home that holds the row; return the own schema, if it is one."""
        try:
            home = home_of(self.opts.db_table, UUID(str(object_id)))
        except ValueError:
            home = None
        lead_to_schema(home or "")
        return home or ""


@admin.register(Traveller)
class TravellerAdmin(HomeAdmin):
    list_display = ("id", "enterprise", "shown_name", "created_at")
    list_filter = (EnterpriseFilter,)
    fields = ("id", "enterprise", "shown_name", "version", ("created_at", "updated_at"))
    readonly_fields = fields[:3]
    actions_detail = ("reveal",)

    def has_reveal_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("trips.reveal_traveller")

    @display(description="Name")
    def shown_name(self, traveller: Traveller) -> str:
        return " ".join(f"{word[0]}…" for word in traveller.name.split())

    @action(
        description="Show name…",
        permissions=["reveal"],
        icon="visibility",
        variant=ActionVariant.WARNING,
    )
    def reveal(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, note the reading in the audit trail, and show it in this one answer."""
        schema = self.enter_home(object_id)
        traveller = self.get_object(request, object_id)
        if traveller is None:
            raise Http404
        form = ReasonForm(data=request.POST or None, request=request)
        revealed = None
        if request.method == "POST" and form.is_valid():
            give_reason(form.cleaned_data["reason"])
            revealed = reveal_traveller(traveller=traveller, schema=schema)
        return TemplateResponse(
            request,
            "admin/trips/reveal.html",
            {
                **self.admin_site.each_context(request),
                "title": str(traveller),
                "opts": self.opts,
                "traveller": traveller,
                "form": form,
                "revealed": revealed,
                "traveller_url": self.change_url(traveller.pk),
            },
            headers={"Cache-Control": "no-store"},
        )


class OfTraveller(HomeAdmin):
    """What belongs to a traveller, who is told by id."""

    @display(description="Traveller")
    def shown_traveller(self, thing: Any) -> SafeString | str:
        if thing.traveller_id is None:
            return "—"
        return link(Traveller, thing.traveller_id, thing.traveller_id)


@admin.register(SavedSearch)
class SavedSearchAdmin(OfTraveller):
    list_display = ("created_at", "enterprise", "shown_traveller", "query")
    list_filter = (EnterpriseFilter,)
    # Not its name, which may be somebody's.
    fields = ("enterprise", "shown_traveller", "query", "version", ("created_at", "updated_at"))
    readonly_fields = fields[:3]


TRIP_TONES = {
    Trip.Status.PLANNED.value: "",
    Trip.Status.BOOKED.value: "info",
    Trip.Status.TRAVELLED.value: "success",
    Trip.Status.CANCELLED.value: "warning",
}


@admin.register(Trip)
class TripAdmin(OfTraveller):
    list_display = (
        "created_at",
        "enterprise",
        "route",
        "departure_at",
        "shown_price",
        "shown_status",
        "shown_traveller",
    )
    list_filter = ("status", EnterpriseFilter)
    fields = (
        ("enterprise", "shown_traveller"),
        ("route", "shown_status"),
        ("departure_at", "arrival_at"),
        ("shown_price", "offer_id"),
        ("created_at", "updated_at"),
        "offer",
    )
    readonly_fields = ("enterprise", "shown_traveller", "route", "shown_status", "shown_price")

    @display(description="Route")
    def route(self, trip: Trip) -> str:
        return SPACE.join((trip.origin, "→", trip.destination))

    @display(description="Price")
    def shown_price(self, trip: Trip) -> str:
        return money(trip.price_minor, trip.price_currency)

    @display(description="Status")
    def shown_status(self, trip: Trip) -> SafeString:
        return pill(Trip.Status(trip.status).label, TRIP_TONES[trip.status])


class NewsInline(ReadOnlyInline):
    model = AlertEvent
    fields = readonly_fields = ("occurred_at", "event", "shown_price", "offer_count")
    ordering = ("-id",)
    verbose_name_plural = "news"
    show_change_link = False

    @display(description="Best price")
    def shown_price(self, event: AlertEvent) -> str:
        return money(event.price_minor)


ALERT_TONES = {
    PriceAlert.State.WATCHING.value: "info",
    PriceAlert.State.MET.value: "success",
    PriceAlert.State.PAUSED.value: "warning",
    PriceAlert.State.ENDED.value: "",
}


class StateFilter(WindowFilter):
    title = "state"
    parameter_name = "state"
    windows = (
        ("all", "All"),
        ("problem", "With a problem"),
        *((value, label.partition(":")[0]) for value, label in PriceAlert.State.choices),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        if chosen == "problem":
            return queryset.exclude(problem="")
        return queryset if chosen == "all" else queryset.filter(state=chosen)


@admin.register(PriceAlert)
class PriceAlertAdmin(HomeAdmin):
    list_display = (
        "created_at",
        "enterprise",
        "shown_threshold",
        "layovers",
        "shown_state",
        "shown_best",
        "checked_at",
        "problem",
    )
    list_filter = (StateFilter, EnterpriseFilter)
    inlines = (NewsInline,)
    fields = (
        ("enterprise", "shown_search"),
        ("shown_threshold", "layovers"),
        ("shown_state", "shown_best"),
        ("checked_at", "next_check_at"),
        "problem",
        ("created_at", "updated_at"),
        "best_offer",
    )
    readonly_fields = ("enterprise", "shown_search", "shown_threshold", "shown_state", "shown_best")

    @display(description="Saved search")
    def shown_search(self, alert: PriceAlert) -> SafeString:
        return link(SavedSearch, alert.saved_search_id, alert.saved_search_id)

    @display(description="Threshold")
    def shown_threshold(self, alert: PriceAlert) -> str:
        return money(alert.threshold_minor)

    @display(description="Best price")
    def shown_best(self, alert: PriceAlert) -> str:
        return money(alert.best_price_minor)

    @display(description="State")
    def shown_state(self, alert: PriceAlert) -> SafeString:
        label = PriceAlert.State(alert.state).label.partition(":")[0]
        return pill(label, ALERT_TONES[alert.state])
