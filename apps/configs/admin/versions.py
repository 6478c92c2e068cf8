"""Versions of values: read, compared, brought back; a secret's is revealed with a reason."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten, quote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from apps.audit.history import HistoryTab
from apps.configs.admin.change_sets import dialog
from apps.configs.admin.tabs import TONES, CompareTab
from apps.configs.differences import MASK, brief, lines_of
from apps.configs.models import SystemConfig
from apps.configs.operations import (
    is_protected,
    publish_change_set,
    restore_version,
    reveal_secret,
)
from layoverhq.admin_site import give_reason, go_to
from layoverhq.errors import InvalidInput
from layoverhq.keyset import KeysetChangeList, TextFilter, WindowFilter
from layoverhq.model_admin import OperationAdmin, ReadOnly, ReasonForm, pill

Status = SystemConfig.Status


class KeyFilter(TextFilter):
    title = "key"
    parameter_name = "key"
    placeholder = "flight.search_timeout"
    field = "config_key"


class TenantFilter(TextFilter):
    title = "tenant"
    parameter_name = "tenant"
    placeholder = "slug"
    field = "enterprise__slug"


class LevelFilter(WindowFilter):
    title = "level"
    parameter_name = "level"
    windows = (("all", "All"), ("platform", "Platform"), ("tenant", "Tenants"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        if chosen == "all":
            return queryset
        return queryset.filter(enterprise__isnull=chosen == "platform")


@admin.register(SystemConfig)
class SystemConfigAdmin(ReadOnly, OperationAdmin):
    list_display = (
        "config_key",
        "level",
        "version",
        "shown_value",
        "shown_status",
        "created_by",
        "created_at",
        "activated_at",
    )
    list_filter = (
        KeyFilter,
        LevelFilter,
        TenantFilter,
        "status",
        "category",
        "is_secret",
        "requires_restart",
    )
    search_fields = ("config_key__key", "reason")
    search_help_text = "Find by key or reason."
    list_select_related = ("config_key", "enterprise", "created_by")
    # Ids are in the order of time, and millions of versions are nothing to count.
    ordering = ("-id",)
    sortable_by = ()
    actions = None
    actions_detail = ("restore", "reveal")
    change_form_datasets = (CompareTab, HistoryTab.of(SystemConfig))
    fields = (
        ("linked_key", "level"),
        ("version", "shown_status"),
        "value_lines",
        "reason",
        "linked_set",
        ("created_by", "created_at"),
        ("activated_at", "expires_at"),
        ("value_type", "category"),
        ("requires_restart", "is_secret"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return flatten(self.fields)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def has_restore_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.add_configchangeset")

    def has_reveal_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.reveal_secret")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        version = self._version(object_id)
        hidden = set()
        if version is None or version.is_active:
            hidden.add("configs_systemconfig_restore")
        if version is None or not version.is_secret or version.unset:
            hidden.add("configs_systemconfig_reveal")
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name not in hidden]

    def _version(self, object_id: Any) -> SystemConfig | None:
        try:
            found = SystemConfig.objects.filter(pk=UUID(str(object_id)))
        except ValueError:
            return None
        return found.select_related("config_key", "enterprise").first()

    @display(description="Level", ordering="enterprise")
    def level(self, version: SystemConfig) -> str:
        return str(version.enterprise) if version.enterprise else "platform"

    @display(description="Value")
    def shown_value(self, version: SystemConfig) -> str:
        if version.unset:
            return "cleared"
        return brief(version.value, secret=version.is_secret, unit=version.config_key.unit)

    @display(description="Value")
    def value_lines(self, version: SystemConfig) -> SafeString | str:
        if version.unset:
            return "cleared: from then on there is none at this level"
        if version.is_secret:
            return MASK
        return format_html(
            '<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>',
            "\n".join(lines_of(version.value)),
        )

    @display(description="Status", ordering="status")
    def shown_status(self, version: SystemConfig) -> SafeString:
        return pill(version.get_status_display(), TONES[version.status])

    @display(description="Key")
    def linked_key(self, version: SystemConfig) -> SafeString:
        url = reverse("admin:configs_configkey_change", args=[quote(version.config_key_id)])
        return format_html('<a class="text-link" href="{}">{}</a>', url, version.config_key_id)

    @display(description="Change set")
    def linked_set(self, version: SystemConfig) -> SafeString | str:
        if version.change_set is None:
            return "—"
        url = reverse("admin:configs_configchangeset_change", args=[version.change_set_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, version.change_set)

    @action(
        description="Bring back…",
        permissions=["restore"],
        icon="history",
        dialog=dialog(
            "Bring back",
            told="A new version with this value. It holds at once, unless the key is protected or "
            "you may not publish: then it is a draft.",
        ),
    )
    def restore(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        version = self._version(object_id)
        if version is None:
            raise Http404
        give_reason(form.cleaned_data["reason"])
        drafted = restore_version(
            version=version, reason=form.cleaned_data["reason"], actor=request.user
        )
        if request.user.has_perm("configs.publish_configchangeset") and not is_protected(drafted):
            publish_change_set(change_set=drafted)
            messages.success(request, f"Published “{drafted}”.")
        else:
            messages.success(request, f"Drafted “{drafted}”.")
        return go_to(request, reverse("admin:configs_configchangeset_change", args=[drafted.pk]))

    @action(
        description="Reveal…",
        permissions=["reveal"],
        icon="visibility",
        variant=ActionVariant.WARNING,
    )
    def reveal(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, note the reading in the audit trail, and show the secret in this one answer."""
        version = self._version(object_id)
        if version is None or not version.is_secret or version.unset:
            raise Http404
        form = ReasonForm(data=request.POST or None, request=request)
        fault, secret = "", None
        if request.method == "POST" and form.is_valid():
            give_reason(form.cleaned_data["reason"])
            try:
                secret = "\n".join(lines_of(reveal_secret(version=version)))
            except InvalidInput as error:
                fault = error.errors[0].detail
        return TemplateResponse(
            request,
            "admin/configs/reveal.html",
            {
                **self.admin_site.each_context(request),
                "title": f"Reveal {version}",
                "opts": self.opts,
                "version": version,
                "form": form,
                "secret": secret,
                "fault": fault,
                "version_url": self.change_url(version.pk),
            },
            headers={"Cache-Control": "no-store"},
        )
