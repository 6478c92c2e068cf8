"""Experiments: drafted with choices, started and stopped with a reason, and read off the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.audit.history import HistoryTab
from apps.flags.admin.experiment_results import percent, told
from apps.flags.admin.verbs import Verb, VerbsMixin, flag_url, found, with_verbs
from apps.flags.experiments import (
    LONGEST_WINDOW_HOURS,
    MAXIMUM_GOALS,
    Goal,
    api_events,
    discard_experiment,
    divided,
    save_experiment,
    ship_winner,
    start_experiment,
    stop_experiment,
)
from apps.flags.models import Experiment, ExperimentGoal, FeatureFlag
from apps.flags.queries import reported_events
from apps.flags.results import experiment_results
from layoverhq.admin_site import go_to
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.keyset import WindowFilter
from layoverhq.model_admin import OperationAdmin, ReasonForm, pill

Status = Experiment.Status

TONES = {
    Status.DRAFT: "",
    Status.RUNNING: "info",
    Status.STOPPED: "warning",
    Status.SHIPPED: "success",
}
USUAL_WINDOW_HOURS = 168


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


class ShipForm(ReasonForm):
    variant = forms.ChoiceField(widget=UnfoldAdminRadioSelectWidget)
    field_order = ("variant", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        experiment = found(Experiment.objects.all(), self.object_id)
        split = experiment.split if experiment else {}
        self.fields["variant"].choices = [
            (each, f"{each} (control)" if each == experiment.control_variant else each)
            for each in split
        ]


VERBS = (
    Verb(
        name="start",
        title="Start",
        permission="run",
        told="From now on it is noted which unit meets which variant. Flag, control, goals and"
        " error rate are fixed then.",
        done="Started {}.",
        run=lambda chosen, request, form: start_experiment(experiment=chosen),
        possible=lambda chosen: chosen.status == Status.DRAFT,
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
    ),
    Verb(
        name="ship",
        title="Ship a winner",
        submit="Ship",
        permission="run",
        told="Everybody whom the experiment reached gets this variant: by a new version of the"
        " flag, at once, or as a draft to approve where the flag is protected. The experiment"
        " ends.",
        done="Shipped {variant}, the winner of {}.",
        run=lambda chosen, request, form: ship_winner(
            experiment=chosen,
            variant=form.cleaned_data["variant"],
            reason=form.cleaned_data["reason"],
            actor=request.user,
        ),
        possible=lambda chosen: chosen.status in (Status.RUNNING, Status.STOPPED),
        icon="rocket_launch",
        variant=ActionVariant.SUCCESS,
        form=ShipForm,
    ),
    Verb(
        name="stop",
        title="Stop",
        permission="run",
        told="It ends for good. What came in stays, and the flag goes on as it is.",
        done="Stopped {}.",
        run=lambda chosen, request, form: stop_experiment(
            experiment=chosen, reason=form.cleaned_data["reason"]
        ),
        possible=lambda chosen: chosen.status == Status.RUNNING,
        icon="stop",
        variant=ActionVariant.DANGER,
    ),
    Verb(
        name="discard",
        title="Discard",
        permission="edit",
        told="The draft is deleted.",
        done="Discarded {}.",
        run=lambda chosen, request, form: discard_experiment(experiment=chosen),
        possible=lambda chosen: chosen.status == Status.DRAFT,
        icon="delete",
    ),
)


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
@with_verbs(VERBS)
class ExperimentAdmin(VerbsMixin, OperationAdmin):
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
    shown_with = ("flag",)
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

    @display(description="Status", ordering="status")
    def shown_status(self, experiment: Experiment) -> SafeString:
        return pill(experiment.get_status_display(), TONES[Status(experiment.status)])

    @display(description="Compares")
    def shown_place(self, experiment: Experiment) -> SafeString:
        return format_html(
            '<a class="text-link" href="{}">{}</a>',
            flag_url(experiment.flag_id),
            place(experiment.flag, experiment.rule),
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

    def told_of(
        self, request: HttpRequest, chosen: Experiment, result: Experiment | None, done: str
    ) -> HttpResponse:
        """Say what came of a verb and show the experiment, the list where it is gone."""
        if result is None:
            messages.success(request, done.format(f"“{chosen}”"))
            return go_to(request, self.changelist_url())
        messages.success(request, done.format(f"“{result}”", variant=result.shipped_variant))
        version = result.shipped_version
        if version is not None and version.status == version.Status.DRAFT:
            messages.warning(request, f"{version} waits for an approval: the flag is protected.")
        return go_to(request, self.change_url(result.pk))


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
