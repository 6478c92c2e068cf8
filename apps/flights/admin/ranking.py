"""What travellers chose, and what was learned of it, as operators see it."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
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
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.audit.history import HistoryTab
from apps.configs.runtime import configs
from apps.flights.models import OfferChoice, RankerVersion
from apps.flights.rankers import (
    activate_ranker,
    choices_to_learn_from,
    predecessor,
    require_choices,
    retire_ranker,
    roll_back_ranker,
)
from apps.flights.weights import COMPONENTS, SCORE_VERSION
from apps.tenants.models import Enterprise
from layoverhq.admin_site import give_reason, go_to
from layoverhq.keyset import InputFilter, KeysetChangeList, TextFilter, WindowFilter
from layoverhq.model_admin import (
    OperationAdmin,
    ReadOnly,
    ReasonedChange,
    ReasonForm,
    each,
    enqueue,
    pill,
    unless,
)

WINDOW_DAYS = 7
HUBS_SHOWN = 15
ENTERPRISES_SHOWN = 20
NONSTOP = "nonstop"
TRAIN = "apps.flights.tasks.train_ranker"

Status = RankerVersion.Status

TONES = {
    Status.CANDIDATE.value: "warning",
    Status.ACTIVE.value: "success",
    Status.RETIRED.value: "",
    Status.REJECTED.value: "danger",
}
CHART_OPTIONS = {
    "responsive": True,
    "maintainAspectRatio": False,
    "animation": False,
    "scales": {"y": {"beginAtZero": True, "ticks": {"precision": 0}}},
    "plugins": {"legend": {"display": False}},
}


def percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.1f} %"


def nats(loss: float) -> str:
    """Write a loss, or a dash where too little was held out for one."""
    return f"{loss:.4f}" if math.isfinite(loss) else "—"


def on_or_off(told: bool) -> str:
    return "on" if told else "off"


class ChosenDayFilter(InputFilter):
    title = f"day, UTC (the last {WINDOW_DAYS} days if empty)"
    parameter_name = "day"
    input_type = "date"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not (value := self.value()):
            return queryset.filter(chosen_at__gt=timezone.now() - timedelta(days=WINDOW_DAYS))
        try:
            day = datetime.combine(date.fromisoformat(value), time(), tzinfo=UTC)
            return queryset.filter(chosen_at__gte=day, chosen_at__lt=day + timedelta(days=1))
        except (ValueError, OverflowError):
            messages.error(request, f"“{value}” is not a day: give YYYY-MM-DD.")
            return queryset.none()


class ChooserFilter(TextFilter):
    title = "enterprise"
    parameter_name = "enterprise"
    placeholder = "slug"
    field = "enterprise__slug"


class HubFilter(TextFilter):
    title = "hub"
    parameter_name = field = "hub"
    placeholder = "IATA code"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value.lower() == NONSTOP:
            return queryset.filter(hub__isnull=True)
        return super().matching(queryset, value.upper())


@admin.register(OfferChoice)
class OfferChoiceAdmin(ReadOnly, OperationAdmin):
    """Choices by day, newest first; a page costs the same wherever it lies."""

    list_display = (
        "chosen_at",
        "enterprise",
        "route",
        "departure_day",
        "shown_hub",
        "usable_minutes",
        "overnight",
        "shown_beside",
        "booked",
    )
    list_display_links = ("chosen_at", "route")
    list_filter = (ChosenDayFilter, ChooserFilter, HubFilter)
    list_select_related = ("enterprise",)
    list_before_template = "admin/flights/hubs_chosen.html"
    ordering = ("-chosen_at", "-id")
    sortable_by = ()
    actions = None
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("chosen_at", "enterprise"),
                    ("route", "departure_day"),
                    ("shown_hub", "usable_minutes", "overnight"),
                    ("booked", "unit", "offer_id"),
                )
            },
        ),
        ("What the offers were worth", {"fields": ("comparison",)}),
    )
    readonly_fields = ("route", "shown_hub", "comparison")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, str] | None = None
    ) -> Any:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["hubs_chosen"] = _hubs_chosen(context["cl"].queryset)
            context["hub_url"] = context["cl"].get_query_string(remove=["hub", "p"])
        return response

    @display(description="Route")
    def route(self, choice: OfferChoice) -> str:
        return f"{choice.origin_airport} → {choice.destination_airport}"

    @display(description="Hub")
    def shown_hub(self, choice: OfferChoice) -> str:
        return choice.hub or NONSTOP

    @display(description="Shown beside it")
    def shown_beside(self, choice: OfferChoice) -> int:
        return len(choice.shown_ids)

    @display(description="Components, 0 to 1")
    def comparison(self, choice: OfferChoice) -> str:
        others = zip(choice.shown_hubs, choice.shown_components, strict=True)
        rows = [
            ("chosen", choice.hub, choice.components),
            *(("", hub, components) for hub, components in others),
        ]
        return render_to_string(
            "admin/flights/choice_components.html",
            {
                "names": COMPONENTS,
                "rows": [
                    {
                        "mark": mark,
                        "hub": hub or NONSTOP,
                        "values": ["—" if each is None else f"{each:.3f}" for each in components],
                    }
                    for mark, hub, components in rows
                ],
            },
        )


def _hubs_chosen(queryset: QuerySet[Any]) -> dict[str, Any]:
    """Return how often each hub was chosen, the most chosen first, as a chart."""
    counted = list(
        queryset.order_by().values("hub").annotate(number=Count("*")).order_by("-number", "hub")
    )
    rows = [(row["hub"] or NONSTOP, row["number"]) for row in counted[:HUBS_SHOWN]]
    return {
        "total": sum(row["number"] for row in counted),
        "more": len(counted) - len(rows),
        "rows": rows,
        "options": json.dumps(CHART_OPTIONS),
        "chart": json.dumps(
            {
                "labels": [hub for hub, _ in rows],
                "datasets": [{"label": "Choices", "data": [number for _, number in rows]}],
            }
        ),
    }


def _no_predecessor(version: RankerVersion) -> str:
    return unless(Status.ACTIVE)(version) or ("" if predecessor(version) else "has none before it")


ACTIVATE = ReasonedChange(
    title="Activate",
    done="Activated",
    consequence="Searches by score are ranked by these weights within a second, where"
    " features.experimental_ml is on; what was active before is retired.",
    obstacle=unless(Status.CANDIDATE, Status.RETIRED),
    operation=each(activate_ranker, "version", now=timezone.now),
)
RETIRE = ReasonedChange(
    title="Retire",
    done="Retired",
    consequence="Searches are ranked by the configured weights within a second, until the next"
    " training brings a better version.",
    obstacle=unless(Status.ACTIVE, Status.CANDIDATE),
    operation=each(retire_ranker, "version", now=timezone.now),
)
ROLL_BACK = ReasonedChange(
    title="Roll back",
    done="Rolled back",
    consequence="The version that was active before this one is active again within a second.",
    obstacle=_no_predecessor,
    operation=each(roll_back_ranker, "version", now=timezone.now),
)
CHANGES = {"activate": ACTIVATE, "roll_back": ROLL_BACK, "retire": RETIRE}


class TrainForm(ReasonForm):
    consequence = (
        "Queues a training at once, even if nothing is new. It becomes active if it gains at least"
        " ranking.margin on travellers that it was not learned from."
    )
    enterprise = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "slug"}),
        help_text="Empty: of the enterprises that share their choices (ranking.share_choices).",
    )
    field_order = ("enterprise", "reason")

    def clean_enterprise(self) -> Enterprise | None:
        slug = self.cleaned_data["enterprise"].strip()
        if not slug:
            return None
        found = Enterprise.objects.living().filter(slug=slug).first()
        if found is None:
            raise ValidationError(f"There is no “{slug}”.")
        return found


class TrainAnewForm(ReasonForm):
    consequence = TrainForm.consequence


class RankerStatusFilter(WindowFilter):
    title = "status"
    parameter_name = "status"
    windows = (("all", "All"), *Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        return queryset if chosen == "all" else queryset.filter(status=chosen)


@admin.register(RankerVersion)
class RankerVersionAdmin(ReadOnly, OperationAdmin):
    """Versions of learned weights; only whether one is used changes here."""

    list_display = (
        "trained_at",
        "whose",
        "shown_status",
        "choices",
        "held_out",
        "shown_gain",
        "shown_top_1",
        "note",
    )
    list_display_links = ("trained_at", "whose")
    list_filter = (RankerStatusFilter, ChooserFilter)
    list_select_related = ("enterprise",)
    ordering = ("-id",)
    sortable_by = ()
    actions = None
    actions_list = ("train_now",)
    actions_detail = ("activate", "roll_back", "retire", "train_anew")
    change_form_datasets = (HistoryTab.of(RankerVersion),)
    change_form_outer_before_template = "admin/flights/ranker.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("whose", "shown_status"),
                    "note",
                    ("trained_at", "activated_at", "retired_at"),
                    ("choices", "held_out", "enterprises"),
                    ("newest_choice_at", "score_version"),
                    "id",
                )
            },
        ),
    )
    readonly_fields = ("whose", "shown_status")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def standing(self) -> dict[str, Any]:
        """Return what a list without rankers tells: how far enterprises are from having one."""
        needed = configs.get("ranking.training_choices")
        counts = choices_to_learn_from(now=timezone.now())
        shown = sorted(counts, key=lambda each: (-counts[each], each))[:ENTERPRISES_SHOWN]
        enterprises = Enterprise.objects.in_bulk(shown)
        return {
            "days": configs.get("ranking.history_days"),
            "needed": needed,
            "rows": [
                {
                    "enterprise": enterprises[each],
                    "choices": counts[each],
                    "missing": max(0, needed - counts[each]),
                    "learns": on_or_off(configs.get("features.experimental_ml", enterprises[each])),
                    "shares": on_or_off(configs.get("ranking.share_choices", enterprises[each])),
                }
                for each in shown
            ],
            "more": len(counts) - len(shown),
        }

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.change_rankerversion")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Leave out what cannot be done with the version as it stands."""
        version = self._version(object_id)
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        hidden = {
            prefix + name
            for name, change in CHANGES.items()
            if version is None or change.obstacle(version)
        }
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name not in hidden]

    def _version(self, object_id: Any) -> RankerVersion | None:
        try:
            return (
                RankerVersion.objects.select_related("enterprise")
                .filter(pk=UUID(str(object_id)))
                .first()
            )
        except ValueError:
            return None

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        version = self._version(object_id)
        context = {**(extra_context or {}), "told": _told(version) if version else None}
        return super().changeform_view(request, object_id, form_url, context)

    @display(description="Of")
    def whose(self, version: RankerVersion) -> SafeString | str:
        if version.enterprise is None:
            return f"{version.enterprises} enterprises that share"
        url = reverse("admin:tenants_enterprise_change", args=[version.enterprise_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, version.enterprise)

    @display(description="Status")
    def shown_status(self, version: RankerVersion) -> SafeString:
        return pill(version.get_status_display(), TONES[version.status])

    @display(description="Gain, nats a choice")
    def shown_gain(self, version: RankerVersion) -> str:
        return f"{version.gain:+.4f} (at least {nats(version.gain_at_least)})"

    @display(description="Ranked first")
    def shown_top_1(self, version: RankerVersion) -> str:
        return f"{percent(version.top_1)}, configured {percent(version.configured_top_1)}"

    @action(
        description="Train now…",
        url_path="train",
        permissions=["operate"],
        icon="model_training",
        dialog=ActionDialog(
            title="Train now", description="", form_class=TrainForm, form_submit_text="Queue it"
        ),
    )
    def train_now(self, request: HttpRequest, form: TrainForm) -> HttpResponse:
        enterprise = form.cleaned_data["enterprise"]
        return self._train(request, form, enterprise)

    @action(
        description="Train anew…",
        url_path="train-anew",
        permissions=["operate"],
        icon="model_training",
        dialog=ActionDialog(
            title="Train anew",
            description="",
            form_class=TrainAnewForm,
            form_submit_text="Queue it",
        ),
    )
    def train_anew(self, request: HttpRequest, form: TrainAnewForm, object_id: str) -> HttpResponse:
        version = self._version(object_id)
        return self._train(request, form, version.enterprise if version else None)

    def _train(
        self, request: HttpRequest, form: ReasonForm, enterprise: Enterprise | None
    ) -> HttpResponse:
        give_reason(form.cleaned_data["reason"])
        chosen = enterprise.pk if enterprise else None
        facts = require_choices(enterprise_id=chosen, now=timezone.now())
        enqueue(TRAIN, kwargs={"enterprise_id": str(chosen or ""), "forced": True})
        whose = enterprise.name if enterprise else "the enterprises that share"
        messages.success(
            request,
            f"Queued a training on {facts['number']:,} choices of {whose}; reload in a minute.",
        )
        return go_to(request, self.changelist_url())

    @action(
        description="Activate…",
        url_path="activate",
        permissions=["operate"],
        icon="check_circle",
        variant=ActionVariant.PRIMARY,
        dialog=ACTIVATE.dialog(),
    )
    def activate(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, ACTIVATE)

    @action(
        description="Roll back…",
        url_path="roll-back",
        permissions=["operate"],
        icon="undo",
        dialog=ROLL_BACK.dialog(),
    )
    def roll_back(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, ROLL_BACK)

    @action(
        description="Retire…",
        url_path="retire",
        permissions=["operate"],
        icon="block",
        variant=ActionVariant.DANGER,
        dialog=RETIRE.dialog(),
    )
    def retire(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, RETIRE)


def _told(version: RankerVersion) -> dict[str, Any]:
    """Return a version's weights beside the configured ones, and how they do."""
    total = sum(version.configured_weights.values())
    rows = []
    for name in COMPONENTS:
        learned = version.weights.get(name, 0)
        configured = version.configured_weights.get(name, 0) / total if total else 0
        rows.append(
            {
                "name": name,
                "learned": percent(learned),
                "configured": percent(configured),
                "learned_width": f"{100 * learned:.1f}",
                "configured_width": f"{100 * configured:.1f}",
            }
        )
    return {
        "rows": rows,
        "figures": [
            (
                "Log loss, nats a choice",
                nats(version.log_loss),
                nats(version.configured_log_loss),
                "less is better",
            ),
            (
                "Ranked first",
                percent(version.top_1),
                percent(version.configured_top_1),
                "more is better",
            ),
        ],
        "gain": f"{version.gain:+.4f}",
        "gain_at_least": nats(version.gain_at_least),
        "margin": f"{configs.get('ranking.margin', version.enterprise):g}",
        "held_out": f"{version.held_out:,}",
        "unused": _unused(version),
    }


def _unused(version: RankerVersion) -> str:
    """Say why an active version ranks nobody; empty where it does, or is not active."""
    if version.status != Status.ACTIVE:
        return ""
    if version.score_version != SCORE_VERSION:
        return f"The score's formula is {SCORE_VERSION} by now."
    days = configs.get("ranking.fresh_days", version.enterprise)
    if timezone.now() - version.trained_at > timedelta(days=days):
        return f"It was trained more than {days} days ago (ranking.fresh_days)."
    if version.enterprise and not configs.get("features.experimental_ml", version.enterprise):
        return "features.experimental_ml is off for the enterprise."
    return ""
