"""Enterprises: onboarded, suspended, resumed, offboarded."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import structlog
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.db.models import Count, Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.audit.history import HistoryTab
from apps.tenants.admin.api_keys import shown_state
from apps.tenants.admin.onboarding import OnboardingForm
from apps.tenants.models import (
    ApiKey,
    Domain,
    Enterprise,
    EnterpriseMove,
    Offboarding,
    User,
)
from apps.tenants.moving import start_move
from apps.tenants.offboarding import erase_enterprise, start_offboarding
from apps.tenants.operations import (
    change_enterprise,
    onboard_enterprise,
    onboard_enterprises,
    resume_enterprise,
    suspend_enterprise,
)
from layoverhq import context
from layoverhq.admin_site import give_reason, go_to
from layoverhq.hosts import is_platforms
from layoverhq.keyset import WindowFilter
from layoverhq.model_admin import (
    OperationAdmin,
    ReadOnlyInline,
    ReasonedChange,
    ReasonForm,
    attempted,
    each,
    pill,
    unless,
)

log = structlog.get_logger(__name__)

Status = Enterprise.Status
STATUS_COLOURS = {
    Status.ACTIVE.value: "success",
    Status.SUSPENDED.value: "warning",
    Status.OFFBOARDING.value: "danger",
    Status.OFFBOARDED.value: "",
}
HOST_NAME = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


SUSPEND = ReasonedChange(
    title="Suspend",
    done="Suspended",
    consequence="Its API keys are refused with 403 at once, everywhere. Its data stays, "
    "and it can be resumed at any time.",
    obstacle=unless(Status.ACTIVE),
    operation=each(suspend_enterprise, "enterprise"),
)
RESUME = ReasonedChange(
    title="Resume",
    done="Resumed",
    consequence="Its API keys are served again at once.",
    obstacle=unless(Status.SUSPENDED),
    operation=each(resume_enterprise, "enterprise"),
)
OFFBOARD = ReasonedChange(
    title="Offboard",
    done="Began to offboard",
    consequence="Its API keys are refused from now on, and all its rows are exported to an "
    "archive. Nothing is erased until you confirm it on the page that follows. "
    "An offboarding cannot be called off.",
    obstacle=unless(Status.ACTIVE, Status.SUSPENDED),
    operation=each(start_offboarding, "enterprise"),
)


def _movable(target: Enterprise.Isolation) -> Any:
    def obstacle(enterprise: Enterprise) -> str:
        if enterprise.isolation == target:
            return "is there already"
        return unless(Status.ACTIVE, Status.SUSPENDED)(enterprise)

    return obstacle


def _move_to(target: Enterprise.Isolation) -> Any:
    def run(enterprises: Any) -> None:
        for enterprise in enterprises:
            start_move(enterprise=enterprise, target=target, reason=context.current().reason)

    return run


_MEANWHILE = (
    " Every row is counted and compared before anything is deleted. For as long as it copies, a"
    " minute or so for a hundred thousand rows, its API calls for these wait two seconds and are"
    " then refused with 503; searches go on."
)
DEDICATE = ReasonedChange(
    title="Move to an own schema",
    done="Began to move",
    consequence="Travellers, saved searches, trips and alerts go to a schema of its own."
    + _MEANWHILE,
    obstacle=_movable(Enterprise.Isolation.DEDICATED),
    operation=_move_to(Enterprise.Isolation.DEDICATED),
)
POOL = ReasonedChange(
    title="Move to the shared tables",
    done="Began to move",
    consequence="Travellers, saved searches, trips and alerts go to the shared tables, and the"
    " empty schema is dropped." + _MEANWHILE,
    obstacle=_movable(Enterprise.Isolation.POOLED),
    operation=_move_to(Enterprise.Isolation.POOLED),
)


class StatusFilter(WindowFilter):
    title = "status"
    parameter_name = "status"
    windows = (("living", "Not offboarded"), *Status.choices, ("all", "All"))

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Enterprise]
    ) -> QuerySet[Enterprise]:
        chosen = self.chosen()
        if chosen == "living":
            return queryset.exclude(status=Status.OFFBOARDED)
        return queryset if chosen == "all" else queryset.filter(status=chosen)


class DomainForm(forms.ModelForm):
    class Meta:
        model = Domain
        fields: ClassVar[list[str]] = ["domain", "is_primary"]

    def clean_domain(self) -> str:
        domain = str(self.cleaned_data["domain"]).strip().lower().rstrip(".")
        if not HOST_NAME.fullmatch(domain):
            raise ValidationError("Give a host name, such as travel.example.com.")
        if is_platforms(domain):
            raise ValidationError("This is the platform's own host.")
        return domain


class DomainInline(TabularInline):
    model = Domain
    form = DomainForm
    fields = ("domain", "is_primary")
    tab = True
    extra = 0


class ApiKeyInline(ReadOnlyInline):
    model = ApiKey
    fields = readonly_fields = ("name", "shown_prefix", "shown_state", "last_used_at", "expires_at")
    verbose_name_plural = "API keys"

    @display(description="Begins with")
    def shown_prefix(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @display(description="State")
    def shown_state(self, key: ApiKey) -> SafeString:
        return shown_state(key)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.view_apikey")


class UserInline(ReadOnlyInline):
    model = User
    fields = readonly_fields = ("email", "name", "subscription_tier", "is_active")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.view_user")


class MoveInline(ReadOnlyInline):
    model = EnterpriseMove
    fields = readonly_fields = ("created_at", "target", "stage", "rows_total", "finished_at")
    ordering = ("-id",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.view_enterprisemove")


class EraseForm(forms.Form):
    confirmation = forms.CharField(max_length=50, widget=UnfoldAdminTextInputWidget)
    reason = ReasonForm.base_fields["reason"]

    def __init__(self, *args: Any, slug: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["confirmation"].label = f"Type “{slug}” to confirm"
        self.fields["confirmation"].widget.attrs["autocomplete"] = "off"


@admin.register(Enterprise)
class EnterpriseAdmin(OperationAdmin):
    list_display = (
        "name",
        "slug",
        "shown_status",
        "subscription_plan",
        "isolation",
        "usable_keys",
        "created_at",
    )
    list_filter = (StatusFilter, "subscription_plan", "isolation")
    search_fields = ("name", "slug")
    search_help_text = "Find by name or slug."
    ordering = ("name", "id")
    fields = ("name", "slug", "subscription_plan")
    actions = ("suspend_selected", "resume_selected")
    actions_list = ("onboard_many",)
    actions_detail = ("suspend", "resume", "dedicate", "pool", "offboard", "offboarding")
    inlines = (ApiKeyInline, UserInline, DomainInline, MoveInline)
    change_form_datasets = (HistoryTab.of(Enterprise),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Enterprise]:
        now = timezone.now()
        usable = Q(api_keys__revoked_at__isnull=True) & (
            Q(api_keys__expires_at__isnull=True) | Q(api_keys__expires_at__gt=now)
        )
        return super().get_queryset(request).annotate(key_count=Count("api_keys", filter=usable))

    def get_fields(self, request: HttpRequest, obj: Enterprise | None = None) -> Any:
        if obj is None:
            return self.fields
        return (
            "name",
            "slug",
            "subscription_plan",
            ("shown_status", "isolation"),
            ("created_at", "updated_at"),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Enterprise | None = None) -> Any:
        if obj is None:
            return ()
        return ("slug", "shown_status", "isolation", "created_at", "updated_at")

    def get_inlines(self, request: HttpRequest, obj: Enterprise | None) -> Any:
        return self.inlines if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        leaving = isinstance(obj, Enterprise) and obj.status in (
            Status.OFFBOARDING,
            Status.OFFBOARDED,
        )
        return not leaving and super().has_change_permission(request)

    # Enterprises are offboarded, not deleted.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_offboard_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.delete_enterprise")

    def has_move_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.add_enterprisemove")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        enterprise = Enterprise.objects.filter(pk=object_id).first()
        if enterprise is None:
            return []
        move = "pool" if enterprise.is_dedicated else "dedicate"
        possible = {
            Status.ACTIVE: ("suspend", move, "offboard"),
            Status.SUSPENDED: ("resume", move, "offboard"),
        }.get(enterprise.status, ("offboarding",))
        names = {f"tenants_enterprise_{name}" for name in possible}
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name in names]

    def save_model(self, request: HttpRequest, obj: Enterprise, form: Any, change: bool) -> None:
        given = form.cleaned_data
        if change:
            saved = change_enterprise(
                enterprise=obj, name=given["name"], subscription_plan=given["subscription_plan"]
            )
        else:
            saved = onboard_enterprise(**given)
        obj.__dict__.update(saved.__dict__)

    @display(description="Status", ordering="status")
    def shown_status(self, enterprise: Enterprise) -> SafeString:
        return pill(enterprise.get_status_display(), STATUS_COLOURS[enterprise.status])

    @display(description="Usable keys", ordering="key_count")
    def usable_keys(self, enterprise: Enterprise) -> SafeString:
        url = reverse("admin:tenants_apikey_changelist")
        return format_html(
            '<a class="text-link" href="{}?enterprise={}">{}</a>',
            url,
            enterprise.slug,
            enterprise.key_count,
        )

    @action(description="Suspend…", permissions=["change"])
    def suspend_selected(
        self, request: HttpRequest, queryset: QuerySet[Enterprise]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, SUSPEND)

    @action(description="Resume…", permissions=["change"])
    def resume_selected(
        self, request: HttpRequest, queryset: QuerySet[Enterprise]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, RESUME)

    @action(
        description="Suspend…",
        permissions=["change"],
        icon="pause_circle",
        variant=ActionVariant.WARNING,
        dialog=SUSPEND.dialog(),
    )
    def suspend(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, SUSPEND)

    @action(
        description="Resume…",
        permissions=["change"],
        icon="play_circle",
        variant=ActionVariant.SUCCESS,
        dialog=RESUME.dialog(),
    )
    def resume(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, RESUME)

    @action(
        description="Move to an own schema…",
        permissions=["move"],
        icon="move_down",
        dialog=DEDICATE.dialog(),
    )
    def dedicate(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._begin_move(request, form, object_id, DEDICATE)

    @action(
        description="Move to the shared tables…",
        permissions=["move"],
        icon="move_up",
        dialog=POOL.dialog(),
    )
    def pool(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._begin_move(request, form, object_id, POOL)

    def _begin_move(
        self, request: HttpRequest, form: ReasonForm, object_id: str, change: ReasonedChange
    ) -> HttpResponse:
        """Begin it, and show how far it is."""
        back = self.change_one(request, form, object_id, change)
        move = EnterpriseMove.objects.filter(
            enterprise_id=object_id, finished_at__isnull=True
        ).first()
        if move is None:
            return back
        return go_to(request, reverse("admin:tenants_enterprisemove_change", args=[move.pk]))

    @action(
        description="Offboard…",
        permissions=["offboard"],
        icon="logout",
        variant=ActionVariant.DANGER,
        dialog=OFFBOARD.dialog(),
    )
    def offboard(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        self.change_one(request, form, object_id, OFFBOARD)
        return go_to(request, reverse("admin:tenants_enterprise_offboarding", args=[object_id]))

    @action(description="Offboarding", permissions=["offboard"], icon="logout")
    def offboarding(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show how far it is, hand out the archive, and ask for the word to erase."""
        offboarding = _offboarding(object_id)
        enterprise = offboarding.enterprise
        form = EraseForm(request.POST or None, slug=enterprise.slug)
        if request.method == "POST" and form.is_valid():
            give_reason(form.cleaned_data["reason"])
            if attempted(
                form,
                erase_enterprise,
                offboarding=offboarding,
                confirmation=form.cleaned_data["confirmation"],
            ):
                messages.success(request, f"Began to erase “{enterprise}”.")
                return go_to(request, request.path)
        return TemplateResponse(
            request,
            "admin/offboarding.html",
            {
                **self.admin_site.each_context(request),
                "title": f"Offboarding of {enterprise}",
                "opts": self.opts,
                "enterprise": enterprise,
                "offboarding": offboarding,
                "moving": offboarding.stage
                in (Offboarding.Stage.EXPORTING, Offboarding.Stage.ERASING),
                "form": form,
                "enterprise_url": self.change_url(enterprise.pk),
                "archive_url": reverse("admin:tenants_enterprise_archive", args=[enterprise.pk]),
            },
        )

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<uuid:object_id>/offboarding/archive/",
            self.admin_site.admin_view(self.archive),
            name="tenants_enterprise_archive",
        )
        return [own, *super().get_urls()]

    def archive(self, request: HttpRequest, object_id: Any) -> HttpResponseBase:
        """Hand out the archive of all that the enterprise had."""
        if not self.has_offboard_permission(request):
            raise Http404
        offboarding = _offboarding(object_id)
        if not offboarding.archive or not default_storage.exists(offboarding.archive):
            raise Http404
        log.info("archive_downloaded", enterprise=str(object_id), archive=offboarding.archive)
        return FileResponse(
            default_storage.open(offboarding.archive),
            as_attachment=True,
            filename=offboarding.archive.rpartition("/")[2],
        )

    @action(description="Onboard many", permissions=["add"], icon="playlist_add")
    def onboard_many(self, request: HttpRequest) -> HttpResponse:
        """Read a list, say which lines are faulty, and onboard all of it at once."""
        form = OnboardingForm(request.POST or None, request.FILES or None)
        valid = request.method == "POST" and form.is_valid()
        if valid and "confirmed" in request.POST:
            onboarded = onboard_enterprises(enterprises=form.enterprises)
            messages.success(request, f"Onboarded {len(onboarded):,} enterprises.")
            return go_to(request, self.changelist_url())
        return TemplateResponse(
            request,
            "admin/onboard_many.html",
            {
                **self.admin_site.each_context(request),
                "title": "Onboard many",
                "opts": self.opts,
                "form": form,
                "ready": form.enterprises if valid else [],
                "faults": form.faults,
                "changelist_url": self.changelist_url(),
            },
        )


def _offboarding(enterprise_id: Any) -> Offboarding:
    try:
        return Offboarding.objects.select_related("enterprise").get(enterprise_id=enterprise_id)
    except (Offboarding.DoesNotExist, ValidationError) as error:
        raise Http404 from error
