"""What was fetched, what came of it, and what could not be used: read, never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from apps.flights.providers.admin.fetching import fetch_url
from apps.flights.providers.admin.plan import DestinationFilter, EnterpriseFilter, OriginFilter
from apps.flights.providers.models import ProviderFetch, ProviderReject
from layoverhq.keyset import KeysetChangeList, TextFilter
from layoverhq.model_admin import OperationAdmin, ReadOnly, ReadOnlyInline, pill

COLOURS = {
    ProviderFetch.Status.QUEUED.value: "",
    ProviderFetch.Status.RUNNING.value: "info",
    ProviderFetch.Status.DONE.value: "success",
    ProviderFetch.Status.FAILED.value: "danger",
}


class ProviderFilter(TextFilter):
    title = "provider"
    parameter_name = "provider"
    placeholder = "name"
    field = "provider__name"


class CauseFilter(TextFilter):
    title = "why it failed"
    parameter_name = "cause"
    placeholder = "such as timeout"
    field = "error_code"


class RejectsInline(ReadOnlyInline):
    model = ProviderReject
    fields = ("position", "reason", "field", "detail", "excerpt")
    ordering = ("position",)
    verbose_name_plural = "rejected offers"
    show_change_link = False


@admin.register(ProviderFetch)
class ProviderFetchAdmin(ReadOnly, OperationAdmin):
    list_display = (
        "created_at",
        "provider",
        "journey",
        "day",
        "enterprise",
        "shown_status",
        "inserted",
        "updated",
        "unchanged",
        "withdrawn",
        "rejected",
        "requests",
        "shown_duration",
    )
    list_display_links = ("created_at", "journey")
    list_filter = (
        ProviderFilter,
        "status",
        CauseFilter,
        OriginFilter,
        DestinationFilter,
        EnterpriseFilter,
    )
    list_select_related = ("provider", "enterprise")
    ordering = ("-id",)
    sortable_by = ()
    actions = None
    inlines = (RejectsInline,)
    fieldsets = (
        (None, {"fields": ("progress",)}),
        (
            "Answer",
            {
                "fields": (
                    ("inserted", "updated", "unchanged"),
                    ("withdrawn", "duplicates", "rejected"),
                )
            },
        ),
        (
            "Fetch",
            {
                "fields": (
                    ("provider", "enterprise"),
                    ("journey", "day"),
                    ("created_at", "started_at", "finished_at"),
                    ("requests", "shown_duration"),
                    "id",
                )
            },
        ),
    )
    readonly_fields = ("progress", "journey", "shown_duration")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        if "HX-Request" in request.headers and object_id:
            fetch = self.get_object(request, object_id)
            if fetch is not None and fetch.finished_at is not None:
                # Whoever follows it sees the whole page anew, with what came of it.
                return HttpResponse(headers={"HX-Refresh": "true"})
        return super().changeform_view(request, object_id, form_url, extra_context)

    @display(description="Route")
    def journey(self, fetch: ProviderFetch) -> str:
        return f"{fetch.origin} → {fetch.destination}"

    @display(description="Status")
    def shown_status(self, fetch: ProviderFetch) -> SafeString:
        return pill(fetch.error_code or fetch.get_status_display(), COLOURS[fetch.status])

    @display(description="Took")
    def shown_duration(self, fetch: ProviderFetch) -> str:
        return "—" if fetch.duration_ms is None else f"{fetch.duration_ms:,} ms"

    @display(description="Status")
    def progress(self, fetch: ProviderFetch) -> str:
        return render_to_string(
            "admin/flights/fetch_progress.html",
            {
                "fetch": fetch,
                "pill": self.shown_status(fetch),
                "is_open": fetch.finished_at is None,
                "url": fetch_url(fetch.pk),
            },
        )


class RejectProviderFilter(ProviderFilter):
    field = "fetch__provider__name"


class ReasonFilter(TextFilter):
    title = "reason"
    parameter_name = "reason"
    placeholder = "such as unknown_airport"
    field = "reason"


@admin.register(ProviderReject)
class ProviderRejectAdmin(ReadOnly, OperationAdmin):
    list_display = ("shown_fetch", "provider", "reason", "field", "detail", "shown_excerpt")
    list_display_links = ("reason",)
    list_filter = (RejectProviderFilter, ReasonFilter)
    list_select_related = ("fetch__provider",)
    ordering = ("-id",)
    sortable_by = ()
    actions = None
    fieldsets = (
        (None, {"fields": ("shown_fetch", "provider", "position")}),
        ("Why", {"fields": (("reason", "field"), "detail", "excerpt")}),
    )
    readonly_fields = ("shown_fetch", "provider")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderReject]:
        found: QuerySet[ProviderReject] = super().get_queryset(request)
        return found.select_related("fetch__provider")

    @display(description="Fetch")
    def shown_fetch(self, reject: ProviderReject) -> SafeString:
        return format_html(
            '<a class="text-link" href="{}">{}, {}</a>',
            fetch_url(reject.fetch_id),
            reject.fetch,
            f"{reject.fetch.created_at:%Y-%m-%d %H:%M}",
        )

    @display(description="Provider")
    def provider(self, reject: ProviderReject) -> str:
        return str(reject.fetch.provider)

    @display(description="As it was sent")
    def shown_excerpt(self, reject: ProviderReject) -> str:
        return f"{reject.excerpt[:80]}…" if len(reject.excerpt) > 80 else reject.excerpt
