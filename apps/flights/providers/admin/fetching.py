"""The dialog that fetches a route and day at once, of a provider's page or of a plan's row."""

from __future__ import annotations

from datetime import date
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.flights.providers.models import FlightProvider
from apps.flights.providers.operations import request_fetch
from apps.tenants.models import Enterprise
from layoverhq.admin_site import go_to

FETCH_TOLD = (
    "Asks the provider now, ahead of what is due, and stores its answer; it counts against the "
    "quotas. What stood of that route and day and is not in the answer ends."
)


class DayForm(BaseDialogForm):  # type: ignore[misc]
    """Which day to fetch."""

    day = forms.DateField(
        label="Day of departure",
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        help_text="By the origin's calendar.",
    )


class JourneyForm(DayForm):
    """Which route and day to fetch."""

    origin = forms.CharField(
        max_length=3, widget=UnfoldAdminTextInputWidget, help_text="IATA code, such as SFO."
    )
    destination = forms.CharField(
        max_length=3, widget=UnfoldAdminTextInputWidget, help_text="IATA code, such as JFK."
    )
    field_order = ("origin", "destination", "day")


def fetch_now(
    request: HttpRequest,
    provider: FlightProvider,
    *,
    origin: str,
    destination: str,
    day: date,
    enterprise: Enterprise | None = None,
) -> HttpResponse:
    """Queue the fetch and show it."""
    fetch = request_fetch(
        provider=provider,
        origin=origin,
        destination=destination,
        day=day,
        enterprise=enterprise,
        now=timezone.now(),
    )
    messages.success(request, f"Queued {fetch} from {provider}; this page follows it.")
    return go_to(request, fetch_url(fetch.pk))


def fetch_url(pk: Any) -> str:
    """Return a fetch's page."""
    return reverse("admin:flights_providerfetch_change", args=[pk])
