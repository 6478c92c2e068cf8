"""Versions of flags: what each changes, its review, and the way back to it."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.audit.history import HistoryTab
from apps.flags.admin import tabs, trying
from apps.flags.admin.editor import EditorPages
from apps.flags.admin.telling import served, status_pill
from apps.flags.admin.verbs import Verb, VerbsMixin, flag_url, version_url, with_verbs
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flags.operations import (
    OPEN,
    READY,
    approve_change,
    editors,
    mark_of,
    publish_change,
    reject_change,
    roll_back,
    schedule_change,
    submit_change,
    unschedule_change,
)
from apps.flags.trying import as_published, try_version
from layoverhq.keyset import TextFilter, WindowFilter
from layoverhq.model_admin import OperationAdmin, ReadOnly, ReasonForm

Status = FlagVersion.Status

WAITING = (*OPEN, Status.SCHEDULED)


class ScheduleForm(ReasonForm):
    activate_at = forms.DateTimeField(
        label="At (UTC)", widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
    )

    field_order = ("activate_at", "reason")

    def clean_activate_at(self) -> datetime:
        at: datetime = self.cleaned_data["activate_at"]
        if at <= timezone.now():
            raise forms.ValidationError("Lies in the past.")
        return at


def is_ready(version: FlagVersion) -> bool:
    """Return whether a version may be put in force as far as its review goes."""
    return version.status in READY and bool(version.approved_at or not version.flag.is_protected)


VERBS = (
    Verb(
        name="submit",
        title="Submit for review",
        permission="edit",
        told="Somebody who took no part has to approve it.",
        done="Submitted {} for review.",
        run=lambda version, request, form: submit_change(version=version),
        possible=lambda version: version.status == Status.DRAFT,
        icon="rate_review",
    ),
    Verb(
        name="approve",
        title="Approve",
        permission="approve",
        told="It can be published as it stands; an edit asks for a review again.",
        done="Approved {}.",
        run=lambda version, request, form: approve_change(
            version=version, actor=request.user, seen=request.GET.get("seen", "")
        ),
        possible=lambda version: version.status == Status.IN_REVIEW,
        icon="thumb_up",
        variant=ActionVariant.SUCCESS,
    ),
    Verb(
        name="publish",
        title="Publish",
        permission="publish",
        told="It holds at once, everywhere within a second.",
        done="Published {}.",
        run=lambda version, request, form: publish_change(version=version),
        possible=lambda version: is_ready(version) or version.status == Status.SCHEDULED,
        icon="publish",
        variant=ActionVariant.PRIMARY,
    ),
    Verb(
        name="schedule",
        title="Schedule",
        permission="publish",
        told="It is published by itself at that minute, and can be taken back before.",
        done="Scheduled {}.",
        run=lambda version, request, form: schedule_change(
            version=version, activate_at=form.cleaned_data["activate_at"]
        ),
        possible=is_ready,
        icon="schedule",
        form=ScheduleForm,
    ),
    Verb(
        name="unschedule",
        title="Take back the schedule",
        permission="publish",
        told="It is a draft again, and is approved anew.",
        done="Took back the schedule of {}.",
        run=lambda version, request, form: unschedule_change(version=version),
        possible=lambda version: version.status == Status.SCHEDULED,
        icon="event_busy",
    ),
    Verb(
        name="roll_back",
        title="Roll back to this",
        permission="publish",
        told="A new version with this definition. It holds at once; of a protected flag it is a "
        "draft. Steps that have passed are left out.",
        done="Rolled {} back.",
        run=lambda version, request, form: roll_back(
            flag=version.flag,
            version=version,
            reason=form.cleaned_data["reason"],
            actor=request.user,
        ),
        possible=lambda version: version.status == Status.SUPERSEDED,
        icon="undo",
        variant=ActionVariant.WARNING,
    ),
    Verb(
        name="reject",
        title="Reject",
        permission="reject",
        told="It is given up for good; it stays in the history.",
        done="Rejected {}.",
        run=lambda version, request, form: reject_change(version=version),
        possible=lambda version: version.status in WAITING,
        icon="close",
        variant=ActionVariant.DANGER,
    ),
)


class StatusFilter(WindowFilter):
    title = "status"
    parameter_name = "status"
    windows = (("waiting", "Waiting"), ("all", "All"), ("stuck", "Stuck"), *Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        if chosen == "waiting":
            return queryset.filter(status__in=WAITING)
        if chosen == "stuck":
            return queryset.filter(~Q(problem=""), status=Status.SCHEDULED)
        return queryset if chosen == "all" else queryset.filter(status=chosen)


class FlagFilter(TextFilter):
    title = "flag"
    parameter_name = "flag"
    placeholder = "enhanced_search"
    field = "flag__name"


@admin.register(FlagVersion)
@with_verbs(VERBS)
class FlagVersionAdmin(ReadOnly, VerbsMixin, EditorPages, OperationAdmin):
    list_display = ("__str__", "shown_status", "reason", "author", "approved_by", "when")
    list_filter = (StatusFilter, FlagFilter)
    search_fields = ("flag__name", "reason")
    search_help_text = "Find by flag or reason."
    list_select_related = ("flag", "author", "approved_by")
    ordering = ("-created_at", "-id")
    actions = None
    actions_detail = (
        "edit",
        "submit",
        "approve",
        "publish",
        "schedule",
        "unschedule",
        "roll_back",
        "reject",
    )
    change_form_datasets = (
        trying.TryVersionTab,
        HistoryTab.of(FlagVersion),
    )
    change_form_outer_before_template = "admin/flags/version_summary.html"
    shown_with = ("flag__namespace", "author", "approved_by")

    class Media:
        css = {"all": ("flags/editor.css",)}  # noqa: RUF012 - as Django has it

    @display(description="Status", ordering="status")
    def shown_status(self, version: FlagVersion) -> SafeString:
        return status_pill(version)

    @display(description="When (UTC)", ordering="created_at")
    def when(self, version: FlagVersion) -> str:
        if version.status == Status.SCHEDULED and version.activate_at:
            return f"due {version.activate_at:%Y-%m-%d %H:%M}"
        return f"{version.activated_at or version.created_at:%Y-%m-%d %H:%M}"

    def has_edit_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.change_featureflag")

    def has_approve_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.approve_flagversion")

    def has_publish_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.publish_flagversion")

    def has_reject_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_edit_permission(request) or self.has_approve_permission(request)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        version = self.find(object_id)
        hidden = set()
        if version is None or version.status not in OPEN:
            hidden.add("flags_flagversion_edit")
        # Whoever took part is not shown what would be refused.
        if version is None or request.user.pk in editors(version):
            hidden.add("flags_flagversion_approve")
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name not in hidden]

    @action(description="Edit", permissions=["edit"], icon="edit")
    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.edit_draft(request, self.asked(request, object_id))

    def _get_actions_navigation(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Have the dialog of an approval know what was seen of the draft: that page's state."""
        items: list[Any] = super()._get_actions_navigation(*args, **kwargs)
        version = self.find(kwargs.get("object_id", args[-1]))
        for item in items:
            if version and item.get("path") == version_url(version.pk, "approve"):
                item["path"] += "?" + urlencode({"seen": mark_of(version)})
        return items

    def back_url(self, version: FlagVersion | FeatureFlag | None) -> str:
        """Return where the editor leads back to."""
        return version_url(version.pk if version else "")

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<uuid:object_id>/try/",
            self.admin_site.admin_view(self.try_it),
            name="flags_flagversion_try",
        )
        return [own, *super().get_urls()]

    def try_it(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Answer the form of the tab Try it, by what the version says."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        version = self.asked(request, str(object_id))
        return trying.answer(request, partial(try_version, version))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = dict(extra_context or {})
        if object_id and (version := self.find(object_id)):
            waits = version.status in WAITING
            drafted = as_published(version.flag, version.definition)
            took_part = request.user.pk in editors(version)
            context["summary"] = {
                "version": version,
                "status": status_pill(version),
                "flag_link": format_html(
                    '<a class="text-link" href="{}">{}</a>',
                    flag_url(version.flag_id),
                    version.flag,
                ),
                "served": served(drafted, version.definition),
                "again_url": f"{flag_url(version.flag_id, 'edit')}?from={version.number}",
                "protected": version.flag.is_protected and version.status == Status.DRAFT,
                "own_review": version.status == Status.IN_REVIEW and took_part,
                "stale": waits and version.base_number != version.flag.version,
                **tabs.change_of(version, whole="whole" in request.GET),
            }
        return super().changeform_view(request, object_id, form_url, context)
