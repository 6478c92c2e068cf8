"""The sidebar, by the operator's task; it holds what the operator may see."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from apps.configs.models import ConfigChangeSet
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flights.providers.queries import troubled_providers
from apps.tenants.models import EnterpriseMove, Offboarding
from apps.webhooks.models import WebhookEndpoint
from layoverhq.admin.schedules import overdue_tasks

GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Customers",
        (
            ("Enterprises", "apartment", "tenants.enterprise"),
            ("Storefronts", "storefront", "storefront.storefront"),
            ("API keys", "key", "tenants.apikey"),
            ("Users", "group", "tenants.user"),
            ("Moves", "move_down", "tenants.enterprisemove"),
        ),
    ),
    (
        "Trips",
        (
            ("Travellers", "luggage", "trips.traveller"),
            ("Saved searches", "bookmark", "trips.savedsearch"),
            ("Trips", "travel", "trips.trip"),
            ("Alerts", "notifications", "trips.pricealert"),
        ),
    ),
    (
        "Webhooks",
        (
            ("Endpoints", "webhook", "webhooks.webhookendpoint"),
            ("Deliveries", "outbox", "webhooks.webhookdelivery"),
        ),
    ),
    (
        "Inventory",
        (
            ("Flights", "flight", "flights.flight"),
            ("Private offers", "sell", "flights.enterpriseflight"),
            ("Imports", "upload_file", "flights.offerimport"),
            ("Exchange rates", "currency_exchange", "flights.exchangerate"),
            ("Providers", "cloud_download", "flights.flightprovider"),
            ("Pull plan", "event_note", "flights.providerroute"),
            ("Fetches", "downloading", "flights.providerfetch"),
            ("Rejected offers", "block", "flights.providerreject"),
            ("Airports", "connecting_airports", "flights.airport"),
            ("Connection times", "transfer_within_a_station", "flights.minimumconnectiontime"),
            ("Composed days", "route", "flights.composedday"),
            ("Composed routes", "alt_route", "flights.composedroute"),
            ("Routes", "route", "flights.routeday"),
            ("Popular routes", "trending_up", "flights.popularlayoverroute"),
            ("Search playground", "travel_explore", "flights.searchplayground"),
            ("Demo loads", "deployed_code_update", "flights.inventoryload"),
        ),
    ),
    (
        "Layovers",
        (
            ("Experiences", "attractions", "layovers.experience"),
            ("Weather", "partly_cloudy_day", "layovers.layoverinput"),
            ("Analyses", "insights", "layovers.layoveranalysis"),
        ),
    ),
    (
        "Configuration",
        (
            ("Keys", "tune", "configs.configkey"),
            ("Change sets", "difference", "configs.configchangeset"),
            ("Versions", "history_toggle_off", "configs.systemconfig"),
            ("Categories", "category", "configs.configcategory"),
        ),
    ),
    (
        "Flags",
        (
            ("Flags", "flag", "flags.featureflag"),
            ("Changes", "rate_review", "flags.flagversion"),
            ("Experiments", "science", "flags.experiment"),
            ("Segments", "groups", "flags.flagsegment"),
            ("Namespaces", "data_array", "flags.flagnamespace"),
        ),
    ),
    (
        "Operations",
        (
            ("Schedules", "schedule", "django_celery_beat.periodictask"),
            ("Crontabs", "calendar_clock", "django_celery_beat.crontabschedule"),
            ("Intervals", "timelapse", "django_celery_beat.intervalschedule"),
            ("Clocked times", "alarm", "django_celery_beat.clockedschedule"),
            ("Partitions", "database", "flights.partitionsize"),
            ("Audit log", "history", "audit.auditevent"),
        ),
    ),
    ("Access", (("Operator groups", "shield_person", "auth.group"),)),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups with what waits on the operator as badges."""
    groups = [{"title": "", "items": [_home()]}]
    for title, entries in GROUPS:
        items = [_item(*entry) for entry in entries if _visible(request, entry[2])]
        if items:
            groups.append({"title": title, "items": items})
    return groups


def _home() -> dict[str, Any]:
    return {"title": "Home", "icon": "home", "link": reverse("admin:index")}


def _visible(request: HttpRequest, label: str) -> bool:
    app, model = label.split(".")
    return request.user.has_perm(f"{app}.view_{model}") or request.user.has_perm(
        f"{app}.change_{model}"
    )


def _item(title: str, icon: str, label: str) -> dict[str, Any]:
    app, model = label.split(".")
    item: dict[str, Any] = {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{app}_{model}_changelist"),
    }
    count = WAITING[label]() if label in WAITING else 0
    if count:
        item.update(badge=count, badge_variant="warning")
    return item


# What waits on the operator: archives to erase after, changes to approve or that are stuck, flags
# that are killed or whose step is stuck, moves that failed, webhooks that are disabled, providers
# that the plan needs and that do not answer, and
# schedules that stand still.
WAITING = {
    "configs.configchangeset": lambda: ConfigChangeSet.objects.filter(
        Q(stage=ConfigChangeSet.Stage.IN_REVIEW) | ~Q(problem="")
    ).count(),
    "flags.featureflag": lambda: FeatureFlag.objects.filter(
        Q(is_killed=True) | ~Q(step_problem=""), is_archived=False
    ).count(),
    "flags.flagversion": lambda: FlagVersion.objects.filter(
        Q(status=FlagVersion.Status.IN_REVIEW) | Q(status="scheduled") & ~Q(problem="")
    ).count(),
    "flights.flightprovider": lambda: len(troubled_providers(timezone.now())),
    "tenants.enterprise": lambda: Offboarding.objects.filter(
        stage=Offboarding.Stage.EXPORTED
    ).count(),
    "tenants.enterprisemove": lambda: (
        EnterpriseMove.objects.filter(finished_at__isnull=True).exclude(error="").count()
    ),
    "webhooks.webhookendpoint": lambda: WebhookEndpoint.objects.filter(
        status=WebhookEndpoint.Status.DISABLED
    ).count(),
    "django_celery_beat.periodictask": lambda: len(overdue_tasks()),
}
