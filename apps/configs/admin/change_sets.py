"""Change sets: drafted, reviewed, published, scheduled, released in stages, rolled back."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten, quote
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.audit.history import HistoryTab
from apps.configs.differences import MASK, NOTHING, side_by_side
from apps.configs.models import ConfigChangeSet, SystemConfig
from apps.configs.operations import (
    OPEN_STAGES,
    READY_STAGES,
    active_versions,
    approve_change_set,
    change_audience,
    draft_change_set,
    editors,
    is_protected,
    promote_release,
    publish_change_set,
    reject_change_set,
    reverse_change_set,
    revise_change_set,
    schedule_change_set,
    stage_release,
    standing_items,
    submit_change_set,
    unschedule_change_set,
    withdraw_release,
)
from apps.tenants.models import Enterprise
from layoverhq.admin_site import give_reason, go_to
from layoverhq.keyset import WindowFilter
from layoverhq.model_admin import OperationAdmin, PageTab, ReasonForm, pill

Stage = ConfigChangeSet.Stage

TONES = {
    Stage.DRAFT: "",
    Stage.IN_REVIEW: "warning",
    Stage.APPROVED: "info",
    Stage.SCHEDULED: "info",
    Stage.STAGED: "info",
    Stage.PUBLISHED: "success",
    Stage.ROLLED_BACK: "danger",
    Stage.REJECTED: "",
}


def stage_pill(change_set: ConfigChangeSet) -> SafeString:
    """Return the stage as a label."""
    if change_set.problem:
        return pill("stuck", "danger")
    return pill(change_set.get_stage_display(), TONES[Stage(change_set.stage)])


class WhenField(forms.DateTimeField):
    """An instant in UTC, in the browser's own picker."""

    widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})


class PublishForm(ReasonForm):
    consequence = "All its values hold at once, everywhere within a second."
    expires_at = WhenField(
        label="Until (UTC)",
        required=False,
        help_text="What held before comes back then. Empty: for good.",
    )


class ScheduleForm(ReasonForm):
    consequence = "It is published by itself at that minute, and can be taken back before."
    activate_at = WhenField(label="From (UTC)")
    expires_at = WhenField(
        label="Until (UTC)",
        required=False,
        help_text="What held before comes back then. Empty: for good.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        start: datetime | None = cleaned.get("activate_at")
        end: datetime | None = cleaned.get("expires_at")
        if start and start <= timezone.now():
            self.add_error("activate_at", "Lies in the past.")
        if start and end and end <= start:
            self.add_error("expires_at", "Lies before the activation.")
        return cleaned


class AudienceForm(ReasonForm):
    consequence = (
        "A percentage takes the same tenants for all keys of the set; raising it takes nobody off."
    )
    percentage = forms.IntegerField(
        label="Percentage of all tenants",
        min_value=0,
        max_value=100,
        initial=0,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "number", "min": 0, "max": 100}),
    )
    tenants = forms.CharField(
        label="And these tenants",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "placeholder": "acme, globex"}),
        help_text="Slugs, with commas, spaces or line ends between.",
    )

    def clean_tenants(self) -> list[Enterprise]:
        slugs = set(re.split(r"[\s,;]+", self.cleaned_data["tenants"].strip())) - {""}
        found = list(Enterprise.objects.living().filter(slug__in=slugs))
        if unknown := sorted(slugs - {enterprise.slug for enterprise in found}):
            raise ValidationError(f"There is no “{unknown[0]}”.")
        return found

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and not cleaned["percentage"] and not cleaned["tenants"]:
            self.add_error("percentage", "Give a percentage above 0, or name tenants.")
        return cleaned


class StandingForm(AudienceForm):
    """The audience of a release that stands."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        standing = ConfigChangeSet.objects.filter(pk=self.object_id).first()
        if standing:
            self.fields["percentage"].initial = standing.release_percentage or 0
            self.fields["tenants"].initial = ", ".join(
                standing.release_tenants.values_list("enterprise__slug", flat=True)
            )


class TakeOutForm(ReasonForm):
    consequence = "An approval is asked for again; what is taken out stays in the history."
    items = forms.ModelMultipleChoiceField(
        label="Values",
        queryset=SystemConfig.objects.none(),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        items = SystemConfig.objects.filter(change_set=self.object_id)
        field = self.fields["items"]
        field.queryset = items.exclude(status=SystemConfig.Status.REJECTED).select_related(
            "enterprise"
        )
        field.label_from_instance = item_label


def item_label(item: SystemConfig) -> str:
    """Name a value of a set."""
    return f"{item.config_key_id} for {item.enterprise}" if item.enterprise else item.config_key_id


def dialog(title: str, form: type[ReasonForm] | None = None, told: str = "") -> ActionDialog:
    """Return a dialog with a reason; `told` is what it says before."""
    chosen = form or type("Dialog", (ReasonForm,), {"consequence": told})
    return ActionDialog(title=title, description="", form_class=chosen, form_submit_text=title)


class StageFilter(WindowFilter):
    title = "stage"
    parameter_name = "stage"
    windows = (("open", "Open"), ("all", "All"), ("stuck", "Stuck"), *Stage.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        if chosen == "open":
            return queryset.filter(stage__in=[*OPEN_STAGES, Stage.SCHEDULED, Stage.STAGED])
        if chosen == "stuck":
            return queryset.exclude(problem="")
        return queryset if chosen == "all" else queryset.filter(stage=chosen)


class ItemsTab(PageTab):
    """The set's values, each beside what it replaces."""

    model = SystemConfig
    model_name = "values"
    title = "Values"
    template_name = "admin/configs/tab_items.html"

    def context(self) -> dict[str, Any]:
        change_set = ConfigChangeSet.objects.get(pk=self.object_id)
        items = standing_items(change_set)
        if not items and change_set.stage in (Stage.REJECTED, Stage.ROLLED_BACK):
            items = list(change_set.items.select_related("config_key", "enterprise"))
        standing = active_versions((item.config_key_id, item.enterprise_id) for item in items)
        shown = items[:100]
        return {
            "change_set": change_set,
            "more": len(items) - len(shown),
            "editable": change_set.stage in OPEN_STAGES
            and self.request.user.has_perm("configs.change_configchangeset"),
            "items": [
                self._item(item, standing.get((item.config_key_id, item.enterprise_id)))
                for item in shown
            ],
        }

    def _item(self, item: SystemConfig, active: SystemConfig | None) -> dict[str, Any]:
        published = item.status in (SystemConfig.Status.ACTIVE, SystemConfig.Status.SUPERSEDED)
        before = (
            SystemConfig.objects.of(item.config_key_id, item.enterprise_id)
            .filter(version=item.base_version)
            .first()
            if published
            else active
        )
        return {
            "item": item,
            "lines": side_by_side(_side(before), _side(item), around=3),
            "stale": not published and (active.version if active else 0) != item.base_version,
            "active": active,
            "edit_url": _edit_url(item),
            "url": reverse("admin:configs_systemconfig_change", args=[item.pk]),
        }


def _edit_url(item: SystemConfig) -> str:
    url = reverse("admin:configs_configkey_change_value", args=[quote(item.config_key_id)])
    query = {"change_set": item.change_set_id}
    if item.enterprise:
        query["tenant"] = item.enterprise.slug
    return f"{url}?{urlencode(query)}"


def _side(version: SystemConfig | None) -> Any:
    if version is None or version.unset:
        return NOTHING
    return MASK if version.is_secret else version.value


@admin.register(ConfigChangeSet)
class ConfigChangeSetAdmin(OperationAdmin):
    list_display = (
        "title",
        "shown_stage",
        "value_count",
        "author",
        "approved_by",
        "activate_at",
        "published_at",
        "created_at",
    )
    list_filter = (StageFilter,)
    search_fields = ("title", "reason", "items__config_key__key")
    search_help_text = "Find by title, reason or key."
    list_select_related = ("author", "approved_by")
    ordering = ("-created_at", "-id")
    fields = ("title", "reason")
    change_form_datasets = (ItemsTab, HistoryTab.of(ConfigChangeSet))
    change_form_outer_before_template = "admin/configs/change_set_summary.html"
    actions_detail = (
        "submit",
        "approve",
        "publish",
        "promote",
        "audience",
        {
            "title": "More",
            "icon": "more_vert",
            "items": [
                "schedule",
                "release",
                "take_out",
                "unschedule",
                "withdraw_release",
                "roll_back",
                "reject",
            ],
        },
    )
    shown = (
        "title",
        "reason",
        ("shown_stage", "shown_audience"),
        ("author", "approved_by"),
        ("activate_at", "expires_at"),
        "published_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigChangeSet]:
        living = ~Q(items__status=SystemConfig.Status.REJECTED)
        return super().get_queryset(request).annotate(number=Count("items", filter=living))

    def get_fields(self, request: HttpRequest, obj: ConfigChangeSet | None = None) -> Any:
        return self.shown if obj else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return flatten(self.shown) if obj else ()

    # A set is drafted here and filled from the pages of its keys; its dialogs do the rest.
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_edit_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.change_configchangeset")

    def has_approve_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.approve_configchangeset")

    def has_publish_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.publish_configchangeset")

    def has_reject_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_edit_permission(request) or self.has_approve_permission(request)

    def save_model(
        self, request: HttpRequest, obj: ConfigChangeSet, form: Any, change: bool
    ) -> None:
        saved = draft_change_set(
            title=form.cleaned_data["title"],
            reason=form.cleaned_data["reason"],
            proposals=[],
            actor=request.user,
        )
        obj.__dict__.update(saved.__dict__)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        change_set = ConfigChangeSet.objects.filter(pk=object_id).first()
        possible = self._possible(request, change_set) if change_set else set()
        names = {f"configs_configchangeset_{name}" for name in possible}
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name in names]

    def _possible(self, request: HttpRequest, change_set: ConfigChangeSet) -> set[str]:
        """Return what can be done with the set as it stands."""
        stage = change_set.stage
        possible = set()
        filled = bool(standing_items(change_set))
        if stage in OPEN_STAGES:
            possible |= {"reject"} | ({"take_out"} if filled else set())
        if stage == Stage.DRAFT and filled:
            possible.add("submit")
        if stage == Stage.IN_REVIEW and request.user.pk not in editors(change_set):
            possible.add("approve")
        ready = stage == Stage.APPROVED or (stage == Stage.DRAFT and not is_protected(change_set))
        if stage in READY_STAGES and filled and ready:
            possible |= {"publish", "schedule", "release"}
        if stage == Stage.SCHEDULED:
            possible |= {"publish", "unschedule", "reject"}
        if stage == Stage.STAGED:
            possible |= {"audience", "promote", "withdraw_release"}
        if stage == Stage.PUBLISHED:
            possible.add("roll_back")
        return possible

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = dict(extra_context or {})
        change_set = self.get_object(request, object_id) if object_id else None
        if change_set:
            took_part = request.user.pk in editors(change_set)
            context["summary"] = {
                "change_set": change_set,
                "protected": is_protected(change_set),
                "own_review": change_set.stage == Stage.IN_REVIEW and took_part,
            }
        return super().changeform_view(request, object_id, form_url, context)

    def _do(
        self, request: HttpRequest, object_id: str, form: ReasonForm, run: Any, done: str
    ) -> Any:
        """Run an operation for a dialog and show the set again; the site tells of a refusal."""
        give_reason(form.cleaned_data["reason"])
        change_set = ConfigChangeSet.objects.get(pk=object_id)
        run(change_set)
        messages.success(request, f"{done} “{change_set}”.")
        return go_to(request, self.change_url(object_id))

    @display(description="Stage", ordering="stage")
    def shown_stage(self, change_set: ConfigChangeSet) -> SafeString:
        return stage_pill(change_set)

    @display(description="Values")
    def value_count(self, change_set: ConfigChangeSet) -> int:
        return int(change_set.number)

    @display(description="Reaches")
    def shown_audience(self, change_set: ConfigChangeSet) -> str | SafeString:
        if change_set.release_percentage is None:
            return "everybody" if change_set.stage == Stage.PUBLISHED else "—"
        named = change_set.release_tenants.select_related("enterprise")
        links = format_html_join(
            ", ",
            '<a class="text-link" href="{}">{}</a>',
            (
                (
                    reverse("admin:tenants_enterprise_change", args=[tenant.enterprise_id]),
                    tenant.enterprise,
                )
                for tenant in named[:20]
            ),
        )
        share = f"{change_set.release_percentage} % of all tenants"
        return format_html("{}{}{}", share, ", and " if links else "", links)

    @action(
        description="Submit for review",
        permissions=["edit"],
        icon="rate_review",
        dialog=dialog("Submit for review", told="Somebody who took no part has to approve it."),
    )
    def submit(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: submit_change_set(change_set=chosen),
            "Submitted",
        )

    @action(
        description="Approve…",
        permissions=["approve"],
        icon="thumb_up",
        variant=ActionVariant.SUCCESS,
        dialog=dialog("Approve", told="It can be published as it stands; an edit asks again."),
    )
    def approve(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: approve_change_set(change_set=chosen, actor=request.user),
            "Approved",
        )

    @action(
        description="Publish…",
        permissions=["publish"],
        icon="publish",
        variant=ActionVariant.PRIMARY,
        dialog=dialog("Publish", PublishForm),
    )
    def publish(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        until = form.cleaned_data["expires_at"]
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: publish_change_set(change_set=chosen, expires_at=until),
            "Published",
        )

    @action(
        description="Schedule…",
        permissions=["publish"],
        icon="schedule",
        dialog=dialog("Schedule", ScheduleForm),
    )
    def schedule(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        times = {name: form.cleaned_data[name] for name in ("activate_at", "expires_at")}
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: schedule_change_set(change_set=chosen, **times),
            "Scheduled",
        )

    @action(
        description="Take back the schedule…",
        permissions=["publish"],
        icon="event_busy",
        dialog=dialog("Take back", told="It is a draft again, and is approved anew."),
    )
    def unschedule(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: unschedule_change_set(change_set=chosen),
            "Took back the schedule of",
        )

    @action(
        description="Release in stages…",
        permissions=["publish"],
        icon="stairs",
        dialog=dialog("Release", AudienceForm),
    )
    def release(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: stage_release(change_set=chosen, **_audience(form)),
            "Released to some tenants:",
        )

    @action(
        description="Change the audience…",
        permissions=["publish"],
        icon="group",
        dialog=dialog("Change", StandingForm),
    )
    def audience(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: change_audience(change_set=chosen, **_audience(form)),
            "Changed the audience of",
        )

    @action(
        description="Promote to everybody…",
        permissions=["publish"],
        icon="done_all",
        variant=ActionVariant.SUCCESS,
        dialog=dialog("Promote", told="Its values hold for everybody at once."),
    )
    def promote(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: promote_release(change_set=chosen),
            "Promoted",
        )

    @action(
        description="Roll back the release…",
        permissions=["publish"],
        icon="undo",
        variant=ActionVariant.DANGER,
        url_path="withdraw-release",
        dialog=dialog("Roll back", told="The tenants that it reached have what they had before."),
    )
    def withdraw_release(
        self, request: HttpRequest, form: ReasonForm, object_id: str
    ) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: withdraw_release(change_set=chosen),
            "Rolled back",
        )

    @action(
        description="Roll back…",
        permissions=["edit"],
        icon="undo",
        url_path="roll-back",
        variant=ActionVariant.DANGER,
        dialog=dialog(
            "Draft the way back",
            told="A new change set with what each of its values replaced; "
            "you publish it, or submit it for review.",
        ),
    )
    def roll_back(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        reason = form.cleaned_data["reason"]
        give_reason(reason)
        drafted = reverse_change_set(
            change_set=ConfigChangeSet.objects.get(pk=object_id), reason=reason, actor=request.user
        )
        messages.success(request, f"Drafted “{drafted}”: publish it to roll back.")
        return go_to(request, self.change_url(drafted.pk))

    @action(
        description="Reject…",
        permissions=["reject"],
        icon="close",
        variant=ActionVariant.DANGER,
        dialog=dialog("Reject", told="It is given up for good; its values stay in the history."),
    )
    def reject(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: reject_change_set(change_set=chosen),
            "Rejected",
        )

    @action(
        description="Take values out…",
        permissions=["edit"],
        icon="playlist_remove",
        url_path="take-out",
        dialog=dialog("Take out", TakeOutForm),
    )
    def take_out(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._do(
            request,
            object_id,
            form,
            lambda chosen: revise_change_set(
                change_set=chosen,
                without=form.cleaned_data["items"],
                actor=request.user,
            ),
            "Took values out of",
        )


def _audience(form: ReasonForm) -> dict[str, Any]:
    return {
        "percentage": form.cleaned_data["percentage"],
        "enterprises": form.cleaned_data["tenants"],
    }
