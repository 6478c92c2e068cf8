"""Experiences: one by one, and many from a CSV, tried before it is done."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.audit.history import HistoryTab
from apps.flights.airports import airports
from apps.layovers.experience_rows import (
    COLUMNS,
    ExperienceRow,
    Reading,
    as_csv,
    read_experiences,
    row_of,
    written,
)
from apps.layovers.models import Experience
from apps.layovers.operations import (
    ImportPlan,
    import_experiences,
    plan_experiences,
    save_experience,
    set_experiences_active,
)
from layoverhq.admin_site import add_refusal, give_reason, go_to
from layoverhq.document_form import ConfirmForm
from layoverhq.errors import DomainError, InvalidInput
from layoverhq.keyset import TextFilter
from layoverhq.model_admin import (
    MONOSPACED,
    OperationAdmin,
    ReasonedChange,
    ReasonForm,
    pill,
)
from layoverhq.tenancy import OPERATOR

ROWS_SHOWN = 50
REJECTS_SHOWN = 100


def reason_on_page() -> Any:
    """Return the field of a reason for the end of a page: it must not take the focus there."""
    field = deepcopy(ReasonForm.base_fields["reason"])
    field.widget.attrs.pop("autofocus")
    return field


def short(label: str, help_text: str = "", **more: Any) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, widget=UnfoldAdminTextInputWidget, **more
    )


class ExperienceForm(forms.ModelForm):
    """An experience in people's units; `row` is what it says, checked as a line of a CSV is."""

    airport = short("Airport", "IATA code of the airport that travellers land at.", max_length=3)
    rating = short("Rating", "Stars from 0 to 5, one decimal.", max_length=4)
    price_from = short(
        "Price from",
        "The cheapest ticket in the currency below, such as 12.50. 0: free. Empty: not known.",
        required=False,
        max_length=16,
    )
    currency = short("Currency", "ISO 4217, such as USD.", max_length=3)
    duration_minutes = short("Duration", "How long people stay: 10 to 720 minutes.", max_length=4)
    travel_minutes = short("Way", "Minutes from there, one way: 0 to 300.", max_length=4)
    distance_km = short(
        "Distance",
        "Kilometres from there, as the crow flies. Empty: not known.",
        required=False,
        max_length=8,
    )
    reason = reason_on_page()

    class Meta:
        model = Experience
        fields = (
            "city",
            "name",
            "category",
            "opening_hours",
            "base",
            "source",
            "is_indicative",
            "is_active",
        )
        widgets: ClassVar[dict[str, Any]] = dict.fromkeys(
            ("city", "name", "opening_hours", "source"), UnfoldAdminTextInputWidget
        )

    row: ExperienceRow

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            texts = written(self.instance)
            self.initial.update({name: texts[name] for name in (*COLUMNS, "source")})

    def _post_clean(self) -> None:
        """Leave the instance alone: `row` goes to the operation, which writes."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        cells = {name: str(cleaned[name]).strip() for name in (*COLUMNS, "source")}
        for name in ("is_indicative", "is_active"):
            cells[name] = str(cleaned[name]).lower()
        try:
            self.row = row_of(cells, airports.get(), "")
        except InvalidInput as error:
            add_refusal(self, error)
        return cleaned


ON = ReasonedChange(
    title="Activate",
    done="Activated",
    consequence="Plans may name them again, and searches count them.",
    obstacle=lambda each: "is active already" if each.is_active else "",
    operation=lambda chosen: set_experiences_active(
        experiences=chosen, active=True, now=timezone.now(), actor=None
    ),
)
OFF = ReasonedChange(
    title="Deactivate",
    done="Deactivated",
    consequence="No plan names them from the next analysis on. They can be activated again.",
    obstacle=lambda each: "" if each.is_active else "is inactive already",
    operation=lambda chosen: set_experiences_active(
        experiences=chosen, active=False, now=timezone.now(), actor=None
    ),
)


class AirportFilter(TextFilter):
    title = "airport"
    parameter_name = "airport"
    placeholder = "IATA code"
    field = "airport_id"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().matching(queryset, value.upper())


class CsvForm(forms.Form):
    """A CSV, pasted or as a file; `reading` is what it holds."""

    text = forms.CharField(
        label="CSV",
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 12, **MONOSPACED}),
        help_text=f"The first line names the columns: {', '.join(COLUMNS)}; and, if wanted, source,"
        " is_indicative, is_active. An experience is known by its airport and name: one that stands"
        " is changed, one that is not named stays.",
    )
    file = forms.FileField(
        label="or a file",
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.txt"}),
        help_text="In UTF-8.",
    )
    source = short("Source", "Who says all this, for lines that name nobody.", max_length=300)

    reading: Reading
    data: Any

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        given = cleaned.get("text", "")
        if file := cleaned.get("file"):
            try:
                given = file.read().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValidationError({"file": "This is not UTF-8 text."}) from error
        if not given.strip():
            raise ValidationError("Paste a CSV or choose a file.")
        try:
            self.reading = read_experiences(
                given, airports=airports.get(), source=cleaned.get("source", "")
            )
        except InvalidInput as error:
            raise ValidationError([fault.detail for fault in error.errors]) from error
        # The confirmation sends back what was read, be it from a file.
        self.data = {**self.data.dict(), "text": given}
        return cleaned


@admin.register(Experience)
class ExperienceAdmin(OperationAdmin):
    form = ExperienceForm
    list_display = (
        "name",
        "airport_id",
        "city",
        "category",
        "rating",
        "shown_price",
        "duration_minutes",
        "opening_hours",
        "shown_standing",
    )
    list_filter = (AirportFilter, "category", "is_active", "is_indicative")
    search_fields = ("name", "city", "airport__iata")
    search_help_text = "Find by name, city or airport."
    ordering = ("airport_id", "-rating_tenths", "name")
    actions = ("activate_selected", "deactivate_selected")
    actions_list = ("import_csv", "export_csv")
    change_form_datasets = (HistoryTab.of(Experience),)
    fieldsets = (
        (None, {"fields": (("airport", "city"), "name", ("category", "rating"))}),
        (
            "Visit",
            {
                "fields": (
                    "opening_hours",
                    ("price_from", "currency"),
                    ("duration_minutes", "base"),
                    ("travel_minutes", "distance_km"),
                )
            },
        ),
        ("Standing", {"fields": ("source", ("is_indicative", "is_active"), "reason")}),
    )

    # An experience is deactivated: analyses that named it stay explicable.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_import_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perms(["layovers.add_experience", "layovers.change_experience"])

    def has_export_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("layovers.view_experience")

    @display(description="Price from")
    def shown_price(self, experience: Experience) -> str:
        if experience.price is None:
            return "—"
        return f"{experience.price:f} {experience.price_currency}" if experience.price else "free"

    @display(description="Standing")
    def shown_standing(self, experience: Experience) -> SafeString:
        if not experience.is_active:
            return pill("inactive", "danger")
        if experience.is_indicative:
            return pill("indicative", "warning")
        return pill("confirmed", "success")

    def save_model(self, request: HttpRequest, obj: Experience, form: Any, change: bool) -> None:
        give_reason(form.cleaned_data["reason"])
        saved = save_experience(
            experience=obj if change else None,
            row=form.row,
            now=timezone.now(),
            actor=request.user,  # type: ignore[arg-type]
        )
        obj.__dict__.update(saved.__dict__)

    @action(description="Activate…", permissions=["change"])
    def activate_selected(
        self, request: HttpRequest, queryset: QuerySet[Experience]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, ON)

    @action(description="Deactivate…", permissions=["change"])
    def deactivate_selected(
        self, request: HttpRequest, queryset: QuerySet[Experience]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, OFF)

    @action(description="Export CSV", permissions=["export"], icon="download", url_path="export")
    def export_csv(self, request: HttpRequest) -> HttpResponse:
        """Hand out all experiences, as an import takes them."""
        name = f"layoverhq-experiences-{timezone.now():%Y%m%d-%H%M}.csv"
        return HttpResponse(
            as_csv(Experience.objects.order_by("airport_id", "name").iterator()),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @action(description="Import CSV", permissions=["import"], icon="upload", url_path="import")
    def import_csv(self, request: HttpRequest) -> HttpResponse:
        """Read a CSV, show what it would change, and do just that."""
        form = CsvForm(request.POST or None, request.FILES or None)
        if request.method != "POST" or not form.is_valid():
            return self._import_page(request, form=form)
        reading = form.reading
        confirmed = "import" in request.POST
        confirmation = ConfirmForm(
            request.POST if confirmed else None, initial={"digest": reading.digest}
        )
        if confirmed and not reading.rejects and confirmation.is_valid():
            try:
                plan = self._import(request, reading, confirmation.cleaned_data["reason"])
            except DomainError as error:
                add_refusal(confirmation, error)
            else:
                messages.success(
                    request,
                    f"Added {len(plan.added)} and changed {len(plan.changed)} experiences;"
                    f" {plan.unchanged} were so already.",
                )
                return go_to(request, self.changelist_url())
        return self._import_page(
            request, form=form, reading=reading, confirmation=confirmation,
            plan=plan_experiences(reading),
        )  # fmt: skip

    def _import(self, request: HttpRequest, reading: Reading, reason: str) -> ImportPlan:
        give_reason(reason)
        with transaction.atomic(using=OPERATOR):
            return import_experiences(
                reading=reading,
                now=timezone.now(),
                actor=request.user,  # type: ignore[arg-type]
            )

    def _import_page(
        self,
        request: HttpRequest,
        *,
        form: CsvForm,
        reading: Reading | None = None,
        confirmation: ConfirmForm | None = None,
        plan: ImportPlan | None = None,
    ) -> HttpResponse:
        rows: list[dict[str, Any]] = []
        if plan:
            rows = [
                {"line": line, "row": row, "action": "added", "columns": ""}
                for line, row in plan.added
            ] + [
                {"line": line, "row": row, "action": "changed", "columns": ", ".join(columns)}
                for line, row, columns in plan.changed
            ]
            rows.sort(key=lambda each: each["line"])
        rejects = reading.rejects if reading else ()
        return TemplateResponse(
            request,
            "admin/layovers/import_experiences.html",
            {
                **self.admin_site.each_context(request),
                "title": "Import experiences",
                "opts": self.opts,
                "changelist_url": self.changelist_url(),
                "form": form,
                "confirmation": confirmation,
                "plan": plan,
                "rows": rows[:ROWS_SHOWN],
                "number": len(rows),
                "more": max(0, len(rows) - ROWS_SHOWN),
                "rejects": rejects[:REJECTS_SHOWN],
                "more_rejects": max(0, len(rejects) - REJECTS_SHOWN),
            },
        )
