"""Experiments: drafted with choices, started and stopped with a reason, and read off the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import cycle
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.audit.history import HistoryTab
from apps.flags.admin.verbs import found, named
from apps.flags.experiments import (
    LONGEST_WINDOW_HOURS,
    MAXIMUM_GOALS,
    Goal,
    api_events,
    discard_experiment,
    divided,
    interference,
    save_experiment,
    ship_winner,
    start_experiment,
    stop_experiment,
)
from apps.flags.models import Experiment, ExperimentGoal, FeatureFlag
from apps.flags.results import GoalResult, Interval, Results, VariantResult, experiment_results
from layoverhq.admin_site import give_reason, go_to
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.keyset import WindowFilter
from layoverhq.model_admin import OperationAdmin, ReasonForm, pill
from layoverhq.tenancy import current_alias

Status = Experiment.Status

TONES = {
    Status.DRAFT: "",
    Status.RUNNING: "info",
    Status.STOPPED: "warning",
    Status.SHIPPED: "success",
}
COLOURS = ("#64748b", "#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#4d7c0f")
USUAL_WINDOW_HOURS = 168
EVENTS_OFFERED = 500

# Each name by one step along the index, however many events there are of it.
REPORTED = """
with recursive named as (
    (select min(event) as event from tracked_events)
    union all
    select (select min(e.event) from tracked_events e where e.event > n.event)
    from named n
    where n.event is not null
)
select event from named where event is not null and not event ^@ 'api:' limit %s
"""


def reported_events() -> list[str]:
    """Return the names of events that tenants have reported."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(REPORTED, [EVENTS_OFFERED])
        return [name for (name,) in cursor.fetchall()]


def percent(share: float) -> str:
    """Write hundredths of a per cent."""
    return f"{share / 100:g} %"


def shown_split(split: dict[str, int]) -> str:
    """Write who gets what."""
    return ", ".join(f"{variant} {percent(share)}" for variant, share in split.items())


def place(flag: FeatureFlag, rule: str) -> str:
    """Name what divides the units."""
    return f"{flag.name}, rule {rule}" if rule else f"{flag.name}, own rollout"


def compared_choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what can be compared, as groups of the variants that may be the control."""
    groups = []
    for flag in FeatureFlag.objects.filter(is_archived=False).order_by("name"):
        for rule, split in divided(flag).items():
            if len(split) > 1:
                title = f"{place(flag, rule)}: {shown_split(split)}"
                choices = [
                    (json.dumps([str(flag.pk), rule, variant]), f"{flag.name}: against {variant}")
                    for variant in split
                ]
                groups.append((title, choices))
    return groups


def _goal_fields() -> dict[str, forms.Field]:
    fields: dict[str, forms.Field] = {}
    for row in range(MAXIMUM_GOALS):
        title = "Primary goal" if row == 0 else f"Goal {row + 1}"
        fields[f"goal_{row}_event"] = forms.CharField(
            label=title,
            required=row == 0,
            max_length=100,
            widget=UnfoldAdminTextInputWidget(
                attrs={"list": "known-events", "autocomplete": "off"}
            ),
            help_text="The event, from the list or one yet to be reported." if row == 0 else "",
        )
        fields[f"goal_{row}_kind"] = forms.ChoiceField(
            label="Counts",
            choices=ExperimentGoal.Kind.choices,
            required=False,
            initial=ExperimentGoal.Kind.CONVERSION,
            widget=UnfoldAdminSelectWidget,
        )
        fields[f"goal_{row}_window"] = forms.IntegerField(
            label="Within (hours)",
            required=False,
            min_value=1,
            max_value=LONGEST_WINDOW_HOURS,
            initial=USUAL_WINDOW_HOURS,
            widget=UnfoldAdminTextInputWidget(
                attrs={"type": "number", "min": 1, "max": LONGEST_WINDOW_HOURS}
            ),
        )
    return fields


GoalRows = type("GoalRows", (forms.Form,), _goal_fields())


class ExperimentForm(GoalRows, forms.ModelForm):  # type: ignore[misc]
    """A draft: one choice of what is compared, and a row for each goal, the first the primary."""

    compared = forms.ChoiceField(
        label="Compares",
        widget=UnfoldAdminSelectWidget,
        help_text=(
            "The flag, what of it divides units by weights, and the variant that the others are"
            " measured against."
        ),
    )
    base_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Experiment
        fields = ("name", "hypothesis", "alpha")
        widgets: ClassVar[dict[str, Any]] = {
            "hypothesis": UnfoldAdminTextareaWidget(attrs={"rows": 3})
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.instance if self.instance.flag_id else None
        self.fields["base_version"].initial = chosen.version if chosen else None
        choices: list[Any] = [("", "—"), *compared_choices()]
        if chosen:
            key = json.dumps([str(chosen.flag_id), chosen.rule, chosen.control_variant])
            self.fields["compared"].initial = key
            if key not in {value for _, group in choices[1:] for value, _ in group}:
                gone = f"{place(chosen.flag, chosen.rule)}: against {chosen.control_variant}"
                choices.append(("No longer divided", [(key, gone)]))
        self.fields["compared"].choices = choices
        goals = sorted(chosen.goals.all(), key=lambda goal: not goal.is_primary) if chosen else []
        for row, goal in enumerate(goals):
            for name, value in (
                ("event", goal.event),
                ("kind", goal.kind),
                ("window", goal.window_hours),
            ):
                self.fields[f"goal_{row}_{name}"].initial = value

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if compared := cleaned.get("compared"):
            flag_id, rule, variant = json.loads(compared)
            self.instance.flag = FeatureFlag.objects.get(pk=flag_id)
            self.instance.rule = rule
            self.instance.control_variant = variant
        return cleaned

    def goals(self) -> tuple[list[Goal], list[int]]:
        """Return the goals, and the rows that they came from."""
        goals, rows = [], []
        for row in range(MAXIMUM_GOALS):
            event = self.cleaned_data[f"goal_{row}_event"].strip()
            if event:
                kind = self.cleaned_data[f"goal_{row}_kind"]
                hours = self.cleaned_data[f"goal_{row}_window"] or USUAL_WINDOW_HOURS
                goals.append(Goal(event, kind, hours, is_primary=not goals))
                rows.append(row)
        return goals, rows


class StartForm(ReasonForm):
    consequence = (
        "From now on it is noted which unit meets which variant. Flag, control, goals and error"
        " rate are fixed then."
    )


class StopForm(ReasonForm):
    consequence = "It ends for good. What came in stays, and the flag goes on as it is."


class DiscardForm(ReasonForm):
    consequence = "The draft is deleted."


class ShipForm(ReasonForm):
    consequence = (
        "Everybody whom the experiment reached gets this variant: by a new version of the flag, at"
        " once, or as a draft to approve where the flag is protected. The experiment ends."
    )
    variant = forms.ChoiceField(widget=UnfoldAdminRadioSelectWidget)
    field_order = ("variant", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        experiment = find(self.object_id)
        split = experiment.split if experiment else {}
        self.fields["variant"].choices = [
            (each, f"{each} (control)" if each == experiment.control_variant else each)
            for each in split
        ]


def find(object_id: Any) -> Experiment | None:
    """Return the experiment of an id as an address has it."""
    experiment: Experiment | None = found(Experiment.objects.all(), object_id)
    return experiment


def dialog(title: str, form: type[ReasonForm]) -> ActionDialog:
    """Return a dialog with a reason."""
    return ActionDialog(title=title, description="", form_class=form, form_submit_text=title)


class StatusFilter(WindowFilter):
    title = "status"
    parameter_name = "status"
    windows = (("open", "Draft or running"), ("all", "All"), *Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        if chosen == "open":
            return queryset.filter(status__in=[Status.DRAFT, Status.RUNNING])
        return queryset if chosen == "all" else queryset.filter(status=chosen)


@admin.register(Experiment)
class ExperimentAdmin(OperationAdmin):
    form = ExperimentForm
    list_display = (
        "name",
        "shown_status",
        "shown_place",
        "shown_split",
        "started_at",
        "stopped_at",
    )
    list_filter = (StatusFilter,)
    list_select_related = ("flag",)
    search_fields = ("name", "hypothesis", "flag__name")
    search_help_text = "Find by name, hypothesis or flag."
    ordering = ("-created_at", "-id")
    compressed_fields = False
    change_form_datasets = (HistoryTab.of(Experiment),)
    change_form_outer_before_template = "admin/flags/experiment_results.html"
    change_form_outer_after_template = "admin/flags/known_events.html"
    actions_detail = ("start", "ship", "stop", "discard")
    drafted = (
        (None, {"fields": ("name", "hypothesis", "compared", "alpha", "base_version")}),
        (
            "Goals",
            {
                "fields": tuple(
                    (f"goal_{row}_event", f"goal_{row}_kind", f"goal_{row}_window")
                    for row in range(MAXIMUM_GOALS)
                ),
                "description": (
                    "What is counted of a unit within a window after it met its variant. A sum of"
                    " values is 0 for a unit without events. The primary goal decides."
                ),
            },
        ),
    )
    shown = (
        (
            None,
            {
                "fields": (
                    "hypothesis",
                    ("shown_place", "shown_split"),
                    ("control_variant", "shown_unit"),
                    ("started_at", "stopped_at"),
                    ("shown_alpha", "author"),
                    "decision",
                    "shown_shipment",
                )
            },
        ),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Experiment | None = None) -> Any:
        return self.shown if self._is_fixed(request, obj) else self.drafted

    def get_readonly_fields(self, request: HttpRequest, obj: Experiment | None = None) -> Any:
        return flatten(self.shown[0][1]["fields"]) if self._is_fixed(request, obj) else ()

    def _is_fixed(self, request: HttpRequest, obj: Experiment | None) -> bool:
        if obj is None:
            return False
        return obj.status != Status.DRAFT or not self.has_edit_permission(request)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if self._is_fixed(request, obj):
            # Nothing of it can be edited: the form with its choices is not made.
            kwargs["form"] = forms.ModelForm
        return super().get_form(request, obj, change=change, **kwargs)

    def has_edit_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.change_experiment")

    def has_run_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.run_experiment")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        fixed = isinstance(obj, Experiment) and obj.status != Status.DRAFT
        return not fixed and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A draft is discarded by its dialog, which asks for a reason.
        return False

    def save_model(self, request: HttpRequest, obj: Experiment, form: Any, change: bool) -> None:
        goals, rows = form.goals()
        try:
            save_experiment(
                experiment=obj,
                goals=goals,
                base_version=(form.cleaned_data["base_version"] or 0) if change else None,
                actor=request.user,
            )
        except InvalidInput as refusal:
            raise InvalidInput([_on_form(error, rows) for error in refusal.errors]) from refusal

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = dict(extra_context or {})
        experiment = self.get_object(request, object_id) if object_id else None
        if experiment and experiment.status != Status.DRAFT and request.method == "GET":
            results = experiment_results(experiment, timezone.now())
            context["told"] = told(experiment, results)
        if experiment is None or experiment.status == Status.DRAFT:
            context["known_events"] = [*reported_events(), *api_events()]
        return super().changeform_view(request, object_id, form_url, context)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        experiment = find(object_id)
        possible = {
            Status.DRAFT: {"start", "discard"},
            Status.RUNNING: {"stop", "ship"},
            Status.STOPPED: {"ship"},
        }.get(Status(experiment.status) if experiment else Status.SHIPPED, set())
        names = {f"flags_experiment_{name}" for name in possible}
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name in names]

    @display(description="Status", ordering="status")
    def shown_status(self, experiment: Experiment) -> SafeString:
        return pill(experiment.get_status_display(), TONES[Status(experiment.status)])

    @display(description="Compares")
    def shown_place(self, experiment: Experiment) -> str | SafeString:
        if not self.admin_site.is_registered(FeatureFlag):
            return place(experiment.flag, experiment.rule)
        url = reverse("admin:flags_featureflag_change", args=[experiment.flag_id])
        return format_html(
            '<a class="text-link" href="{}">{}</a>', url, place(experiment.flag, experiment.rule)
        )

    @display(description="Divided")
    def shown_split(self, experiment: Experiment) -> str:
        return shown_split(experiment.split) or "—"

    @display(description="Unit")
    def shown_unit(self, experiment: Experiment) -> str:
        return experiment.unit or experiment.flag.bucketing_unit

    @display(description="Error rate")
    def shown_alpha(self, experiment: Experiment) -> str:
        return f"{experiment.alpha.normalize():f}"

    @display(description="Shipped")
    def shown_shipment(self, experiment: Experiment) -> str | SafeString:
        version = experiment.shipped_version
        if version is None:
            return "—"
        status = version.get_status_display().lower()
        return f"{experiment.shipped_variant}, by version {version.number} of the flag: {status}"

    @action(
        description="Start…",
        permissions=["run"],
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
        dialog=dialog("Start", StartForm),
    )
    def start(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen, reason: start_experiment(experiment=chosen),
            "Started",
        )

    @action(
        description="Stop…",
        permissions=["run"],
        icon="stop",
        variant=ActionVariant.DANGER,
        dialog=dialog("Stop", StopForm),
    )
    def stop(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen, reason: stop_experiment(experiment=chosen, reason=reason),
            "Stopped",
        )

    @action(
        description="Ship a winner…",
        permissions=["run"],
        icon="rocket_launch",
        variant=ActionVariant.SUCCESS,
        dialog=dialog("Ship", ShipForm),
    )
    def ship(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen, reason: ship_winner(
                experiment=chosen,
                variant=form.cleaned_data["variant"],
                reason=reason,
                actor=request.user,
            ),
            f"Shipped {form.cleaned_data['variant']}, the winner of",
        )

    @action(
        description="Discard…",
        permissions=["edit"],
        icon="delete",
        dialog=dialog("Discard", DiscardForm),
    )
    def discard(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        give_reason(form.cleaned_data["reason"])
        experiment = named(find(object_id))
        discard_experiment(experiment=experiment)
        messages.success(request, f"Discarded “{experiment}”.")
        return go_to(request, self.changelist_url())

    def _do(
        self, request: HttpRequest, object_id: str, form: ReasonForm, run: Any, done: str
    ) -> HttpResponse:
        """Run an operation for a dialog and show the experiment; the site tells of a refusal."""
        reason = form.cleaned_data["reason"]
        give_reason(reason)
        experiment = run(named(find(object_id)), reason)
        messages.success(request, f"{done} “{experiment}”.")
        version = experiment.shipped_version
        if version is not None and version.status == version.Status.DRAFT:
            messages.warning(request, f"{version} waits for an approval: the flag is protected.")
        return go_to(request, self.change_url(object_id))


def _on_form(error: FieldError, rows: Sequence[int]) -> FieldError:
    """Return a refusal with the field as the form names it."""
    field = error.field
    if field in ("rule", "control_variant"):
        field = "compared"
    elif field == "goals":
        field = "goal_0_event"
    elif field.startswith("goals["):
        number, _, member = field.removeprefix("goals[").partition("].")
        field = f"goal_{rows[int(number)]}_{member.removesuffix('_hours')}"
    return FieldError(field, error.code, error.detail)


# --- what the results' template shows


def told(experiment: Experiment, results: Results) -> dict[str, Any]:
    """Return the results as texts, tables and charts."""
    total = sum(results.units.values())
    return {
        "experiment": experiment,
        "results": results,
        "as_of": results.as_of,
        "total": total,
        "interference": (interference(experiment) if experiment.status == Status.RUNNING else ""),
        "contaminated": f"{results.contaminated:,}",
        "units": [
            {
                "variant": variant,
                "number": f"{number:,}",
                "expected": percent(experiment.split[variant]),
                "share": f"{100 * number / total:.2f} %" if total else "—",
            }
            for variant, number in results.units.items()
        ],
        "mismatch_p_value": _p_value(results.sample_ratio_p_value),
        "level": f"{100 * (1 - results.alpha):g} %",
        "goals": [_goal(goal, results) for goal in results.goals],
    }


def _goal(found: GoalResult, results: Results) -> dict[str, Any]:
    is_rate = found.goal.kind == ExperimentGoal.Kind.CONVERSION
    return {
        "goal": found.goal,
        "is_rate": is_rate,
        "shortage": found.shortage,
        "rows": [_row(row, is_rate, results) for row in found.variants],
        "chart": json.dumps(_chart(found, is_rate)),
        # A line has two ends.
        "drawn": any(len(points) > 1 for points in found.series.values()),
        "legend": list(zip(found.series, cycle(COLOURS), strict=False)),
    }


def _row(row: VariantResult, is_rate: bool, results: Results) -> dict[str, Any]:
    compared = row.comparison
    told: dict[str, Any] = {
        "variant": row.variant,
        "is_control": row.is_control,
        "units": f"{row.sample.units:,}",
        "total": f"{row.sample.total:,.0f}" if is_rate else f"{row.sample.total:,.2f}",
        "mean": _number(row.mean, is_rate) if row.sample.units else "—",
        "interval": _range(row.interval, is_rate),
        "verdict": _verdict(row, results),
    }
    if compared:
        told |= {
            "lift": f"{100 * compared.lift:+.1f} %" if compared.lift is not None else "—",
            "lift_interval": _span(compared.lift_interval, 100, 1, " %"),
            "difference": _number(compared.difference, is_rate, sign=True),
            "difference_interval": _range(compared.interval, is_rate, sign=True),
            "sequential_interval": _range(compared.sequential, is_rate, sign=True),
            "p_value": _p_value(compared.p_value),
            "sequential_p_value": _p_value(compared.sequential_p_value),
        }
    return told


def _verdict(row: VariantResult, results: Results) -> SafeString | str:
    if row.is_control:
        return "control"
    if results.is_mismatched:
        return pill("not to be trusted", "danger")
    if row.better is None:
        return pill("undecided")
    return pill("better", "success") if row.better else pill("worse", "danger")


def _number(value: float, is_rate: bool, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if is_rate:
        return f"{100 * value:{plus}.2f}" + (" points" if sign else " %")
    return f"{value:{plus},.3f}"


def _range(interval: Interval | None, is_rate: bool, *, sign: bool = False) -> str:
    if is_rate:
        return _span(interval, 100, 2, "" if sign else " %", sign=sign)
    return _span(interval, 1, 3, "", sign=sign)


def _span(
    interval: Interval | None, times: float, digits: int, unit: str, *, sign: bool = True
) -> str:
    if interval is None:
        return "—"
    form = f"{'+' if sign else ''},.{digits}f"
    return f"{times * interval.low:{form}} to {times * interval.high:{form}}{unit}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "—"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _chart(found: GoalResult, is_rate: bool) -> dict[str, Any]:
    """Return lines of each variant and, dashed, of its interval's ends."""
    times = 100 if is_rate else 1
    days = sorted({point.day for points in found.series.values() for point in points})
    datasets = []
    for (variant, points), colour in zip(found.series.items(), cycle(COLOURS), strict=False):
        by_day = {point.day: point for point in points}
        line: list[Any] = []
        low: list[Any] = []
        high: list[Any] = []
        for day in days:
            point = by_day.get(day)
            known = point is not None and point.interval is not None
            line.append(round(times * point.mean, 4) if point and known else None)
            low.append(round(times * point.interval.low, 4) if known else None)
            high.append(round(times * point.interval.high, 4) if known else None)
        datasets.append({"label": variant, "data": line, "borderColor": colour})
        for end, data in (("from", low), ("to", high)):
            datasets.append(
                {
                    "label": f"{variant} {end}",
                    "data": data,
                    "borderColor": colour,
                    "borderWidth": 1,
                    "borderDash": [3, 4],
                }
            )
    if datasets:
        datasets[0] |= {"displayYAxis": True, "suffixYAxis": "%" if is_rate else ""}
        datasets[0]["maxTicksXLimit"] = 12
    return {"labels": [f"{day:%d %b}" for day in days], "datasets": datasets}


__all__ = ["ExperimentAdmin"]
