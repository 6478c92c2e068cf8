"""Pages that export flags as YAML, and import them: a dry run first, then all or nothing."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.decorators import action

from apps.configs.differences import NOTHING, side_by_side
from apps.flags.exchange import (
    ImportPlan,
    Item,
    export_document,
    import_document,
    plan_import,
    read_document,
)
from apps.flags.models import FeatureFlag
from layoverhq.admin_site import add_refusal, give_reason, go_to
from layoverhq.document_form import ConfirmForm, DocumentForm
from layoverhq.errors import DomainError, InvalidInput, StaleVersion
from layoverhq.tenancy import OPERATOR

SHOWN = 200


class FlagsForm(DocumentForm):
    read = staticmethod(read_document)
    hint = "A flag, segment or namespace that it names becomes just what it says."

    document: list[Item]


class ExchangePages:
    """Pages for the admin of flags."""

    admin_site: Any
    opts: Any
    changelist_url: Any

    def has_exchange_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flags.view_featureflag")

    # What is imported may add and change anything, and holds at once.
    def has_import_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perms(
            [
                "flags.add_featureflag",
                "flags.change_featureflag",
                "flags.publish_flagversion",
                "flags.add_flagsegment",
                "flags.change_flagsegment",
                "flags.add_flagnamespace",
                "flags.change_flagnamespace",
            ]
        )

    @action(description="Export", permissions=["exchange"], icon="download", url_path="export")
    def export_yaml(self, request: HttpRequest) -> HttpResponse:
        """Hand out all flags that are not archived."""
        return self._download(request, None)

    @action(description="Export as YAML", permissions=["exchange"])
    def export_selected(
        self, request: HttpRequest, queryset: QuerySet[FeatureFlag]
    ) -> HttpResponse:
        """Hand out the chosen flags, with all segments and namespaces."""
        return self._download(request, queryset)

    def _download(self, request: HttpRequest, chosen: QuerySet[FeatureFlag] | None) -> HttpResponse:
        try:
            text = export_document(flags=chosen)
        except InvalidInput as error:
            messages.error(request, error.errors[0].detail)
            return go_to(request, self.changelist_url())
        name = f"layoverhq-flags-{timezone.now():%Y%m%d-%H%M}.yaml"
        return HttpResponse(
            text,
            content_type="application/yaml",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @action(description="Import", permissions=["import"], icon="upload", url_path="import")
    def import_yaml(self, request: HttpRequest) -> HttpResponse:
        """Read a document, show what it would change, and do just that."""
        form = FlagsForm(request.POST or None, request.FILES or None)
        if request.method != "POST" or not form.is_valid():
            return self._page(request, form=form)
        plan = plan_import(form.document, actor=request.user)
        confirmation = ConfirmForm(
            request.POST if "import" in request.POST else None, initial={"digest": plan.digest}
        )
        if confirmation.is_bound and confirmation.is_valid():
            try:
                done = self._import(form.document, confirmation, request.user)
            except StaleVersion as error:
                add_refusal(confirmation, error)
                confirmation.data = {**confirmation.data.dict(), "digest": plan.digest}
            except DomainError as error:
                add_refusal(confirmation, error)
            else:
                messages.success(request, done)
                return go_to(request, self.changelist_url())
        return self._page(
            request,
            form=form,
            confirmation=confirmation,
            plan=plan,
            noun="thing",
            rows=rows_of(plan),
            more=max(0, len(plan.effective) - SHOWN),
            same=len(plan.changes) - len(plan.effective),
            buttons=[("import", "Import")],
        )

    def _import(self, document: list[Item], form: ConfirmForm, actor: Any) -> str:
        given = form.cleaned_data
        give_reason(given["reason"])
        with transaction.atomic(using=OPERATOR):
            plan = import_document(document=document, actor=actor, **given)
        drafted = sum(change.drafted for change in plan.effective)
        done = f"Imported {len(plan.effective) - drafted}."
        return f"{done} {drafted} of protected flags wait for a review." if drafted else done

    def _page(self, request: HttpRequest, **context: Any) -> HttpResponse:
        return TemplateResponse(
            request,
            "admin/import_document.html",
            {
                **self.admin_site.each_context(request),
                "title": "Import flags",
                "opts": self.opts,
                "changelist_url": self.changelist_url(),
                **context,
            },
        )


def rows_of(plan: ImportPlan) -> list[dict[str, Any]]:
    """Return what the dry run shows of each change."""
    return [
        {
            "title": change.item.label,
            "note": "is protected: drafted, and sent to review" if change.drafted else "",
            "action": change.action,
            "lines": side_by_side(
                NOTHING if change.before is None else change.before, change.after, around=3
            ),
        }
        for change in plan.effective[:SHOWN]
    ]
