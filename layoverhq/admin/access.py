"""Groups of operators, in Unfold's dress."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group, Permission
from django.db.models import Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from layoverhq.model_admin import OperationAdmin

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, OperationAdmin):
    ordering = ("name",)
    filter_horizontal = ()

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the permissions on what the admin shows, and on nothing else."""
        shown = [
            f"{model._meta.app_label}.{model._meta.model_name}"
            for model in self.admin_site._registry
        ]
        named = Concat("content_type__app_label", Value("."), "content_type__model")
        kwargs["queryset"] = (
            Permission.objects.select_related("content_type")
            .annotate(named=named)
            .filter(named__in=shown)
        )
        field = OperationAdmin.formfield_for_manytomany(
            self, db_field, request, widget=UnfoldAdminCheckboxSelectMultipleWidget(), **kwargs
        )
        # Unfold keeps labels on one line, which phones have no room for.
        field.label_from_instance = lambda permission: format_html(
            '<span class="whitespace-normal">{}</span>', permission.name
        )
        return field

    # Whoever may edit groups may do everything: it takes a superuser.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser
