"""The home page: what stands and what waits, each number a link to the list behind it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.admin.utils import quote
from django.db.models import Count, F, Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from apps.audit.history import actors
from apps.audit.models import AuditEvent
from apps.configs.models import ConfigChangeSet
from apps.configs.runtime import configs
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flights.models import InventoryLoad
from apps.layovers.models import Experience, LayoverCacheCount, LayoverInput
from apps.tenants.models import ApiKey, Enterprise
from apps.webhooks.models import WebhookEndpoint
from layoverhq.admin.schedules import overdue_tasks

KEYS_EXPIRE_SOON = timedelta(days=14)
CHART_DAYS = 14
EVENTS_SHOWN = 8
TONES = {"active": "success", "suspended": "warning", "offboarding": "danger", "offboarded": ""}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the panels that the operator may see."""
    context["panels"] = {
        name: panel() for name, permission, panel in PANELS if request.user.has_perm(permission)
    }
    return context


def _list(model: str, **filters: Any) -> str:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return reverse(f"admin:{model}_changelist") + (f"?{query}" if query else "")


def _number(label: str, value: int, url: str, tone: str = "") -> dict[str, Any]:
    return {"label": label, "value": value, "url": url, "tone": tone if value else ""}


def enterprises() -> list[dict[str, Any]]:
    """Count the enterprises by status."""
    counts = dict(Enterprise.objects.order_by().values_list("status").annotate(number=Count("pk")))
    return [
        _number(
            str(label),
            counts.get(value, 0),
            _list("tenants_enterprise", status=value),
            TONES[value],
        )
        for value, label in Enterprise.Status.choices
    ]


def keys() -> list[dict[str, Any]]:
    """Count the usable keys, and those that soon are not."""
    now = timezone.now()
    counts = ApiKey.objects.usable(now).aggregate(
        usable=Count("pk"), soon=Count("pk", filter=Q(expires_at__lte=now + KEYS_EXPIRE_SOON))
    )
    return [
        _number("Usable", counts["usable"], _list("tenants_apikey", state="usable")),
        _number(
            f"Expire within {KEYS_EXPIRE_SOON.days} days",
            counts["soon"],
            _list("tenants_apikey", state="soon"),
            "warning",
        ),
    ]


def offers() -> list[dict[str, Any]]:
    """Return the offers loaded for each of the coming days, by the loads' own counts."""
    today = timezone.now().date()
    days = [today + timedelta(days=offset) for offset in range(CHART_DAYS)]
    loaded = dict(
        InventoryLoad.objects.filter(day__range=(days[0], days[-1]))
        .order_by()
        .values_list("day")
        .annotate(number=Sum("offers"))
    )
    most = max(loaded.values(), default=0) or 1
    return [
        {
            "day": day,
            "value": loaded.get(day, 0),
            "short": _thousands(loaded.get(day, 0)),
            "percent": round(100 * loaded.get(day, 0) / most),
            "url": _list("flights_flight", day=day.isoformat()),
        }
        for day in days
    ]


def _thousands(number: int) -> str:
    if number < 1000:
        return str(number) if number else "–"
    return f"{number / 1000:.0f}k"


def configuration() -> dict[str, Any]:
    """Return what waits in configuration, and the values that this process cannot use."""
    stages = dict(
        ConfigChangeSet.objects.order_by().values_list("stage").annotate(number=Count("pk"))
    )
    stage = ConfigChangeSet.Stage
    stuck = ConfigChangeSet.objects.exclude(problem="").count()
    rows = [
        _number(str(label), stages.get(value, 0), _list(CHANGE_SETS, stage=value), tone)
        for value, label, tone in (
            (stage.IN_REVIEW, stage.IN_REVIEW.label, "warning"),
            (stage.SCHEDULED, stage.SCHEDULED.label, ""),
            (stage.STAGED, stage.STAGED.label, ""),
        )
    ]
    return {
        "numbers": [*rows, _number("Stuck", stuck, _list(CHANGE_SETS, stage="stuck"), "danger")],
        "faults": [
            {
                "key": key,
                "tenant": tenant_id,
                "why": why,
                "url": reverse("admin:configs_configkey_change", args=[quote(key)]),
            }
            for (key, tenant_id), why in sorted(
                configs.faults().items(), key=lambda fault: (fault[0][0], str(fault[0][1]))
            )
        ],
    }


def flags() -> list[dict[str, Any]]:
    """Count the flags that are killed or about to step, and the changes that wait."""
    used = FeatureFlag.objects.filter(is_archived=False)
    counts = used.aggregate(
        on=Count("pk", filter=Q(enabled=True, is_killed=False)),
        killed=Count("pk", filter=Q(is_killed=True)),
        steps=Count("pk", filter=Q(next_step_at__isnull=False)),
        stuck=Count("pk", filter=~Q(step_problem="")),
    )
    reviewed = FlagVersion.objects.filter(status=FlagVersion.Status.IN_REVIEW).count()
    scheduled = FlagVersion.objects.filter(status=FlagVersion.Status.SCHEDULED).count()
    return [
        _number("On", counts["on"], _list(FLAGS, state="on")),
        _number("Killed", counts["killed"], _list(FLAGS, state="killed"), "danger"),
        _number("With steps to come", counts["steps"], _list(FLAGS, state="steps")),
        _number("With a stuck step", counts["stuck"], _list(FLAGS, state="stuck"), "danger"),
        _number("Changes in review", reviewed, _list(CHANGES, status="in_review"), "warning"),
        _number("Changes scheduled", scheduled, _list(CHANGES, status="scheduled")),
    ]


def layovers() -> list[dict[str, Any]]:
    """Tell how many analyses were found ready within a day, and where the weather fails."""
    told = LayoverCacheCount.objects.filter(hour__gte=timezone.now() - timedelta(days=1)).aggregate(
        found=Sum(F("hits") + F("stale")), missed=Sum("misses")
    )
    found, missed = told["found"] or 0, told["missed"] or 0
    asked = found + missed
    ratio = round(100 * found / asked) if asked else 0
    failing = LayoverInput.objects.exclude(weather_problem="").count()
    experiences = Experience.objects.active().count()
    return [
        _number("Analyses within a day", asked, _list("layovers_layoveranalysis")),
        _number("Of these kept, per cent", ratio, _list("layovers_layoveranalysis")),
        _number("Hubs without weather", failing, _list(HUBS, weather="failing"), "danger"),
        _number("Experiences", experiences, _list("layovers_experience", is_active__exact=1)),
    ]


def webhooks() -> list[dict[str, Any]]:
    """Count the endpoints that do not answer, and those that were disabled for it."""
    counts = WebhookEndpoint.objects.aggregate(
        active=Count("pk", filter=Q(status="active")),
        failing=Count("pk", filter=Q(status="active", failing_since__isnull=False)),
        paused=Count("pk", filter=Q(status="paused")),
        disabled=Count("pk", filter=Q(status="disabled")),
    )
    return [
        _number("Active", counts["active"], _list(ENDPOINTS, health="active")),
        _number(
            "Of these failing", counts["failing"], _list(ENDPOINTS, health="failing"), "warning"
        ),
        _number("Paused", counts["paused"], _list(ENDPOINTS, health="paused")),
        _number("Disabled", counts["disabled"], _list(ENDPOINTS, health="disabled"), "danger"),
    ]


def schedules() -> dict[str, Any]:
    """Return the schedules that have missed their time, and how many are switched off."""
    overdue = overdue_tasks()
    disabled = PeriodicTask.objects.filter(enabled=False).count()
    enabled = PeriodicTask.objects.filter(enabled=True).count()
    return {
        "numbers": [
            _number("Enabled", enabled, _list(BEAT, standing="enabled")),
            _number("Overdue", len(overdue), _list(BEAT, standing="overdue"), "danger"),
            _number("Disabled", disabled, _list(BEAT, standing="disabled"), "warning"),
        ],
        "overdue": [
            {
                "name": task.name,
                "url": reverse(f"admin:{BEAT}_change", args=[task.pk]),
                "last_run_at": task.last_run_at,
            }
            for task in overdue
        ],
    }


def events() -> list[dict[str, Any]]:
    """Return the latest changes, with who made them."""
    latest = list(AuditEvent.objects.order_by("-at", "-id")[:EVENTS_SHOWN])
    users = actors(latest)
    return [
        {
            "event": event,
            "actor": users.get(event.user_id),
            "url": reverse("admin:audit_auditevent_change", args=[event.pk]),
        }
        for event in latest
    ]


CHANGE_SETS = "configs_configchangeset"
FLAGS = "flags_featureflag"
CHANGES = "flags_flagversion"
HUBS = "layovers_layoverinput"
ENDPOINTS = "webhooks_webhookendpoint"
BEAT = "django_celery_beat_periodictask"
PANELS: tuple[tuple[str, str, Callable[[], Any]], ...] = (
    ("enterprises", "tenants.view_enterprise", enterprises),
    ("keys", "tenants.view_apikey", keys),
    ("offers", "flights.view_flight", offers),
    ("configuration", "configs.view_configchangeset", configuration),
    ("flags", "flags.view_featureflag", flags),
    ("layovers", "layovers.view_layoveranalysis", layovers),
    ("webhooks", "webhooks.view_webhookendpoint", webhooks),
    ("schedules", "django_celery_beat.view_periodictask", schedules),
    ("events", "audit.view_auditevent", events),
)
