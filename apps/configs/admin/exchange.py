"""Pages that export configuration as YAML, and import it: a dry run first, then all or nothing."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.configs.differences import side_by_side
from apps.configs.documents import DocumentValue, read_document
from apps.configs.exchange import ImportPlan, draft_import, export_document, plan_import
from apps.configs.models import ConfigCategory
from apps.configs.operations import is_protected, publish_change_set
from apps.tenants.models import Enterprise
from layoverhq.admin_site import add_refusal, give_reason, go_to
from layoverhq.document_form import ConfirmForm as DocumentConfirmForm
from layoverhq.document_form import DocumentForm
from layoverhq.errors import DomainError, InvalidInput, StaleVersion
from layoverhq.tenancy import OPERATOR

SHOWN = 200
EVERYBODY, NOBODY, SOME = "all", "none", "some"


class ExportForm(forms.Form):
    prefix = forms.CharField(
        label="Keys that begin with",
        required=False,
        max_length=255,
        widget=UnfoldAdminTextInputWidget,
        help_text="Empty: all of them.",
    )
    category = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    whose = forms.ChoiceField(
        label="Whose values",
        choices=[
            (EVERYBODY, "The platform's and all tenants'"),
            (NOBODY, "The platform's"),
            (SOME, "The platform's and those of the tenants below"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    tenants = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "placeholder": "acme, globex"}),
        help_text="Slugs, with commas, spaces or line ends between.",
    )
    sealed = forms.BooleanField(
        label="With secrets, sealed",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="They open only for the same key and tenant, where the key ring is the same.",
    )

    def __init__(self, *args: Any, may_read_secrets: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = ConfigCategory.objects.values_list("name", flat=True)
        self.fields["category"].choices = [("", "All"), *((name, name) for name in names)]
        if not may_read_secrets:
            del self.fields["sealed"]
        self.enterprises: list[Enterprise] | None = None

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        whose = cleaned.get("whose")
        if whose == NOBODY:
            self.enterprises = []
        elif whose == SOME:
            slugs = set(re.split(r"[\s,;]+", cleaned.get("tenants", "").strip())) - {""}
            found = list(Enterprise.objects.living().filter(slug__in=slugs))
            if unknown := sorted(slugs - {enterprise.slug for enterprise in found}):
                raise ValidationError({"tenants": f"There is no “{unknown[0]}”."})
            if not found:
                raise ValidationError({"tenants": "Name tenants."})
            self.enterprises = found
        return cleaned


class ImportForm(DocumentForm):
    read = staticmethod(read_document)
    hint = "“unset” clears."

    document: list[DocumentValue]


class ConfirmForm(DocumentConfirmForm):
    title = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget)
    field_order = ("title", "reason", "digest")


class ExchangePages:
    """Pages for the admin of keys."""

    admin_site: Any
    opts: Any

    def has_exchange_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.view_configkey")

    def has_import_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.add_configchangeset")

    @action(description="Export", permissions=["exchange"], icon="download", url_path="export")
    def export_yaml(self, request: HttpRequest) -> HttpResponse:
        """Ask what to export, and hand it out as a file."""
        form = ExportForm(
            request.POST or None,
            may_read_secrets=request.user.has_perm("configs.reveal_secret"),
        )
        if request.method == "POST" and form.is_valid():
            chosen = form.cleaned_data
            try:
                text = export_document(
                    prefix=chosen["prefix"],
                    category=chosen["category"] or None,
                    enterprises=form.enterprises,
                    sealed=chosen.get("sealed", False),
                )
            except InvalidInput as error:
                add_refusal(form, error)
            else:
                name = f"layoverhq-config-{timezone.now():%Y%m%d-%H%M}.yaml"
                return HttpResponse(
                    text,
                    content_type="application/yaml",
                    headers={"Content-Disposition": f'attachment; filename="{name}"'},
                )
        return self._page(request, "admin/configs/export.html", "Export configuration", form=form)

    @action(description="Import", permissions=["import"], icon="upload", url_path="import")
    def import_yaml(self, request: HttpRequest) -> HttpResponse:
        """Read a document, show what it would change, and draft or publish just that."""
        form = ImportForm(request.POST or None, request.FILES or None)
        if request.method != "POST" or not form.is_valid():
            return self._page(
                request, "admin/import_document.html", "Import configuration", form=form
            )
        plan = plan_import(form.document)
        confirmed = "draft" in request.POST or "publish" in request.POST
        confirmation = ConfirmForm(
            request.POST if confirmed else None,
            initial={"digest": plan.digest, "title": f"Import of {timezone.now():%Y-%m-%d %H:%M}"},
        )
        if confirmed and confirmation.is_valid():
            try:
                return self._import(request, form.document, confirmation)
            except StaleVersion as error:
                add_refusal(confirmation, error)
                confirmation.data = {**confirmation.data.dict(), "digest": plan.digest}
            except DomainError as error:
                add_refusal(confirmation, error)
        return self._page(
            request,
            "admin/import_document.html",
            "Import configuration",
            form=form,
            confirmation=confirmation,
            plan=plan,
            rows=rows_of(plan),
            more=max(0, len(plan.effective) - SHOWN),
            same=len(plan.changes) - len(plan.effective),
            noun="value",
            buttons=self._buttons(request, plan),
        )

    def _buttons(self, request: HttpRequest, plan: ImportPlan) -> list[tuple[str, str]]:
        """Return what may be done with the plan: the names and words of buttons."""
        protected = any(change.key.category.is_protected for change in plan.effective)
        if protected or not request.user.has_perm("configs.publish_configchangeset"):
            return [("draft", "Save as draft")]
        return [("draft", "Save as draft"), ("publish", "Publish now")]

    def _import(
        self, request: HttpRequest, document: list[DocumentValue], form: ConfirmForm
    ) -> HttpResponse:
        given = form.cleaned_data
        publish = "publish" in request.POST
        if publish and not request.user.has_perm("configs.publish_configchangeset"):
            raise PermissionDenied
        give_reason(given["reason"])
        with transaction.atomic(using=OPERATOR):
            change_set = draft_import(
                document=document,
                digest=given["digest"],
                title=given["title"],
                reason=given["reason"],
                actor=request.user,
            )
            if publish and not is_protected(change_set):
                publish_change_set(change_set=change_set)
        done = change_set.__class__.objects.get(pk=change_set.pk)
        word = "Published" if done.stage == done.Stage.PUBLISHED else "Drafted"
        messages.success(request, f"{word} “{done}”.")
        return go_to(request, reverse("admin:configs_configchangeset_change", args=[done.pk]))

    def _page(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> HttpResponse:
        return TemplateResponse(
            request,
            template,
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "changelist_url": reverse("admin:configs_configkey_changelist"),
                **context,
            },
        )


def rows_of(plan: ImportPlan) -> list[dict[str, Any]]:
    """Return what the dry run shows of each change."""
    return [
        {
            "title": change.key.key,
            "note": f"for {change.enterprise}" if change.enterprise else "",
            "action": change.action,
            "lines": side_by_side(change.before, change.after, around=3),
        }
        for change in plan.effective[:SHOWN]
    ]
