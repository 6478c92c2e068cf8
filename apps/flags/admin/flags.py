"""Flags: the list, a flag's page, and what can be done from both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from apps.audit.history import HistoryTab
from apps.flags.admin import overrides, tabs, trying
from apps.flags.admin.editor import CheckPage, EditorPages
from apps.flags.admin.exchange import ExchangePages
from apps.flags.admin.filters import OwnerFilter, StateFilter, TagFilter
from apps.flags.admin.flag_verbs import VERBS, obstacle
from apps.flags.admin.telling import expiry, next_step, rollout_bar, served, state_pills
from apps.flags.admin.use import StalePage, UseTab
from apps.flags.admin.verbs import VerbsMixin, flag_url, version_url, with_verbs
from apps.flags.admin.versions import WAITING
from apps.flags.definitions import document_of
from apps.flags.evaluation import BrokenFlag
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flags.runtime import flags
from apps.flags.trying import try_flag
from layoverhq.admin_site import give_reason, go_to
from layoverhq.model_admin import OperationAdmin, ReasonedChange, ReasonForm, pill

Status = FlagVersion.Status


@admin.register(FeatureFlag)
@with_verbs(VERBS)
class FeatureFlagAdmin(
    ExchangePages, StalePage, VerbsMixin, CheckPage, EditorPages, OperationAdmin
):
    list_display = (
        "name",
        "state",
        "rollout",
        "override_count",
        "owner",
        "shown_tags",
        "expires",
        "pending",
    )
    list_filter = (StateFilter, TagFilter, OwnerFilter, "is_protected", "value_type")
    search_fields = ("name", "description")
    search_help_text = "Find by name or description."
    list_select_related = ("owner",)
    ordering = ("name",)
    actions = ("turn_on_selected", "turn_off_selected", "kill_selected", "export_selected")
    actions_list = ("import_yaml", "export_yaml", "stale_report")
    actions_detail = (
        "edit",
        "turn_on",
        "turn_off",
        {"title": "More", "icon": "more_vert", "items": ["archive", "restore"]},
    )
    change_form_datasets = (
        overrides.TenantsTab,
        overrides.UsersTab,
        trying.TryTab,
        UseTab,
        tabs.VersionsTab,
        tabs.DiffTab,
        HistoryTab.of(FeatureFlag),
    )
    change_form_outer_before_template = "admin/flags/summary.html"
    shown_with = ("namespace", "owner")

    class Media:
        css = {"all": ("flags/editor.css",)}  # noqa: RUF012 - as Django has it

    # --- the list

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        found = [flag.pk for flag in changelist.result_list]
        waiting: dict[Any, list[FlagVersion]] = {}
        for version in FlagVersion.objects.filter(flag__in=found, status__in=WAITING):
            waiting.setdefault(version.flag_id, []).append(version)
        for flag in changelist.result_list:
            flag.waiting = waiting.get(flag.pk, [])
        return changelist

    @display(description="State")
    def state(self, flag: FeatureFlag) -> SafeString:
        return state_pills(flag)

    @display(description="Rollout", ordering="rollout_percentage")
    def rollout(self, flag: FeatureFlag) -> SafeString:
        return rollout_bar(flag)

    @display(description="Overrides")
    def override_count(self, flag: FeatureFlag) -> SafeString:
        number = len(flag.tenant_overrides) + len(flag.user_overrides)
        tab = "tenants" if flag.tenant_overrides or not flag.user_overrides else "users"
        url = f"{flag_url(flag.pk)}#dataset-{tab}"
        return format_html('<a class="text-link" href="{}">{}</a>', url, number)

    @display(description="Tags")
    def shown_tags(self, flag: FeatureFlag) -> SafeString:
        return SafeString(" ".join(pill(tag) for tag in flag.tags) or "—")

    @display(description="Expires", ordering="expires_date")
    def expires(self, flag: FeatureFlag) -> SafeString | str:
        return expiry(flag)

    @display(description="Pending")
    def pending(self, flag: FeatureFlag) -> SafeString:
        waiting: list[FlagVersion] = flag.waiting
        words = sorted({version.get_status_display() for version in waiting})
        return SafeString(" ".join(pill(word, "warning") for word in words) or "—")

    def _change_selected(
        self, request: HttpRequest, queryset: QuerySet[FeatureFlag], name: str
    ) -> HttpResponse | None:
        verb = self.verbs[name]

        def operation(taken: Sequence[FeatureFlag]) -> None:
            form = ReasonForm(data=request.POST, request=request)
            form.full_clean()
            for flag in taken:
                verb.run(flag, request, form)

        change = ReasonedChange(
            title=verb.title,
            done=verb.done.partition("{}")[0].strip(),
            consequence=verb.told,
            obstacle=lambda flag: obstacle(flag, verb),
            operation=operation,
        )
        return self.change_selected(request, queryset, change)

    @admin.action(description="Turn on…", permissions=["publish"])
    def turn_on_selected(
        self, request: HttpRequest, queryset: QuerySet[FeatureFlag]
    ) -> HttpResponse | None:
        return self._change_selected(request, queryset, "turn_on")

    @admin.action(description="Turn off…", permissions=["publish"])
    def turn_off_selected(
        self, request: HttpRequest, queryset: QuerySet[FeatureFlag]
    ) -> HttpResponse | None:
        return self._change_selected(request, queryset, "turn_off")

    @admin.action(description="Kill…", permissions=["kill"])
    def kill_selected(
        self, request: HttpRequest, queryset: QuerySet[FeatureFlag]
    ) -> HttpResponse | None:
        return self._change_selected(request, queryset, "kill")

    # --- who may do what

    # The page shows; the editor, the dialogs and the tabs change.
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_edit_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.change_featureflag")

    def has_publish_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_edit_permission(request) and request.user.has_perm(
            "flags.publish_flagversion"
        )

    def has_kill_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.kill_featureflag")

    # --- a flag's page

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = dict(extra_context or {})
        if object_id and (flag := self.find(object_id)):
            context["summary"] = self.summary(request, flag)
        return super().changeform_view(request, object_id, form_url, context)

    def summary(self, request: HttpRequest, flag: FeatureFlag) -> dict[str, Any]:
        """Return what stands on top of a flag's page."""
        waiting = flag.versions.filter(status__in=WAITING).select_related("author")
        active = flag.versions.filter(status=Status.ACTIVE).select_related("author").first()
        broken = isinstance(flags.directory.get().flags.get(flag.name), BrokenFlag)
        return {
            "flag": flag,
            "state": state_pills(flag),
            "broken": broken,
            "served": [] if broken else served(flag, document_of(flag)),
            "next_step": "" if broken else next_step(flag),
            "expires": expiry(flag),
            "active": active,
            "active_url": version_url(active.pk) if active else "",
            "waiting": [(version, version_url(version.pk)) for version in waiting],
            "may_kill": self.has_kill_permission(request),
            "kill_url": flag_url(flag.pk, "stop"),
            "steps": flag.steps,
        }

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<uuid:object_id>/stop/", wrap(self.stop), name="flags_featureflag_stop"),
            path(
                "<uuid:object_id>/override/",
                wrap(self.override),
                name="flags_featureflag_override",
            ),
            path("suggest/<slug:kind>/", wrap(self.suggest), name="flags_featureflag_suggest"),
            path("<uuid:object_id>/try/", wrap(self.try_it), name="flags_featureflag_try"),
        ]
        return [*own, *super().get_urls()]

    def stop(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Kill or revive from the page itself: one click and a reason, no dialog between."""
        if not self.has_kill_permission(request):
            raise PermissionDenied
        flag = self.asked(request, str(object_id))
        form = ReasonForm(data=request.POST or None, request=request)
        # What tells a dialog's POST from its first showing does not matter here.
        form.data = {**request.POST.dict(), "_form_submitted": "True"}
        if request.method != "POST" or not form.is_valid():
            messages.error(request, "Say why, in a few words: nothing was changed.")
            return go_to(request, flag_url(flag.pk))
        give_reason(form.cleaned_data["reason"])
        verb = self.verbs["revive" if "revive" in request.POST else "kill"]
        verb.run(flag, request, form)
        messages.success(request, verb.done.format(f"“{flag}”"))
        return go_to(request, flag_url(flag.pk))

    def override(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Give a tenant or a user an answer of its own, or take it away."""
        if request.method != "POST" or not self.has_publish_permission(request):
            raise PermissionDenied
        return overrides.set_from(request, self.asked(request, str(object_id)))

    def suggest(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Propose tenants or users to a field of the tabs."""
        if kind not in overrides.SUGGESTED:
            raise Http404
        if not self.has_view_permission(request):
            raise PermissionDenied
        return overrides.suggestions(request, kind)

    def try_it(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Answer the form of the tab Try it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        flag = self.asked(request, str(object_id))
        return trying.answer(request, partial(try_flag, flag))

    @action(
        description="Edit",
        permissions=["edit"],
        icon="edit",
        variant=ActionVariant.PRIMARY,
    )
    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.edit_flag(request, self.asked(request, object_id))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self.add_flag(request)

    def back_url(self, flag: FeatureFlag | None) -> str:
        """Return where the editor leads back to."""
        if flag is None:
            return reverse("admin:flags_featureflag_changelist")
        return flag_url(quote(flag.pk))
