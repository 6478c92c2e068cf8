"""Offers, loads of the demo, and enterprises' files of offers: read, never edited by hand."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from apps.flights.admin.filters import DestinationFilter, OriginFilter
from apps.flights.demo import PROVIDER
from apps.flights.imports import cancel_import, retry_import, retry_obstacle
from apps.flights.models import (
    EnterpriseFlight,
    Flight,
    InventoryLoad,
    Offer,
    OfferImport,
    OfferReject,
)
from apps.flights.queries import has_inventory
from apps.flights.tasks import roll_demo_horizon
from layoverhq.admin_site import go_to
from layoverhq.keyset import EnterpriseFilter, InputFilter, KeysetChangeList
from layoverhq.model_admin import (
    OperationAdmin,
    ReadOnly,
    ReadOnlyInline,
    ReasonedChange,
    ReasonForm,
    each,
    enqueue,
    pill,
)

WINDOW_DAYS = 7
SPACE = "\N{NO-BREAK SPACE}"
IATA = re.compile(r"\b[A-Za-z]{3}\b")


def hours(minutes: int | None) -> str:
    """Return minutes as people say them."""
    if minutes is None:
        return "—"
    return SPACE.join((str(minutes // 60), "h", f"{minutes % 60:02}"))


class DayFilter(InputFilter):
    title = f"departure day (the next {WINDOW_DAYS} days if empty)"
    parameter_name = "day"
    input_type = "date"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Offer]) -> QuerySet[Offer]:
        if value := self.value():
            try:
                day = date.fromisoformat(value)
            except ValueError:
                messages.error(request, f"“{value}” is not a day: give YYYY-MM-DD.")
                return queryset.none()
            return queryset.filter(departure_day=day)
        today = timezone.now().date()
        return queryset.filter(
            departure_day__range=(today, today + timedelta(days=WINDOW_DAYS - 1))
        )


class OfferAdmin(ReadOnly, OperationAdmin):
    """Offers by day and key; a page costs the same wherever it lies."""

    list_display = (
        "departure_day",
        "route",
        "via",
        "shown_price",
        "duration",
        "shown_layovers",
        "provider",
        "enterprise",
        "origin_of_data",
    )
    list_display_links = ("departure_day", "route")
    list_filter = (DayFilter, OriginFilter, DestinationFilter, EnterpriseFilter)
    list_select_related = ("enterprise",)
    search_fields = ("origin_airport",)
    search_help_text = "A route, such as JFK LAX."
    ordering = ("departure_day", "id")
    sortable_by = ()
    actions = None
    fieldsets = (
        (None, {"fields": ("route", ("shown_price", "duration"), "modelled_parts", "timeline")}),
        (
            "Offer",
            {
                "fields": (
                    ("departure_day", "expires_at"),
                    ("departure_at", "arrival_at"),
                    ("provider", "enterprise"),
                    ("seen_at", "created_at"),
                    ("id", "search_hash"),
                )
            },
        ),
        ("As the API answers it", {"fields": ("segments", "layovers")}),
    )
    readonly_fields = ("route", "shown_price", "duration", "modelled_parts", "timeline")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        codes = [code.upper() for code in IATA.findall(term)]
        if not 1 <= len(codes) <= 2:
            messages.error(request, "Search by route: one or two IATA codes, such as JFK LAX.")
            return queryset.none(), False
        queryset = queryset.filter(origin_airport=codes[0])
        if len(codes) == 2:
            queryset = queryset.filter(destination_airport=codes[1])
        return queryset, False

    @display(description="Route")
    def route(self, offer: Offer) -> str:
        return SPACE.join((offer.origin_airport, "→", offer.destination_airport))

    @display(description="Via")
    def via(self, offer: Offer) -> str:
        return ", ".join(offer.layover_airports) or "nonstop"

    @display(description="Price")
    def shown_price(self, offer: Offer) -> str:
        return SPACE.join((f"{offer.price_minor / 100:,.2f}", offer.price_currency))

    @display(description="Duration")
    def duration(self, offer: Offer) -> str:
        return hours(offer.duration_minutes)

    @display(description="Layovers")
    def shown_layovers(self, offer: Offer) -> str:
        return ", ".join(hours(stop["minutes"]) for stop in offer.layovers) or "—"

    @display(description="Data")
    def origin_of_data(self, offer: Offer) -> SafeString:
        return pill("modelled", "warning") if offer.modelled else pill("as provided", "success")

    @display(description="Data")
    def modelled_parts(self, offer: Offer) -> SafeString:
        if not offer.modelled:
            return self.origin_of_data(offer)
        parts = ", ".join(name.replace("_", " ") for name in offer.modelled_fields)
        return format_html(
            "{} Demo data, of which is modelled: {}.", pill("modelled", "warning"), parts
        )

    @display(description="Journey (local times)")
    def timeline(self, offer: Offer) -> str:
        steps: list[dict[str, Any]] = []
        for index, segment in enumerate(offer.segments):
            if index:
                stop = offer.layovers[index - 1]
                steps.append({**stop, "length": hours(stop["minutes"])})
            steps.append(
                {
                    **segment,
                    "departs": segment["departs_at"][:16].replace("T", " "),
                    "arrives": segment["arrives_at"][:16].replace("T", " "),
                    "length": hours(segment["minutes"]),
                }
            )
        return render_to_string("admin/timeline.html", {"steps": steps})


@admin.register(Flight)
class FlightAdmin(OfferAdmin):
    pass


@admin.register(EnterpriseFlight)
class EnterpriseFlightAdmin(OfferAdmin):
    pass


class ConfirmRoll(BaseDialogForm):
    """Nothing to fill in: the dialog is there so that the change is a POST."""


@admin.register(InventoryLoad)
class InventoryLoadAdmin(ReadOnly, OperationAdmin):
    list_display = ("day", "provider", "shown_offers", "layovers", "loaded_at")
    list_filter = ("provider",)
    ordering = ("-day", "provider")
    actions = None
    actions_list = ("roll_horizon",)

    def has_roll_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.add_inventoryload")

    @display(description="Offers")
    def shown_offers(self, load: InventoryLoad) -> SafeString:
        url = reverse("admin:flights_flight_changelist")
        return format_html(
            '<a class="text-link" href="{}?day={}">{}</a>', url, load.day, f"{load.offers:,}"
        )

    @action(
        description="Roll the demo horizon now",
        url_path="roll",
        permissions=["roll"],
        icon="event_repeat",
        dialog=ActionDialog(
            title="Roll the demo horizon now",
            description="Queues the task that loads the demo's offers for the days that have come "
            "into reach. Days that stand already are left as they are.",
            form_class=ConfirmRoll,
            form_submit_text="Queue it",
        ),
    )
    def roll_horizon(self, request: HttpRequest, form: ConfirmRoll) -> HttpResponse:
        if not has_inventory(PROVIDER):
            messages.warning(request, "There is no demo here to roll on: nothing was queued.")
            return go_to(request, self.changelist_url())
        enqueue(roll_demo_horizon.name)
        messages.success(request, "Queued the roll of the demo's horizon; reload in a minute.")
        return go_to(request, self.changelist_url())


RETRY = ReasonedChange(
    title="Load again",
    done="Queued again:",
    consequence="The file is read anew from its beginning, after what the enterprise has waiting.",
    obstacle=retry_obstacle,
    operation=each(retry_import, "job"),
)
CANCEL = ReasonedChange(
    title="Cancel",
    done="Cancelled:",
    consequence="Nothing of the file is loaded. It is kept for a week, and can be loaded again.",
    obstacle=lambda job: "has ended" if job.is_finished else "",
    operation=each(cancel_import, "job", now=timezone.now),
)


class RejectsInline(ReadOnlyInline):
    model = OfferReject
    fields = ("line", "reason", "field", "detail", "excerpt")
    ordering = ("line",)
    verbose_name_plural = "refused lines"
    show_change_link = False


IMPORT_COLOURS = {
    OfferImport.Status.QUEUED.value: "",
    OfferImport.Status.LOADING.value: "info",
    OfferImport.Status.DONE.value: "success",
    OfferImport.Status.FAILED.value: "danger",
}


@admin.register(OfferImport)
class OfferImportAdmin(ReadOnly, OperationAdmin):
    """Files of private offers, as enterprises sent them."""

    list_display = (
        "created_at",
        "enterprise",
        "shown_status",
        "shown_percent",
        "lines_done",
        "inserted",
        "updated",
        "unchanged",
        "shown_rejected",
    )
    list_filter = ("status", EnterpriseFilter)
    list_select_related = ("enterprise",)
    ordering = ("-id",)
    sortable_by = ()
    actions = ("retry_selected", "cancel_selected")
    actions_detail = ("retry", "cancel")
    inlines = (RejectsInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "progress",
                    ("inserted", "updated"),
                    ("unchanged", "rejected"),
                    "reasons",
                )
            },
        ),
        (
            "Import",
            {
                "fields": (
                    "enterprise",
                    ("created_at", "started_at", "finished_at"),
                    ("bytes_received", "lines_done", "attempts"),
                    "shown_key",
                    "id",
                )
            },
        ),
    )
    readonly_fields = ("progress", "reasons", "shown_key")

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.retry_offerimport")

    def has_cancel_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.cancel_offerimport")

    @action(description="Load again…", permissions=["retry"], icon="replay")
    def retry_selected(
        self, request: HttpRequest, queryset: QuerySet[OfferImport]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, RETRY)

    @action(description="Cancel…", permissions=["cancel"], icon="cancel")
    def cancel_selected(
        self, request: HttpRequest, queryset: QuerySet[OfferImport]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, CANCEL)

    @action(
        description="Load again…",
        url_path="retry",
        permissions=["retry"],
        icon="replay",
        dialog=RETRY.dialog(),
    )
    def retry(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, RETRY)

    @action(
        description="Cancel…",
        url_path="cancel",
        permissions=["cancel"],
        icon="cancel",
        variant=ActionVariant.DANGER,
        dialog=CANCEL.dialog(),
    )
    def cancel(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, CANCEL)

    @display(description="Refused, by reason")
    def reasons(self, offer_import: OfferImport) -> str:
        counts = list(
            OfferReject.objects.filter(
                enterprise_id=offer_import.enterprise_id, offer_import=offer_import
            )
            .order_by()
            .values_list("reason")
            .annotate(lines=Count("id"))
            .order_by("-lines", "reason")
        )
        kept = sum(lines for _, lines in counts)
        if not kept:
            return "—"
        rows = [(reason, lines, 100 * lines // kept) for reason, lines in counts]
        more = offer_import.rejected - kept
        return render_to_string("admin/reject_reasons.html", {"rows": rows, "more": max(more, 0)})

    @display(description="Idempotency key")
    def shown_key(self, offer_import: OfferImport) -> SafeString | str:
        key = offer_import.idempotency_key
        return format_html('<span class="break-all">{}</span>', key) if key else "—"

    @display(description="Status")
    def shown_status(self, offer_import: OfferImport) -> SafeString:
        label = OfferImport.Status(offer_import.status).label.partition(":")[0]
        return pill(label, IMPORT_COLOURS[offer_import.status])

    @display(description="Read")
    def shown_percent(self, offer_import: OfferImport) -> str:
        return SPACE.join((str(offer_import.percent), "%"))

    @display(description="Rejected")
    def shown_rejected(self, offer_import: OfferImport) -> SafeString | int:
        if not offer_import.rejected:
            return 0
        url = self.change_url(offer_import.pk)
        return format_html(
            '<a class="text-link" href="{}#refused-lines">{}</a>', url, offer_import.rejected
        )

    @display(description="Progress")
    def progress(self, offer_import: OfferImport) -> str:
        summary = (
            f"{offer_import.bytes_done:,} of {offer_import.bytes_received:,} bytes,"
            f" {offer_import.lines_done:,} lines"
        )
        return render_to_string(
            "admin/import_progress.html",
            {
                "offer_import": offer_import,
                "summary": summary,
                "url": self.change_url(offer_import.pk),
            },
        )
