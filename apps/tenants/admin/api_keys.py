"""API keys: issued once, shown once, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from apps.audit.history import HistoryTab
from apps.tenants.models import ApiKey, Scope
from apps.tenants.operations import IssuedKey, issue_api_key, revoke_api_keys
from layoverhq.keyset import EnterpriseFilter
from layoverhq.model_admin import OperationAdmin, ReasonedChange, ReasonForm, pill

EXPIRES_SOON = timedelta(days=14)
STATES = {"usable": "success", "expires soon": "warning", "expired": "", "revoked": "danger"}

REVOKE = ReasonedChange(
    title="Revoke",
    done="Revoked",
    consequence="Requests with it are refused with 401 within a second, everywhere. "
    "This cannot be undone: a new key takes its place.",
    obstacle=lambda key: "is revoked already" if key.revoked_at else "",
    operation=lambda keys: revoke_api_keys(keys=keys),
)


def state(key: ApiKey) -> str:
    """Return whether the key opens anything."""
    now = timezone.now()
    if key.revoked_at:
        return "revoked"
    if key.expires_at is None:
        return "usable"
    if key.expires_at <= now:
        return "expired"
    return "expires soon" if key.expires_at <= now + EXPIRES_SOON else "usable"


def shown_state(key: ApiKey) -> SafeString:
    """Return the state as a label."""
    word = state(key)
    return pill(word, STATES[word])


class StateFilter(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("usable", "Usable"),
            ("soon", "Expires within 14 days"),
            ("expired", "Expired"),
            ("revoked", "Revoked"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        now = timezone.now()
        match self.value():
            case "usable":
                return queryset.usable(now)
            case "soon":
                return queryset.usable(now).filter(expires_at__lte=now + EXPIRES_SOON)
            case "expired":
                return queryset.filter(revoked_at__isnull=True, expires_at__lte=now)
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
        return queryset


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=Scope.values,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What the key may do.",
    )

    class Meta:
        model = ApiKey
        fields: ClassVar[list[str]] = ["enterprise", "name", "scopes", "expires_at"]


@admin.register(ApiKey)
class ApiKeyAdmin(OperationAdmin):
    form = ApiKeyForm
    list_display = (
        "name",
        "shown_prefix",
        "enterprise",
        "shown_scopes",
        "shown_state",
        "last_used_at",
        "expires_at",
    )
    list_filter = (StateFilter, EnterpriseFilter)
    list_select_related = ("enterprise",)
    search_fields = ("name", "prefix", "enterprise__name", "enterprise__slug")
    search_help_text = "Find by name, prefix or enterprise."
    autocomplete_fields = ("enterprise",)
    actions = ("revoke_selected",)
    actions_detail = ("revoke",)
    change_form_datasets = (HistoryTab.of(ApiKey),)
    fields_shown = (
        "name",
        "shown_prefix",
        "enterprise",
        "shown_scopes",
        "shown_state",
        "expires_at",
        "last_used_at",
        "created_at",
        "revoked_at",
    )

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.fields_shown if obj else ApiKeyForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.fields_shown if obj else ()

    # A key is issued and revoked, never edited. Revoking is what `change` permits.
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.change_apikey")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        if ApiKey.objects.filter(pk=object_id, revoked_at__isnull=False).exists():
            return []
        return super().get_actions_detail(request, object_id)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        given = form.cleaned_data
        issued = issue_api_key(
            enterprise=given["enterprise"],
            name=given["name"],
            scopes=given["scopes"],
            expires_at=given["expires_at"],
        )
        obj.__dict__.update(issued.key.__dict__)
        request.issued_key = issued

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token in the answer itself: it is kept nowhere, and no address leads to it."""
        issued: IssuedKey = request.issued_key
        return TemplateResponse(
            request,
            "admin/key_revealed.html",
            {
                **self.admin_site.each_context(request),
                "title": "New API key",
                "opts": self.opts,
                "key": issued.key,
                "token": issued.token,
                "curl": curl_line(request, issued),
                "key_url": self.change_url(obj.pk),
            },
            headers={"Cache-Control": "no-store"},
        )

    @display(description="Begins with")
    def shown_prefix(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @display(description="Scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @display(description="State")
    def shown_state(self, key: ApiKey) -> SafeString:
        return shown_state(key)

    @action(description="Revoke…", permissions=["revoke"])
    def revoke_selected(
        self, request: HttpRequest, queryset: QuerySet[ApiKey]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, REVOKE)

    @action(
        description="Revoke…",
        url_path="revoke",
        permissions=["revoke"],
        icon="block",
        variant=ActionVariant.DANGER,
        dialog=REVOKE.dialog(),
    )
    def revoke(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, REVOKE)


def curl_line(request: HttpRequest, issued: IssuedKey) -> str:
    """Return a call that the new key may make."""
    if Scope.ACCOUNT_READ in issued.key.scopes:
        url = request.build_absolute_uri(reverse("api-enterprise"))
    elif Scope.CONFIGS_READ in issued.key.scopes:
        url = request.build_absolute_uri("/api/v1/configs")
    else:
        url = request.build_absolute_uri("/api/v1/flights/search") + (
            "?origin=JFK&destination=LAX&departure_date="
            f"{timezone.now() + timedelta(days=1):%Y-%m-%d}"
        )
    return f'curl -H "Authorization: Bearer {issued.token}" "{url}"'
