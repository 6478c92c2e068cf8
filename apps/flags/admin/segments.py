"""Segments: who is in them, by name or by conditions, and which flags ask for them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse_lazy
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.audit.history import HistoryTab
from apps.flags.admin.editor import written
from apps.flags.admin.known import ConditionsWidget, FewLines, reason_on_page
from apps.flags.admin.verbs import flag_url
from apps.flags.condition_faults import condition_faults
from apps.flags.models import FlagSegment
from apps.flags.queries import flags_with_segment
from apps.flags.segment_operations import delete_segment, save_segment
from layoverhq.admin_site import give_reason
from layoverhq.errors import InvalidInput
from layoverhq.model_admin import OperationAdmin, pill
from layoverhq.strict_json import parse_value


class SearchedArea(UnfoldAdminTextareaWidget):  # type: ignore[misc]
    """A text of many lines, with a field that finds one of them."""

    template_name = "flags/searched_area.html"


class SegmentForm(forms.ModelForm):
    """A segment as people edit it: members one a line, conditions without JSON."""

    texts = forms.CharField(
        label="Members",
        required=False,
        strip=False,
        widget=SearchedArea(attrs={"rows": 12, "spellcheck": "false"}),
        help_text="One a line, such as user ids.",
    )
    numbers = forms.CharField(
        label="Members that are numbers",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="One a line. 7 as a number is another member than 7 as a text.",
    )
    by_conditions = forms.CharField(
        label="And whoever meets these conditions",
        required=False,
        widget=ConditionsWidget(reverse_lazy("admin:flags_flagsegment_check")),
        help_text="Without any, the members above are all.",
    )
    base_version = forms.IntegerField(required=False, widget=forms.HiddenInput)
    reason = reason_on_page()

    class Meta:
        model = FlagSegment
        fields = ("name", "description")
        widgets: ClassVar[dict[str, Any]] = {"description": FewLines}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        segment = self.instance
        self.fields["base_version"].initial = None if segment._state.adding else segment.version
        texts = [member for member in segment.members if isinstance(member, str)]
        numbers = [member for member in segment.members if not isinstance(member, str)]
        self.fields["texts"].initial = "\n".join(texts)
        self.fields["numbers"].initial = "\n".join(map(str, numbers))
        conditions = {} if segment.conditions is None else segment.conditions
        self.fields["by_conditions"].initial = written(conditions)

    def clean_numbers(self) -> list[Any]:
        found = []
        for line in self.cleaned_data["numbers"].split():
            try:
                number = parse_value(line, "numbers")
            except InvalidInput as error:
                raise ValidationError(f"“{line[:50]}” is no number.") from error
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValidationError(f"“{line[:50]}” is no number.")
            found.append(number)
        return found

    def clean_texts(self) -> list[str]:
        lines = (line.strip() for line in self.cleaned_data["texts"].splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def clean_by_conditions(self) -> Any:
        """Return the conditions, None where there are none: {} would be met by everybody."""
        document = read_conditions(self.cleaned_data["by_conditions"])
        return None if document == {} else document


def read_conditions(text: str) -> Any:
    """Return a document of conditions that the builder wrote. Raises ValidationError."""
    try:
        return parse_value(text.strip() or "{}", "conditions")
    except InvalidInput as error:
        raise ValidationError(error.errors[0].detail) from error


@admin.register(FlagSegment)
class FlagSegmentAdmin(OperationAdmin):
    form = SegmentForm
    list_display = ("name", "description", "member_count", "shown_conditions", "used_by")
    search_fields = ("name", "description")
    search_help_text = "Find by name or description."
    actions = None
    change_form_datasets = (HistoryTab.of(FlagSegment),)
    fields = (
        "name",
        "description",
        "texts",
        "numbers",
        "by_conditions",
        "used_by",
        "reason",
        "base_version",
    )

    class Media:
        css = {"all": ("flags/editor.css",)}  # noqa: RUF012 - as Django has it

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("name", "used_by") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else [name for name in self.fields if name != "used_by"]

    @display(description="Members")
    def member_count(self, segment: FlagSegment) -> int:
        return len(segment.members)

    @display(description="Conditions")
    def shown_conditions(self, segment: FlagSegment) -> SafeString | str:
        return pill("conditions", "info") if segment.conditions is not None else "—"

    @display(description="Asked for by")
    def used_by(self, segment: FlagSegment) -> SafeString | str:
        flags = flags_with_segment(segment.name)
        links = ((flag_url(flag.pk), flag.name) for flag in flags)
        return format_html_join(", ", '<a class="text-link" href="{}">{}</a>', links) or "no flag"

    def save_model(self, request: HttpRequest, obj: FlagSegment, form: Any, change: bool) -> None:
        cleaned = form.cleaned_data
        give_reason(cleaned["reason"])
        obj.members = [*cleaned["texts"], *cleaned["numbers"]]
        obj.conditions = cleaned["by_conditions"]
        try:
            saved = save_segment(
                segment=obj,
                base_version=(cleaned["base_version"] or 0) if change else None,
                actor=request.user,  # type: ignore[arg-type]
            )
        except InvalidInput as error:
            raise InvalidInput([form_fault(fault) for fault in error.errors]) from error
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: FlagSegment) -> None:
        delete_segment(segment=obj)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("check/", wrap(self.check_conditions), name="flags_flagsegment_check"),
            *super().get_urls(),
        ]

    def check_conditions(self, request: HttpRequest) -> HttpResponse:
        """Answer the rule builder while somebody edits."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        try:
            document = read_conditions(request.POST.get("by_conditions", ""))
        except ValidationError as error:
            faults = [{"field": "conditions", "detail": " ".join(error.messages)}]
        else:
            faults = [
                {"field": each.field, "detail": each.detail}
                for each in condition_faults(document, "conditions")
            ]
        return JsonResponse({"faults": faults})


def form_fault(fault: Any) -> Any:
    """Return what the operation refuses on the form's own field, with its place in the words."""
    field = "texts" if fault.field.startswith("members") else "by_conditions"
    if not fault.field.startswith(("members", "conditions")):
        return fault
    detail = fault.detail if fault.field == "conditions" else f"{fault.field}: {fault.detail}"
    return type(fault)(field, fault.code, detail)
