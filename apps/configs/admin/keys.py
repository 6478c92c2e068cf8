"""Config keys: the list, a key's page, and the pages that change its values."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget

from apps.audit.history import HistoryTab
from apps.configs.admin import editor, exchange, secrets
from apps.configs.admin.declaring import DeclarationForm, DefaultField, PrettyJSONField
from apps.configs.admin.tabs import DiffTab, ExplainTab, OverridesTab, ReadersTab, VersionsTab
from apps.configs.differences import MASK, NOTHING, brief, side_by_side
from apps.configs.models import ConfigCategory, ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import (
    UNSET,
    draft_change_set,
    publish_change_set,
    revise_change_set,
    save_declaration,
    withdraw_declaration,
)
from apps.configs.queries import processes_with
from apps.tenants.models import Enterprise
from layoverhq.admin_site import add_refusal, give_reason, go_to
from layoverhq.errors import DomainError, FieldError, StaleVersion
from layoverhq.keyset import TextFilter
from layoverhq.model_admin import OperationAdmin, pill
from layoverhq.tenancy import OPERATOR

Status = SystemConfig.Status

FIXED = ("key", "value_type", "category", "is_secret", "requires_restart", "default_value")


class OverriddenByFilter(TextFilter):
    title = "tenant with an override"
    parameter_name = "tenant"
    placeholder = "slug"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if "\x00" in value:
            raise ValueError("NUL")
        return queryset.filter(
            pk__in=SystemConfig.objects.filter(
                is_active=True, unset=False, enterprise__slug=value
            ).values("config_key")
        )


class PendingFilter(SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (Status.ACTIVE, "Has a value"),
            ("default", "At its default"),
            (Status.DRAFT, "Has a draft"),
            (Status.SCHEDULED, "Has a scheduled value"),
            (Status.STAGED, "Released to some tenants"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        versions = SystemConfig.objects.filter(enterprise__isnull=True)
        valued = versions.filter(is_active=True, unset=False).values("config_key")
        if chosen == "default":
            return queryset.exclude(pk__in=valued)
        if chosen == Status.ACTIVE:
            return queryset.filter(pk__in=valued)
        if chosen in Status.values:
            some = SystemConfig.objects.filter(status=chosen).values("config_key")
            return queryset.filter(pk__in=some)
        return queryset


@admin.register(ConfigCategory)
class ConfigCategoryAdmin(OperationAdmin):
    list_display = ("name", "description", "shown_protected", "key_count")
    change_form_datasets = (HistoryTab.of(ConfigCategory),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigCategory]:
        return super().get_queryset(request).annotate(number=Count("keys"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("name",) if obj else ()

    # Whoever takes a category's protection away could change everything in it alone.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Protected")
    def shown_protected(self, category: ConfigCategory) -> SafeString:
        return pill("needs approval", "warning") if category.is_protected else pill("open")

    @display(description="Keys")
    def key_count(self, category: ConfigCategory) -> SafeString:
        url = reverse("admin:configs_configkey_changelist")
        return format_html(
            '<a class="text-link" href="{}?category__name={}">{}</a>',
            url,
            category.name,
            category.number,
        )


@admin.register(ConfigKey)
class ConfigKeyAdmin(exchange.ExchangePages, secrets.SecretPages, OperationAdmin):
    form = DeclarationForm
    list_display = ("key", "value_now", "shown_category", "override_count", "traits", "pending")
    list_filter = (
        ("category", admin.RelatedOnlyFieldListFilter),
        PendingFilter,
        "is_secret",
        "requires_restart",
        "tenant_overridable",
        OverriddenByFilter,
    )
    search_fields = ("key", "description")
    search_help_text = "Find by key or description."
    list_select_related = ("category",)
    ordering = ("key",)
    warn_unsaved_form = False
    actions_list = ("import_yaml", "export_yaml", "secret_keys")
    actions_detail = ("change_value", "override_many", "withdraw")
    change_form_datasets = (
        VersionsTab,
        DiffTab,
        OverridesTab,
        ExplainTab,
        ReadersTab,
        HistoryTab.of(ConfigKey),
    )
    change_form_outer_before_template = "admin/configs/key_summary.html"

    # --- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigKey]:
        active = Q(versions__is_active=True, versions__unset=False)
        return (
            super()
            .get_queryset(request)
            .annotate(
                number=Count(
                    "versions", filter=active & Q(versions__enterprise__isnull=False), distinct=True
                )
            )
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        keys = [key.pk for key in changelist.result_list]
        values: dict[str, SystemConfig] = {}
        waiting: dict[str, set[str]] = {}
        for version in SystemConfig.objects.filter(config_key__in=keys).filter(
            Q(enterprise__isnull=True, is_active=True)
            | Q(status__in=[Status.DRAFT, Status.SCHEDULED, Status.STAGED])
        ):
            if version.status == Status.ACTIVE:
                values[version.config_key_id] = version
            else:
                waiting.setdefault(version.config_key_id, set()).add(version.status)
        for key in changelist.result_list:
            key.active = values.get(key.pk)
            key.waiting = waiting.get(key.pk, set())
        return changelist

    @display(description="Platform's value")
    def value_now(self, key: ConfigKey) -> SafeString | str:
        active: SystemConfig | None = key.active
        if active and not active.unset:
            return brief(active.value, secret=key.is_secret, unit=key.unit)
        if key.default_value is None:
            return "—"
        return format_html("{} {}", brief(key.default_value, unit=key.unit), pill("default"))

    @display(description="Category", ordering="category")
    def shown_category(self, key: ConfigKey) -> SafeString:
        return pill(key.category.name, "warning" if key.category.is_protected else "")

    @display(description="Overrides", ordering="number")
    def override_count(self, key: ConfigKey) -> SafeString:
        url = reverse("admin:configs_systemconfig_changelist")
        return format_html(
            '<a class="text-link" href="{}?{}">{}</a>',
            url,
            urlencode({"key": key.pk, "status__exact": "active", "level": "tenant"}),
            key.number,
        )

    @display(description="Traits")
    def traits(self, key: ConfigKey) -> SafeString:
        found = [
            pill(word, tone)
            for shown, word, tone in (
                (key.is_secret, "secret", "danger"),
                (key.requires_restart, "restart", "warning"),
                (key.tenant_overridable, "tenants override", "info"),
                (key.tenant_visible and not key.tenant_overridable, "tenants see", ""),
            )
            if shown
        ]
        return SafeString(" ".join(found)) if found else SafeString("—")

    @display(description="Pending")
    def pending(self, key: ConfigKey) -> SafeString:
        found = [pill(str(Status(status).label), "warning") for status in sorted(key.waiting)]
        return SafeString(" ".join(found)) if found else SafeString("—")

    # --- the declaration

    def get_readonly_fields(self, request: HttpRequest, obj: ConfigKey | None = None) -> Any:
        return FIXED if obj else ()

    def get_fieldsets(self, request: HttpRequest, obj: ConfigKey | None = None) -> Any:
        return (
            (
                "Declaration",
                {
                    "fields": (
                        ("key", "value_type"),
                        "category",
                        "description",
                        "default_value",
                        ("is_secret", "requires_restart"),
                        ("tenant_visible", "tenant_overridable"),
                        "base_version",
                    )
                },
            ),
            (
                "What values may be",
                {
                    "fields": (
                        ("minimum", "maximum"),
                        ("unit", "whole"),
                        "choices",
                        "pattern",
                        "schema",
                    )
                },
            ),
        )

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in ("schema", "default_value"):
            kwargs["form_class"] = PrettyJSONField if db_field.name == "schema" else DefaultField
        if db_field.name == "category":
            kwargs["widget"] = UnfoldAdminSelectWidget()
            return db_field.formfield(**kwargs)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ConfigKey, form: Any, change: bool) -> None:
        base = form.cleaned_data.get("base_version")
        saved = save_declaration(
            key=obj, base_version=(base or 0) if change else None, actor=request.user
        )
        obj.__dict__.update(saved.__dict__)

    # A key is withdrawn while it never had a value; afterwards it stays declared.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_withdraw_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.delete_configkey")

    def has_draft_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.add_configchangeset")

    def has_publish_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.publish_configchangeset")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        key = self.get_object(request, unquote(str(object_id)))
        hidden = set()
        if key is None or key.versions.exists():
            hidden.add("configs_configkey_withdraw")
        if key is None or key.requires_restart:
            hidden.add("configs_configkey_override_many")
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name not in hidden]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = dict(extra_context or {})
        if object_id and (key := self.get_object(request, unquote(object_id))):
            context["summary"] = self.summary(key)
        return super().changeform_view(request, object_id, form_url, context)

    def summary(self, key: ConfigKey) -> dict[str, Any]:
        """Return what stands on top of the key's page."""
        active = SystemConfig.objects.of(key.pk, None).filter(is_active=True).first()
        valued = active is not None and not active.unset
        value = active.value if active and valued else key.default_value
        running = processes_with(key.pk) if key.requires_restart else []
        wanted = active.version if active and valued else 0
        return {
            "key": key,
            "active": active if valued else None,
            "value": MASK
            if key.is_secret and valued
            else "\n".join(line.new or "" for line in side_by_side(NOTHING, value)),
            "nothing": value is None,
            "open_sets": ConfigChangeSet.objects.filter(
                items__config_key=key,
                items__status__in=[Status.DRAFT, Status.SCHEDULED, Status.STAGED],
            ).distinct(),
            "outdated": [process for process in running if process.version != wanted],
            "running": running,
        }

    @action(description="Withdraw", permissions=["withdraw"], icon="delete")
    def withdraw(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then take the declaration back."""
        key = self.asked(request, object_id)
        if request.method == "POST":
            name = key.pk
            withdraw_declaration(key=key)
            messages.success(request, f"Withdrew the declaration of “{name}”.")
            return go_to(request, self.changelist_url())
        return TemplateResponse(
            request,
            "admin/configs/withdraw.html",
            {
                **self.admin_site.each_context(request),
                "title": f"Withdraw {key}",
                "opts": self.opts,
                "key": key,
                "key_url": self.change_url(key.pk),
            },
        )

    def asked(self, request: HttpRequest, object_id: str) -> ConfigKey:
        """Return the key that an address names. Raises Http404."""
        key: ConfigKey | None = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        return key

    # --- values

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/check/",
            self.admin_site.admin_view(self.check_value),
            name="configs_configkey_check",
        )
        return [own, *super().get_urls()]

    def check_value(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer the editor while somebody types."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = self.asked(request, object_id)
        field = editor.ValueField(key)
        try:
            field.clean(field.widget.value_from_datadict(request.POST, {}, "value"))
            fault = ""
        except ValidationError as error:
            fault = " ".join(error.messages)
        return TemplateResponse(request, "admin/configs/value_check.html", {"fault": fault})

    @action(description="Change the value", permissions=["draft"], icon="edit", url_path="value")
    def change_value(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Edit the platform's value, or with ?tenant= a tenant's."""
        key = self.asked(request, object_id)
        try:
            tenant = editor.tenant_asked(request)
        except Enterprise.DoesNotExist as error:
            raise Http404 from error
        active = (
            SystemConfig.objects.of(key.pk, tenant.pk if tenant else None)
            .filter(is_active=True)
            .first()
        )
        value = editor.stored(active)
        if value is NOTHING and not tenant and key.default_value is not None:
            value = key.default_value
        version = active.version if active else 0
        form = editor.ValueForm(
            request.POST or None,
            key=key,
            initial_value=value,
            initial={
                "base_version": version,
                "change_set": request.GET.get("change_set", ""),
            },
        )
        differences: list[Any] = []
        if request.method == "POST" and form.is_valid():
            try:
                return self._change(request, form, [tenant])
            except StaleVersion as error:
                add_refusal(form, error)
                seen = form.cleaned_data["base_version"]
                differences = editor.meanwhile(key, tenant, seen, form.cleaned_data["value"])
                # Whoever sends the form again has seen the difference.
                form.data = {**form.data.dict(), "base_version": version}
            except DomainError as error:
                add_refusal(form, on_the_value(error))
        return self._editor(
            request,
            key,
            form,
            f"{key} for {tenant}" if tenant else key.key,
            tenant=tenant,
            differences=differences,
            standing=brief(value, secret=key.is_secret, unit=key.unit),
            version=version,
        )

    @action(
        description="Override for tenants",
        permissions=["draft"],
        icon="group_add",
        url_path="override",
    )
    def override_many(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give many tenants the same value: first a preview, then all or none."""
        key = self.asked(request, object_id)
        form = editor.ManyTenantsForm(request.POST or None, key=key)
        effects: list[editor.Effect] = []
        if request.method == "POST" and form.is_valid():
            effects = editor.effects(key, form.enterprises, form.cleaned_data["value"])
            changed = [effect.enterprise for effect in effects if not effect.same]
            if not changed:
                form.add_error(None, "All of them have this value already.")
            elif "preview" not in request.POST:
                try:
                    return self._change(request, form, list(changed))
                except DomainError as error:
                    add_refusal(form, on_the_value(error))
        return self._editor(
            request,
            key,
            form,
            f"Override {key}",
            many=True,
            effects=[
                (effect, brief(effect.before, secret=key.is_secret, unit=key.unit))
                for effect in effects[:50]
            ],
            changing=sum(not effect.same for effect in effects),
            unchanged=sum(effect.same for effect in effects),
            more=max(0, len(effects) - 50),
        )

    def _editor(
        self, request: HttpRequest, key: ConfigKey, form: Any, title: str, **context: Any
    ) -> HttpResponse:
        return TemplateResponse(
            request,
            "admin/configs/editor.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "key": key,
                "key_url": self.change_url(key.pk),
                "check_url": reverse("admin:configs_configkey_check", args=[quote(key.pk)]),
                "form": form,
                "may_publish": self.has_publish_permission(request)
                and not key.category.is_protected,
                **context,
            },
        )

    def _change(
        self, request: HttpRequest, form: editor.ChangeForm, enterprises: list[Enterprise | None]
    ) -> HttpResponse:
        """Draft what the form asks for, and publish it at once where that is asked for."""
        cleaned = form.cleaned_data
        publish = "publish" in request.POST
        if publish and not self.has_publish_permission(request):
            raise PermissionDenied
        give_reason(cleaned["reason"])
        proposals = editor.proposals(form, enterprises)
        with transaction.atomic(using=OPERATOR):
            if chosen := form.chosen_set:
                change_set = revise_change_set(
                    change_set=chosen, proposals=proposals, actor=request.user
                )
            else:
                change_set = draft_change_set(
                    title=title_of(form.key, cleaned["value"], enterprises),
                    reason=cleaned["reason"],
                    proposals=proposals,
                    actor=request.user,
                )
            if publish:
                publish_change_set(change_set=change_set, expires_at=cleaned["expires_at"])
        if publish and len(enterprises) == 1 and not form.chosen_set:
            messages.success(request, told(form.key, enterprises[0]))
            return go_to(request, self.change_url(form.key.pk))
        done = "Published" if publish else "Drafted"
        messages.success(request, f"{done} “{change_set}”.")
        return go_to(request, reverse("admin:configs_configchangeset_change", args=[change_set.pk]))


def on_the_value(error: DomainError) -> DomainError:
    """Let what an operation refuses of a proposal stand on the value's field."""
    own = {"title", "reason", "expires_at", "change_set"}
    error.errors = tuple(
        fault if fault.field in own else FieldError("value", fault.code, fault.detail)
        for fault in error.errors
    )
    return error


def title_of(key: ConfigKey, value: Any, enterprises: list[Enterprise | None]) -> str:
    """Return a change set's title for one change."""
    if value is UNSET:
        what = f"Clear {key}"
    elif key.is_secret:
        what = f"Replace {key}"
    else:
        what = f"{key} to {brief(value, unit=key.unit)}"
    if enterprises == [None]:
        return what[:200]
    first = enterprises[0]
    whom = str(first) if len(enterprises) == 1 else f"{len(enterprises)} tenants"
    return f"{what} for {whom}"[:200]


def told(key: ConfigKey, enterprise: Enterprise | None) -> str:
    """Return the message on what a key is now."""
    tenant_id: UUID | None = enterprise.pk if enterprise else None
    active = SystemConfig.objects.of(key.pk, tenant_id).get(is_active=True)
    where = f" for {enterprise}" if enterprise else ""
    if active.unset:
        return f"“{key}” has no value of its own{where} now, version {active.version}."
    shown = brief(active.value, secret=key.is_secret, unit=key.unit)
    return f"“{key}” is now {shown}{where}, version {active.version}."
