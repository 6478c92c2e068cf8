"""The weather at the airports that analyses ask for: how old, how well, hour by hour."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from unfold.decorators import action, display

from apps.configs.runtime import configs
from apps.flights.airports import airports
from apps.layovers.models import LayoverInput, WeatherObservation
from apps.layovers.observing import hour_of
from apps.layovers.tasks import refresh_hub_weather, weather_is_wanted
from layoverhq.model_admin import OperationAdmin, PageTab, ReadOnly, enqueue, pill

HOURS_SHOWN = 48


def standing(hub: LayoverInput) -> str:
    """Return how well the weather is known: fresh, old, failing or never asked for."""
    failed, fetched = hub.weather_failed_at, hub.weather_fetched_at
    if failed and (fetched is None or failed > fetched):
        return "failing"
    if fetched is None:
        return "never asked"
    ttl = timedelta(seconds=configs.get("weather.cache_ttl"))
    return "fresh" if timezone.now() - fetched < ttl else "old"


TONES = {"fresh": "success", "old": "warning", "failing": "danger", "never asked": ""}


class StandingFilter(admin.SimpleListFilter):
    title = "weather"
    parameter_name = "weather"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("known", "asked for"), ("failing", "failing"), ("never", "never asked for")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LayoverInput]
    ) -> QuerySet[LayoverInput]:
        failing = Q(weather_failed_at__isnull=False) & ~Q(weather_problem="")
        chosen = {
            "known": queryset.filter(weather_fetched_at__isnull=False),
            "failing": queryset.filter(failing),
            "never": queryset.filter(
                weather_fetched_at__isnull=True, weather_failed_at__isnull=True
            ),
        }
        return chosen.get(self.value() or "", queryset)


class HoursTab(PageTab):
    """The coming hours at a hub, on its own clock."""

    model = WeatherObservation
    model_name = "hours"
    title = "Hours"
    template_name = "admin/layovers/tab_hours.html"

    def context(self) -> dict[str, Any]:
        zone = ZoneInfo(airports.get().get(self.object_id, "UTC"))
        rows = WeatherObservation.objects.filter(
            airport_code=self.object_id, hour__gte=timezone.now() - timedelta(hours=1)
        ).order_by("hour")[:HOURS_SHOWN]
        return {
            "zone": zone.key,
            "hours": [
                {"at": row.hour.astimezone(zone), "row": row, "known": hour_of(row)} for row in rows
            ],
        }


@admin.register(LayoverInput)
class LayoverInputAdmin(ReadOnly, OperationAdmin):
    list_display = ("airport_code", "shown_standing", "shown_age", "weather_problem")
    list_filter = (StandingFilter,)
    search_fields = ("airport_code",)
    search_help_text = "Find by IATA code."
    actions = ("refresh_selected",)
    change_form_datasets = (HoursTab,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "airport_code",
                    "shown_standing",
                    ("weather_fetched_at", "weather_failed_at"),
                    "weather_problem",
                )
            },
        ),
        (
            "Versions of what analyses are made from",
            {"fields": (("experiences_version", "weather_version", "invalidations"),)},
        ),
    )
    readonly_fields = ("shown_standing",)

    def has_refresh_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("layovers.refresh_weather")

    @display(description="Weather")
    def shown_standing(self, hub: LayoverInput) -> SafeString:
        word = standing(hub)
        return pill(word, TONES[word])

    @display(description="Asked")
    def shown_age(self, hub: LayoverInput) -> str:
        if hub.weather_fetched_at is None:
            return "—"
        return f"{timesince(hub.weather_fetched_at)} ago"

    @action(description="Ask for the weather now", permissions=["refresh"])
    def refresh_selected(self, request: HttpRequest, queryset: QuerySet[LayoverInput]) -> None:
        """Queue the question; an answer of the service replaces what is kept."""
        if not weather_is_wanted():
            told = "Nobody is asked: the flag real_time_weather is off for every enterprise."
            messages.warning(request, told)
            return
        codes = list(queryset.values_list("pk", flat=True))
        enqueue(refresh_hub_weather.name, kwargs={"airports": codes})
        number = "1 airport" if len(codes) == 1 else f"{len(codes)} airports"
        messages.success(request, f"Asking for the weather at {number}.")
