"""The audit log: read by operators, written by nobody here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from apps.audit.history import actors, differences, object_url
from apps.audit.models import AuditEvent
from layoverhq.keyset import KeysetChangeList, TextFilter, WindowFilter
from layoverhq.model_admin import OperationAdmin, ReadOnly, pill

COLOURS = {
    AuditEvent.Operation.INSERT: "success",
    AuditEvent.Operation.UPDATE: "info",
    AuditEvent.Operation.DELETE: "danger",
    AuditEvent.Operation.TRUNCATE: "danger",
    AuditEvent.Operation.READ: "warning",
}


class WhenFilter(WindowFilter):
    title = "time"
    parameter_name = "since"
    windows = (
        ("24h", "Last 24 hours"),
        ("7d", "Last 7 days"),
        ("30d", "Last 30 days"),
        ("ever", "Ever"),
    )
    lengths: ClassVar[dict[str, timedelta]] = {
        "24h": timedelta(hours=24),
        "7d": timedelta(days=7),
        "30d": timedelta(days=30),
    }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        length = self.lengths.get(self.chosen())
        return queryset.filter(at__gte=timezone.now() - length) if length else queryset


class TableFilter(SimpleListFilter):
    title = "table"
    parameter_name = "table"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # The registered models stand for a scan of the trail for the tables in it.
        models = [m for m in model_admin.admin_site._registry if m is not AuditEvent]
        tables = {m._meta.db_table: str(m._meta.verbose_name_plural) for m in models}
        return [(table, title.capitalize()) for table, title in sorted(tables.items())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(table_name=self.value()) if self.value() else queryset


class EnterpriseFilter(TextFilter):
    title = "enterprise"
    parameter_name = "enterprise"
    placeholder = "id of the enterprise"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(enterprise_id=UUID(value))


class UserFilter(TextFilter):
    title = "user"
    parameter_name = "user"
    placeholder = "email or id"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if "\x00" in value:
            raise ValueError("NUL")
        if "@" not in value:
            return queryset.filter(user_id=UUID(value))
        users = get_user_model()._default_manager.filter(email__iexact=value)
        return queryset.filter(user_id__in=list(users.values_list("pk", flat=True)))


class RowFilter(TextFilter):
    title = "row"
    parameter_name = "row"
    placeholder = "id of the row"
    field = "row_id"


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly, OperationAdmin):
    """Newest first, a day of it unless more is asked for."""

    list_display = ("time", "table_name", "what", "row", "who", "reason", "ip_address")
    list_display_links = ("time",)
    list_filter = (WhenFilter, TableFilter, "operation", EnterpriseFilter, UserFilter, RowFilter)
    search_fields = ("request_id",)
    search_help_text = "Find by request id."
    ordering = ("-at", "-id")
    sortable_by = ()
    actions = None
    fieldsets = (
        (None, {"fields": (("time", "what"), ("table_name", "row"), ("who", "enterprise"))}),
        (
            "Why and from where",
            {"fields": ("reason", ("ip_address", "database_role"), "request_id", "user_agent")},
        ),
    )
    readonly_fields = ("time", "what", "row", "who", "enterprise")
    change_form_outer_after_template = "admin/event_diff.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return AuditChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # Equality: a search by substring would read the whole window.
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(Q(request_id=term) | Q(row_id=term)), False

    @display(description="When (UTC)")
    def time(self, event: AuditEvent) -> str:
        return f"{event.at:%Y-%m-%d %H:%M:%S}"

    @display(description="Change")
    def what(self, event: AuditEvent) -> SafeString:
        return pill(event.get_operation_display(), COLOURS[AuditEvent.Operation(event.operation)])

    @display(description="Row")
    def row(self, event: AuditEvent) -> str | SafeString:
        url = object_url(event, self.admin_site._registry)
        if not url:
            return event.row_id or "—"
        return format_html('<a class="text-link" href="{}">{}</a>', url, event.row_id)

    @display(description="Who")
    def who(self, event: AuditEvent) -> str | SafeString:
        if event.user_id is None:
            return "the system"
        known = getattr(event, "actor", None) or actors([event]).get(event.user_id)
        if known is None:
            return str(event.user_id)
        url = reverse("admin:tenants_user_change", args=[event.user_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, known)

    @display(description="Enterprise")
    def enterprise(self, event: AuditEvent) -> str | SafeString:
        if event.enterprise_id is None:
            return "—"
        url = reverse("admin:tenants_enterprise_change", args=[event.enterprise_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, event.enterprise_id)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        event = self.get_object(request, object_id) if object_id else None
        found = {"differences": differences(event) if event else []}
        return super().changeform_view(
            request, object_id, form_url, {**(extra_context or {}), **found}
        )


class AuditChangeList(KeysetChangeList):
    """Learns the page's users in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        users = actors(self.result_list)
        for event in self.result_list:
            event.actor = users.get(event.user_id)
