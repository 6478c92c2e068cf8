"""Webhooks as operators see them: which fail, what waits, what is dead, and sending it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from apps.audit.history import HistoryTab
from apps.webhooks.models import Event, WebhookDelivery, WebhookEndpoint
from apps.webhooks.operations import (
    pause_endpoints,
    ping,
    replay_deliveries,
    resume_endpoints,
)
from layoverhq import context
from layoverhq.keyset import EnterpriseFilter, KeysetChangeList, TextFilter, WindowFilter
from layoverhq.model_admin import (
    OperationAdmin,
    ReadOnly,
    ReadOnlyInline,
    ReasonedChange,
    ReasonForm,
    pill,
    unless,
)

ENDPOINT_TONES = {"active": "success", "paused": "warning", "disabled": "danger"}
DELIVERY_TONES = {"pending": "info", "delivered": "success", "dead": "danger"}


def _not_replayable(delivery: WebhookDelivery) -> str:
    if delivery.endpoint.status == WebhookEndpoint.Status.DISABLED:
        return "is of a disabled endpoint: resume that first"
    return unless("dead", "delivered")(delivery)


def _pause(endpoints: Sequence[WebhookEndpoint]) -> None:
    pause_endpoints(endpoints=endpoints, reason=context.current().reason)


def _resume(endpoints: Sequence[WebhookEndpoint]) -> None:
    resume_endpoints(endpoints=endpoints)


def _ping(endpoints: Sequence[WebhookEndpoint]) -> None:
    for endpoint in endpoints:
        ping(endpoint=endpoint, now=timezone.now())


def _replay(deliveries: Sequence[WebhookDelivery]) -> None:
    chosen = WebhookDelivery.objects.filter(pk__in=[each.pk for each in deliveries])
    replay_deliveries(deliveries=chosen, now=timezone.now())


PAUSE = ReasonedChange(
    title="Pause",
    done="Paused",
    consequence="Nothing is sent to it from now on. What happens meanwhile is kept, and sent once"
    " it goes on. Its owner sees the reason.",
    obstacle=unless("active"),
    operation=_pause,
)
RESUME = ReasonedChange(
    title="Resume",
    done="Resumed",
    consequence="What waits is sent at once. Dead letters stay so: replay them.",
    obstacle=unless("paused", "disabled"),
    operation=_resume,
)
PING = ReasonedChange(
    title="Send a trial",
    done="Queued a trial message for",
    consequence="A message of type webhook.ping is sent to the address. Its delivery tells what"
    " came of it.",
    obstacle=unless("active"),
    operation=_ping,
)
REPLAY = ReasonedChange(
    title="Replay",
    done="Queued again",
    consequence="The same message is sent again, with the same id, and tried for a day anew. A"
    " receiver that keeps ids takes it once.",
    obstacle=_not_replayable,
    operation=_replay,
)


class HealthFilter(WindowFilter):
    title = "health"
    parameter_name = "health"
    windows = (
        ("all", "All"),
        ("failing", "Failing"),
        *((value, label.partition(":")[0]) for value, label in WebhookEndpoint.Status.choices),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        if chosen == "failing":
            return queryset.filter(status="active", failing_since__isnull=False)
        return queryset if chosen == "all" else queryset.filter(status=chosen)


class DeliveryColumns:
    """How a delivery stands, in lists and on its page."""

    @display(description="Status")
    def shown_status(self, delivery: WebhookDelivery) -> SafeString:
        label = WebhookDelivery.Status(delivery.status).label
        return pill(label, DELIVERY_TONES[delivery.status])

    @display(description="Last outcome")
    def shown_outcome(self, delivery: WebhookDelivery) -> str:
        return delivery.last_outcome or "—"

    @display(description="Next attempt at")
    def shown_next(self, delivery: WebhookDelivery) -> datetime | str:
        return delivery.due_at or "—"


class RecentDeliveriesInline(DeliveryColumns, ReadOnlyInline):
    model = WebhookDelivery
    fields = readonly_fields = (
        "created_at",
        "event",
        "shown_status",
        "attempts",
        "shown_outcome",
        "shown_next",
    )
    ordering = ("-id",)
    verbose_name_plural = "deliveries"


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnly, OperationAdmin):
    list_display = (
        "url",
        "enterprise",
        "shown_status",
        "shown_health",
        "last_success_at",
        "shown_waiting",
        "shown_dead",
    )
    list_filter = (HealthFilter, EnterpriseFilter)
    list_select_related = ("enterprise",)
    search_fields = ("url",)
    search_help_text = "Find by address."
    ordering = ("-id",)
    inlines = (RecentDeliveriesInline,)
    change_form_datasets = (HistoryTab.of(WebhookEndpoint),)
    actions = ("pause_selected", "resume_selected")
    actions_detail = ("pause", "resume", "ping")
    fields = (
        ("url", "enterprise"),
        "description",
        "events",
        ("shown_status", "status_reason"),
        ("shown_health", "last_error"),
        ("last_success_at", "last_failure_at"),
        ("shown_waiting", "shown_dead"),
        ("created_at", "updated_at"),
        "old_secret_until",
    )
    readonly_fields = ("shown_status", "shown_health", "shown_waiting", "shown_dead")

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        counted = {
            f"{status}_count": Count("deliveries", filter=Q(deliveries__status=status))
            for status in ("pending", "dead")
        }
        return super().get_queryset(request).annotate(**counted)

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("webhooks.change_webhookendpoint")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        endpoint = self.get_object(request, object_id)
        if endpoint is None:
            return []
        possible = ("pause", "ping") if endpoint.status == "active" else ("resume",)
        names = {f"webhooks_webhookendpoint_{name}" for name in possible}
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name in names]

    @display(description="Status")
    def shown_status(self, endpoint: WebhookEndpoint) -> SafeString:
        label = WebhookEndpoint.Status(endpoint.status).label.partition(":")[0]
        return pill(label, ENDPOINT_TONES[endpoint.status])

    @display(description="Health")
    def shown_health(self, endpoint: WebhookEndpoint) -> str:
        if endpoint.failing_since is None:
            return "answers" if endpoint.last_success_at else "not called yet"
        since = f"{endpoint.failing_since:%Y-%m-%d %H:%M} UTC"
        return f"failed {endpoint.failures} times since {since}"

    @display(description="Waiting")
    def shown_waiting(self, endpoint: WebhookEndpoint) -> SafeString | int:
        return self._counted(endpoint, "pending")

    @display(description="Dead letters")
    def shown_dead(self, endpoint: WebhookEndpoint) -> SafeString | int:
        return self._counted(endpoint, "dead")

    def _counted(self, endpoint: WebhookEndpoint, status: str) -> SafeString | int:
        number = getattr(endpoint, f"{status}_count")
        if not number:
            return 0
        url = reverse("admin:webhooks_webhookdelivery_changelist")
        return format_html(
            '<a class="text-link" href="{}?status={}&amp;endpoint={}">{}</a>',
            url,
            status,
            endpoint.pk,
            number,
        )

    @action(description="Pause…", permissions=["operate"])
    def pause_selected(
        self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, PAUSE)

    @action(description="Resume…", permissions=["operate"])
    def resume_selected(
        self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, RESUME)

    @action(
        description="Pause…",
        permissions=["operate"],
        icon="pause_circle",
        variant=ActionVariant.WARNING,
        dialog=PAUSE.dialog(),
    )
    def pause(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, PAUSE)

    @action(
        description="Resume…",
        permissions=["operate"],
        icon="play_circle",
        variant=ActionVariant.SUCCESS,
        dialog=RESUME.dialog(),
    )
    def resume(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, RESUME)

    @action(
        description="Send a trial…",
        permissions=["operate"],
        icon="network_ping",
        dialog=PING.dialog(),
    )
    def ping(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, PING)


class DeliveryFilter(WindowFilter):
    title = "status"
    parameter_name = "status"
    windows = (("all", "All"), *WebhookDelivery.Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        return queryset if chosen == "all" else queryset.filter(status=chosen)


class EventFilter(WindowFilter):
    title = "event"
    parameter_name = "event"
    windows = (("all", "All"), *((value, value) for value in (*Event.values, "webhook.ping")))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        return queryset if chosen == "all" else queryset.filter(event=chosen)


class EndpointFilter(TextFilter):
    title = "endpoint"
    parameter_name = "endpoint"
    placeholder = "id"
    field = "endpoint_id"


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(DeliveryColumns, ReadOnly, OperationAdmin):
    list_display = (
        "created_at",
        "event",
        "enterprise",
        "endpoint",
        "shown_status",
        "attempts",
        "shown_outcome",
        "shown_next",
    )
    list_filter = (DeliveryFilter, EventFilter, EnterpriseFilter, EndpointFilter)
    list_select_related = ("enterprise", "endpoint")
    ordering = ("-id",)
    sortable_by = ()
    actions = ("replay_selected",)
    actions_detail = ("replay",)
    fields = (
        ("event", "event_id"),
        ("enterprise", "endpoint"),
        ("shown_status", "attempts"),
        ("created_at", "finished_at"),
        ("last_attempt_at", "shown_next"),
        ("shown_outcome", "last_excerpt"),
        "shown_body",
    )
    readonly_fields = ("shown_status", "shown_outcome", "shown_next", "shown_body")
    change_form_datasets = (HistoryTab.of(WebhookDelivery),)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def has_replay_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("webhooks.change_webhookdelivery")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        delivery = self.get_object(request, object_id)
        if delivery is None or delivery.status == WebhookDelivery.Status.PENDING:
            return []
        permitted: list[Any] = super().get_actions_detail(request, object_id)
        return permitted

    @display(description="Message")
    def shown_body(self, delivery: WebhookDelivery) -> SafeString:
        text = json.dumps(json.loads(delivery.body), ensure_ascii=False, indent=2)
        return format_html('<pre style="white-space: pre-wrap">{}</pre>', text)

    @action(description="Replay…", permissions=["replay"])
    def replay_selected(
        self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, REPLAY)

    @action(
        description="Replay…",
        permissions=["replay"],
        icon="replay",
        variant=ActionVariant.PRIMARY,
        dialog=REPLAY.dialog(),
    )
    def replay(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, REPLAY)
