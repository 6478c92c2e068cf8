"""People: of enterprises, and the platform's operators."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from apps.audit.history import HistoryTab
from apps.tenants.models import User
from apps.tenants.operations import delete_user
from layoverhq.keyset import EnterpriseFilter, WindowFilter
from layoverhq.model_admin import OperationAdmin, ReasonedChange, ReasonForm, pill

# What only a superuser may give, or an operator could promote itself.
POWERS = ("is_staff", "is_superuser", "groups")


def _delete(users: Any) -> None:
    for user in users:
        delete_user(user=user)


DELETE = ReasonedChange(
    title="Delete",
    done="Deleted",
    consequence="The person can no longer log in, and the email is free for another user. "
    "The row stays, for the audit log.",
    obstacle=lambda user: "is deleted already" if user.deleted_at else "",
    operation=_delete,
)


class StandingFilter(WindowFilter):
    title = "standing"
    parameter_name = "standing"
    windows = (("living", "Living"), ("deleted", "Deleted"), ("all", "All"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        chosen = self.chosen()
        return (
            queryset if chosen == "all" else queryset.filter(deleted_at__isnull=chosen == "living")
        )


class KindFilter(SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("operator", "Operators"), ("customer", "Enterprises' people")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if not self.value():
            return queryset
        return queryset.filter(enterprise__isnull=self.value() == "operator")


class NewUserForm(UserCreationForm):
    class Meta:
        model = User
        fields: ClassVar[list[str]] = ["email", "name", "enterprise"]


class UserForm(UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"
        field_classes: ClassVar[dict[str, Any]] = {}


@admin.register(User)
class UserAdmin(DjangoUserAdmin, OperationAdmin):
    form = UserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    list_display = (
        "email",
        "name",
        "enterprise",
        "shown_kind",
        "subscription_tier",
        "is_active",
        "last_login",
    )
    list_filter = (
        StandingFilter,
        KindFilter,
        "subscription_tier",
        "is_active",
        EnterpriseFilter,
    )
    list_select_related = ("enterprise",)
    search_fields = ("email", "name", "enterprise__name")
    search_help_text = "Find by email, name or enterprise."
    ordering = ("email", "id")
    autocomplete_fields = ("enterprise",)
    filter_horizontal = ()
    actions = ("delete_softly_selected",)
    actions_detail = ("delete_softly",)
    change_form_datasets = (HistoryTab.of(User),)
    readonly_fields = ("last_login", "created_at", "deleted_at")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "email",
                    "name",
                    "enterprise",
                    "subscription_tier",
                    "is_active",
                    "password",
                )
            },
        ),
        ("Operator", {"fields": (("is_staff", "is_superuser"), "groups")}),
        ("Limits and preferences", {"fields": ("api_limits", "preferences")}),
        ("Dates (UTC)", {"fields": (("created_at", "last_login", "deleted_at"),)}),
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": (
                    "email",
                    "name",
                    "enterprise",
                    "usable_password",
                    "password1",
                    "password2",
                )
            },
        ),
    )

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # Django's takes its adding form from an argument that the base class does not know of.
        if obj is None:
            kwargs = {"form": self.add_form, **kwargs}
        return OperationAdmin.get_form(self, request, obj, change=change, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = super().get_readonly_fields(request, obj)
        return fixed if request.user.is_superuser else (*fixed, *POWERS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep the deleted as they are, and operators to superusers.

        Whoever could set the password of a stronger operator could be one.
        """
        if isinstance(obj, User) and (
            obj.deleted_at or (has_powers(obj) and not request.user.is_superuser)
        ):
            return False
        return super().has_change_permission(request)

    # Users are deleted softly.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_softly_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.delete_user")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        if User.objects.filter(pk=object_id, deleted_at__isnull=False).exists():
            return []
        return super().get_actions_detail(request, object_id)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return OperationAdmin.formfield_for_manytomany(
            self, db_field, request, widget=UnfoldAdminCheckboxSelectMultipleWidget(), **kwargs
        )

    @display(description="Kind")
    def shown_kind(self, user: User) -> SafeString:
        if user.is_superuser:
            return pill("superuser", "danger")
        return pill("operator", "info") if user.is_operator else pill("customer")

    @action(description="Delete…", permissions=["delete_softly"])
    def delete_softly_selected(
        self, request: HttpRequest, queryset: QuerySet[User]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, deletion_by(request))

    @action(
        description="Delete…",
        url_path="delete-softly",
        permissions=["delete_softly"],
        icon="person_remove",
        variant=ActionVariant.DANGER,
        dialog=DELETE.dialog(),
    )
    def delete_softly(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, deletion_by(request))


def has_powers(user: User) -> bool:
    """May the user do anything here?"""
    return user.is_staff or user.is_superuser


def deletion_by(request: HttpRequest) -> ReasonedChange:
    """Return the deletion with what this operator may not delete left out."""

    def obstacle(user: User) -> str:
        if user.pk == request.user.pk:
            return "is yourself"
        if has_powers(user) and not request.user.is_superuser:
            return "is an operator"
        return DELETE.obstacle(user)

    return ReasonedChange(DELETE.title, DELETE.done, DELETE.consequence, obstacle, DELETE.operation)
