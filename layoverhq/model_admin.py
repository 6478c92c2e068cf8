"""What the apps' admin pages stand on: operations refused as field errors, changes with reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

from celery import current_app
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ERROR_FLAG
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.forms import BaseForm, CharField
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from kombu.exceptions import OperationalError as BrokerError
from unfold.admin import ModelAdmin, TabularInline
from unfold.dataclasses import ActionDialog
from unfold.datasets import BaseDataset
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from layoverhq.admin_site import add_refusal, give_reason, go_to
from layoverhq.errors import DomainError, Unavailable, from_constraint
from layoverhq.tenancy import OPERATOR

NAMES_SHOWN = 5
MONOSPACED = {"style": "font-family: ui-monospace, monospace", "spellcheck": "false"}

_refusal: ContextVar[DomainError | None] = ContextVar("refused_operation", default=None)


class OperationAdmin(ModelAdmin):  # type: ignore[misc]
    """An admin whose writes are operations; what they refuse stands on the form's fields."""

    list_per_page = 50
    # A count beside each choice of a filter would read the whole table, several times.
    show_facets = ShowFacets.NEVER
    warn_unsaved_form = True

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        # Django's view is atomic: what a refused operation had done is undone by here.
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (DomainError, IntegrityError) as error:
            refusal = error if isinstance(error, DomainError) else from_constraint(error)
            if refusal is None:
                raise
        token = _refusal.set(refusal)
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        finally:
            _refusal.reset(token)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, str] | None = None
    ) -> Any:
        # PostgreSQL has no texts with NUL in them, so that nothing can be found by one.
        if "%00" in request.GET.urlencode():
            return go_to(request, f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, extra_context)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        refusal = _refusal.get()
        if refusal is None:
            return form

        # A name of its own: the check above does not reach into the class.
        known: DomainError = refusal

        class RefusedForm(form):  # type: ignore[misc]
            def clean(self) -> Any:
                cleaned = super().clean()
                add_refusal(self, known)
                return cleaned

        return RefusedForm

    def get_changeform_datasets(self, request: HttpRequest) -> Any:
        """Leave the tabs about an object out of the page that adds one."""
        match = request.resolver_match
        return self.change_form_datasets if match and "object_id" in match.kwargs else ()

    # The audit trail knows more and lies less than Django's own log of the admin.
    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Leave it to the audit trail."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Leave it to the audit trail."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """Leave it to the audit trail."""

    def change_selected(
        self, request: HttpRequest, queryset: QuerySet[Any], change: ReasonedChange
    ) -> HttpResponse | None:
        """Ask for the reason and name what will be left out; once confirmed, do it."""
        taken, left_out = change.sort(queryset)
        confirmed = "confirmed" in request.POST
        form = ReasonForm(data=request.POST if confirmed else None, request=request)
        if confirmed and taken and form.is_valid():
            self._apply(request, change, taken, left_out, form.cleaned_data["reason"])
            return None
        return TemplateResponse(
            request,
            "admin/confirm_change.html",
            {
                **self.admin_site.each_context(request),
                "title": f"{change.title} {self.opts.verbose_name_plural}",
                "opts": self.opts,
                "change": change,
                "taken": taken,
                "left_out": left_out,
                "form": form,
                "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
                "action": request.POST.get("action", ""),
                "select_across": request.POST.get("select_across", "0"),
                "checkbox_name": ACTION_CHECKBOX_NAME,
                "changelist_url": self.changelist_url(),
            },
        )

    def change_one(
        self, request: HttpRequest, form: ReasonForm, object_id: str, change: ReasonedChange
    ) -> HttpResponse:
        """Do what a dialog confirmed, and show the object again."""
        taken, left_out = change.sort(self.get_queryset(request).filter(pk=object_id))
        self._apply(request, change, taken, left_out, form.cleaned_data["reason"])
        return go_to(request, self.change_url(object_id))

    def _apply(
        self,
        request: HttpRequest,
        change: ReasonedChange,
        taken: list[Any],
        left_out: list[tuple[Any, str]],
        reason: str,
    ) -> None:
        give_reason(reason)
        if taken:
            change.operation(taken)
            messages.success(request, f"{change.done} {listed(taken)}.")
        if left_out:
            told = "; ".join(f"{item} {why}" for item, why in left_out[:NAMES_SHOWN])
            more = len(left_out) - NAMES_SHOWN
            told += f"; and {more} more" if more > 0 else ""
            messages.warning(request, f"Left out: {told}.")

    def changelist_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def change_url(self, object_id: Any) -> str:
        return reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(object_id)]
        )


def attempted(form: BaseForm, operation: Callable[..., Any], **arguments: Any) -> bool:
    """Run an operation for a form of its own page; what it refuses stands on the form's fields."""
    try:
        with transaction.atomic(using=OPERATOR):
            operation(**arguments)
    except DomainError as error:
        add_refusal(form, error)
        return False
    return True


def enqueue(task: str, **options: Any) -> None:
    """Queue a task by name; raises Unavailable where the broker cannot be reached."""
    try:
        current_app.send_task(task, **options)
    except BrokerError as error:
        raise Unavailable("The task queue cannot be reached.") from error


class ReadOnly:
    """Refuse to add, change and delete, in pages and in inlines."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(ReadOnly, TabularInline):  # type: ignore[misc]
    """Rows of another table in a tab of their own, a page of them at a time."""

    tab = True
    extra = 0
    per_page = 25
    can_delete = False
    show_change_link = True


class PageTab(BaseDataset):  # type: ignore[misc]
    """A tab of an object's page that a template of ours renders.

    `model_name` names it in the page's address (#dataset-…).
    """

    tab = True
    model: ClassVar[type[Model]]
    model_name: ClassVar[str]
    template_name: ClassVar[str]

    def __init__(self, request: HttpRequest, extra_context: dict[str, Any] | None) -> None:
        self.request = request
        self.object_id = unquote(str((extra_context or {}).get("object") or ""))

    def context(self) -> dict[str, Any]:
        """Return what the template shows."""
        raise NotImplementedError

    @property
    def contents(self) -> str:
        return render_to_string(
            self.template_name, {"dataset": self, **self.context()}, request=self.request
        )


class ReasonForm(BaseDialogForm):  # type: ignore[misc]
    """The operator's own words, which the audit trail keeps."""

    reason = CharField(
        min_length=3,
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": True}),
        help_text="Kept in the audit log with your name.",
    )
    consequence: ClassVar[str] = ""
    form_before_template = "admin/consequence.html"

    def get_before_template_context(
        self, request: HttpRequest, object_id: Any = None
    ) -> dict[str, Any]:
        return {"consequence": self.consequence}


@dataclass(frozen=True, slots=True)
class ReasonedChange:
    """A change that asks why: of objects chosen in a list, or of one in a dialog.

    `obstacle` says why an object is left out (“is suspended”), empty if it is not.
    """

    title: str
    done: str
    consequence: str
    obstacle: Callable[[Any], str]
    operation: Callable[[Sequence[Any]], Any]

    def sort(self, objects: QuerySet[Any]) -> tuple[list[Any], list[tuple[Any, str]]]:
        """Return what the change takes, and what it leaves out with the obstacle."""
        taken, left_out = [], []
        for item in objects:
            if why := self.obstacle(item):
                left_out.append((item, why))
            else:
                taken.append(item)
        return taken, left_out

    def dialog(self) -> ActionDialog:
        """Return the dialog that asks for the reason."""
        form = type("Dialog", (ReasonForm,), {"consequence": self.consequence})
        return ActionDialog(
            title=self.title, description="", form_class=form, form_submit_text=self.title
        )


def unless(*expected: str) -> Callable[[Any], str]:
    """Return the obstacle to everything whose status is none of these."""

    def obstacle(item: Any) -> str:
        if item.status in expected:
            return ""
        return f"is {item.get_status_display().partition(':')[0].lower()}"

    return obstacle


def each(
    operation: Callable[..., Any], name: str, **arguments: Callable[[], Any]
) -> Callable[[Sequence[Any]], None]:
    """Return the operation of a change for many: it takes one at a time, by this keyword.

    `arguments` are asked for their values whenever it is run.
    """

    def run(items: Sequence[Any]) -> None:
        for item in items:
            operation(**{name: item}, **{key: value() for key, value in arguments.items()})

    return run


def pill(text: str, tone: str = "") -> SafeString:
    """Render a coloured label, for lists and pages alike."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": tone})


def listed(items: Sequence[Model]) -> str:
    """Name a few things and count the rest."""
    names = ", ".join(f"“{item}”" for item in items[:NAMES_SHOWN])
    more = len(items) - NAMES_SHOWN
    return f"{names} and {more} more" if more > 0 else names
