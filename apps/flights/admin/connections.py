"""Airports, minimum connection times and composed itineraries, as operators keep them."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import date
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.audit.history import HistoryTab
from apps.flights.connection_files import (
    COLUMNS,
    MAXIMUM_LINES,
    Rows,
    read_connection_times,
    written_connection_times,
)
from apps.flights.connection_operations import (
    DEFAULT_STANDS,
    ConnectionTimesPlan,
    change_airport,
    import_connection_times,
    plan_connection_times,
    save_composed_route,
    save_connection_time,
    set_connection_times_active,
)
from apps.flights.connection_queries import (
    COUNTED,
    WINDOW_DAYS,
    airport_delays,
    airport_usage,
    fitting_connection_times,
    on_time,
)
from apps.flights.delays import SHARES
from apps.flights.models import Airport, ComposedDay, ComposedRoute, MinimumConnectionTime
from apps.flights.tasks import compose_day, compose_itineraries
from layoverhq.admin_site import give_reason, go_to
from layoverhq.keyset import TextFilter
from layoverhq.model_admin import (
    OperationAdmin,
    PageTab,
    ReadOnly,
    ReasonedChange,
    ReasonForm,
    attempted,
    enqueue,
)

Kind = MinimumConnectionTime.Kind
# What names a minimum connection time, besides the airport.
NAMED = (
    "kind", "arriving_carrier", "departing_carrier", "arriving_terminal", "departing_terminal",
)  # fmt: skip
SLACKS = (0, 15, 30, 60, 90, 120)
ROWS_SHOWN = 20


def reason_field() -> Any:
    """Return the field of a reason for the end of a page: it must not take the focus there."""
    field = deepcopy(ReasonForm.base_fields["reason"])
    field.widget.attrs.pop("autofocus")
    return field


class VersionedForm(forms.ModelForm):
    """A form that knows which version it shows, and asks why."""

    reason = reason_field()
    base_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        instance = self.instance
        self.fields["base_version"].initial = None if instance._state.adding else instance.version

    @property
    def read_at(self) -> int | None:
        """The version that an edit began from; None for a new object."""
        return None if self.instance._state.adding else self.cleaned_data["base_version"] or 0


class AirportForm(forms.ModelForm):
    """What operators know better than the list of airports."""

    reason = reason_field()

    class Meta:
        model = Airport
        fields = ("is_active", "exit_minutes", "transfer_minutes", "buffer_minutes")


class ConnectionsTab(PageTab):
    """The airport's minimum connection times, delays and use."""

    model = MinimumConnectionTime
    model_name = "connections"
    title = "Connections"
    template_name = "admin/flights/tab_connections.html"

    def context(self) -> dict[str, Any]:
        airport = str(json.loads(self.object_id)) if self.object_id[:1] == '"' else self.object_id
        delays = airport_delays(airport)
        usage = airport_usage(airport, today=timezone.now().date())
        own = MinimumConnectionTime.objects.filter(airport=airport)
        return {
            "airport": airport,
            "rows": own.order_by("kind", "id")[:ROWS_SHOWN],
            "defaults": MinimumConnectionTime.objects.filter(
                airport=None, arriving_carrier=None, departing_carrier=None
            ).order_by("kind"),
            "delays": delays,
            "quantiles": [(name, getattr(delays, name)) for name in SHARES] if delays else [],
            "on_time": [(slack, f"{on_time(airport, slack):.0%}") for slack in SLACKS]
            if delays
            else [],
            "usage": {
                name: f"more than {COUNTED:,}" if count > COUNTED else f"{count:,}"
                for name, count in usage.items()
            },
            "days": WINDOW_DAYS,
        }


@admin.register(Airport)
class AirportAdmin(OperationAdmin):
    form = AirportForm
    list_display = (
        "iata", "name", "city", "country", "time_zone", "exit_minutes", "transfer_minutes",
        "buffer_minutes", "is_active",
    )  # fmt: skip
    list_filter = ("is_active", "country")
    search_fields = ("iata", "name", "city")
    search_help_text = "Find by code, name or city."
    actions = None
    change_form_datasets = (ConnectionsTab, HistoryTab.of(Airport))
    readonly_fields = ("iata", "name", "city", "subdivision", "country", "position", "time_zone")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("iata", "name"),
                    ("city", "subdivision", "country"),
                    ("position", "time_zone"),
                )
            },
        ),
        ("Searches", {"fields": ("is_active",)}),
        (
            "Between the gate and the city",
            {
                "description": "Saving queues a task that works out again what the layovers here"
                " leave for the city, in offers that stand.",
                "fields": (("exit_minutes", "transfer_minutes", "buffer_minutes"), "reason"),
            },
        ),
    )

    # The list of airports comes with the code.
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Position")
    def position(self, airport: Airport) -> str:
        return f"{airport.latitude:.4f}, {airport.longitude:.4f} (degrees north, east)"

    def save_model(self, request: HttpRequest, obj: Airport, form: Any, change: bool) -> None:
        given = form.cleaned_data
        give_reason(given.pop("reason"))
        change_airport(airport=obj, **given, actor=request.user)  # type: ignore[arg-type]


class PlaceFilter(TextFilter):
    title = "airport"
    parameter_name = "airport"
    field = "airport__iata"
    placeholder = "IATA code"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().matching(queryset, value.upper())


def iata(label: str, **options: Any) -> forms.CharField:
    """Return a field for an airport's code."""
    options.setdefault("help_text", "IATA code.")
    widget = UnfoldAdminTextInputWidget
    return forms.CharField(label=label, max_length=3, widget=widget, **options)


def known_airport(code: str, *, active: bool = False) -> str:
    """Return the code in capitals. Raises ValidationError where there is no such airport."""
    code = code.strip().upper()
    found = Airport.objects.active() if active else Airport.objects.all()
    if not found.filter(pk=code).exists():
        kind = "active airport" if active else "airport"
        raise ValidationError(f"We know no {kind} of this code.")
    return code


class ConnectionTimeForm(VersionedForm):
    """A minimum connection time; what names it is given once."""

    airport_code = iata("Airport", required=False, help_text="IATA code. Empty: everywhere.")

    class Meta:
        model = MinimumConnectionTime
        fields = (*NAMED, "minutes", "source", "is_active")
        widgets: ClassVar[dict[str, Any]] = dict.fromkeys(
            (*NAMED[1:], "source"), UnfoldAdminTextInputWidget
        )

    def clean_airport_code(self) -> str | None:
        code = self.cleaned_data["airport_code"]
        return known_airport(code) if code else None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        for name in NAMED[1:]:
            if name in data:
                data[name] = (data[name] or "").strip() or None
        for name in ("arriving_carrier", "departing_carrier"):
            if data.get(name):
                data[name] = data[name].upper()
        return data


DEACTIVATE = ReasonedChange(
    title="Deactivate",
    done="Deactivated",
    consequence="What is composed from now on follows the more general times.",
    obstacle=lambda row: "" if row.is_active and not row.is_default else _obstacle(row),
    operation=lambda rows: set_connection_times_active(connection_times=rows, is_active=False),
)
ACTIVATE = ReasonedChange(
    title="Activate",
    done="Activated",
    consequence="What is composed from now on follows them.",
    obstacle=lambda row: "is active" if row.is_active else "",
    operation=lambda rows: set_connection_times_active(connection_times=rows, is_active=True),
)


def _obstacle(row: MinimumConnectionTime) -> str:
    return DEFAULT_STANDS[0].lower() + DEFAULT_STANDS[1:-1] if row.is_active else "is inactive"


class TryForm(forms.Form):
    """A connection that somebody wonders about."""

    airport = iata("Airport")
    kind = forms.ChoiceField(choices=Kind.choices, widget=UnfoldAdminSelectWidget)
    arriving_carrier = forms.CharField(
        required=False, max_length=2, widget=UnfoldAdminTextInputWidget
    )
    departing_carrier = forms.CharField(
        required=False, max_length=2, widget=UnfoldAdminTextInputWidget
    )
    arriving_terminal = forms.CharField(
        required=False, max_length=40, widget=UnfoldAdminTextInputWidget
    )
    departing_terminal = forms.CharField(
        required=False, max_length=40, widget=UnfoldAdminTextInputWidget
    )

    def clean_airport(self) -> str:
        return known_airport(self.cleaned_data["airport"])

    def fitting(self) -> list[MinimumConnectionTime]:
        """Return the rows that fit, the one that holds first."""
        given = {name: value or None for name, value in self.cleaned_data.items()}
        for name in ("arriving_carrier", "departing_carrier"):
            given[name] = given[name].upper() if given[name] else None
        return fitting_connection_times(**given)


class ImportForm(forms.Form):
    """Reads a CSV; `rows` is what it holds, `faults` what is wrong with its form."""

    text = forms.CharField(
        label="List",
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 10, "placeholder": f"{','.join(COLUMNS)}\nVIE,II,OS,OS,,,25,indicative"}
        ),
        help_text=f"The first line names the columns: {', '.join(COLUMNS)}. Empty cells stand for"
        f" any. At most {MAXIMUM_LINES:,} lines. What the list does not name stays as it is.",
    )
    file = forms.FileField(
        label="or a CSV file",
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.txt"}),
        help_text="In UTF-8.",
    )
    rows: Rows
    plan: ConnectionTimesPlan | None = None

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if file := data.get("file"):
            try:
                data["text"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValidationError({"file": "This is not UTF-8 text."}) from error
        text = data.get("text", "")
        if not text.strip():
            raise ValidationError("Paste a list or choose a file.")
        # The confirmation sends back what was read, be it from a file.
        self.data = {**self.data.dict(), "text": text}
        self.rows, faults = read_connection_times(text)
        self.plan = (
            ConnectionTimesPlan(faults=faults) if faults else plan_connection_times(rows=self.rows)
        )
        return data


@admin.register(MinimumConnectionTime)
class MinimumConnectionTimeAdmin(OperationAdmin):
    form = ConnectionTimeForm
    list_display = (
        "place", "kind", "arriving_carrier", "departing_carrier", "shown_terminals", "minutes",
        "source", "is_active",
    )  # fmt: skip
    list_filter = ("is_active", "kind", PlaceFilter)
    search_fields = ("airport__iata", "source")
    search_help_text = "Find by airport or source."
    ordering = ("airport_id", "kind", "id")
    actions = ("deactivate_selected", "activate_selected")
    actions_list = ("try_it", "import_list", "export_list")
    change_form_datasets = (HistoryTab.of(MinimumConnectionTime),)
    fieldsets = (
        (
            None,
            {
                "description": "Of the times that fit a connection the most specific one holds:"
                " the airport counts most, then the arriving carrier, the departing carrier and"
                " the terminals.",
                "fields": (
                    ("airport_code", "kind"),
                    ("arriving_carrier", "departing_carrier"),
                    ("arriving_terminal", "departing_terminal"),
                    ("minutes", "source"),
                    "is_active",
                    "reason",
                    "base_version",
                ),
            },
        ),
    )

    # One that no longer holds is deactivated; so the trail can be read.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("place", *NAMED) if obj else ()

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        found = deepcopy(super().get_fieldsets(request, obj))
        if obj:
            found[0][1]["fields"] = (("place", "kind"), *found[0][1]["fields"][1:])
        return found

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj:
            form.base_fields.pop("airport_code", None)
        return form

    @display(description="Airport", ordering="airport_id")
    def place(self, row: MinimumConnectionTime) -> str:
        return row.airport_id or "everywhere"

    @display(description="Terminals")
    def shown_terminals(self, row: MinimumConnectionTime) -> str:
        return (
            f"{row.arriving_terminal} to {row.departing_terminal}" if row.arriving_terminal else "—"
        )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        give_reason(form.cleaned_data["reason"])
        if not change:
            obj.airport_id = form.cleaned_data["airport_code"]
        base = (form.cleaned_data["base_version"] or 0) if change else None
        saved = save_connection_time(
            connection_time=obj,
            base_version=base,
            actor=request.user,  # type: ignore[arg-type]
        )
        obj.__dict__.update(saved.__dict__)

    @action(description="Deactivate…", permissions=["change"])
    def deactivate_selected(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, DEACTIVATE)

    @action(description="Activate…", permissions=["change"])
    def activate_selected(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        return self.change_selected(request, queryset, ACTIVATE)

    @action(description="Which one holds?", permissions=["view"], icon="quiz", url_path="try")
    def try_it(self, request: HttpRequest) -> HttpResponse:
        """Name the time of any connection, and those that it goes before."""
        form = TryForm(request.GET or None)
        fitting = form.fitting() if request.GET and form.is_valid() else None
        return TemplateResponse(
            request,
            "admin/flights/try_connection.html",
            {
                **self.admin_site.each_context(request),
                "title": "Which one holds?",
                "opts": self.opts,
                "form": form,
                "fitting": fitting,
                "changelist_url": self.changelist_url(),
            },
        )

    def has_import_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request) and self.has_change_permission(request)

    @action(description="Import", permissions=["import"], icon="upload", url_path="import")
    def import_list(self, request: HttpRequest) -> HttpResponse:
        """Say what a list would change, then do it with a reason: all of it, or none."""
        form = ImportForm(request.POST or None, request.FILES or None)
        valid = request.method == "POST" and form.is_valid()
        plan = form.plan if valid else None
        confirmed = plan is not None and not plan.faults and "confirmed" in request.POST
        reason = ReasonForm(data=request.POST if confirmed else None, request=request)
        if confirmed and plan and reason.is_valid():
            give_reason(reason.cleaned_data["reason"])
            if attempted(reason, import_connection_times, rows=form.rows, actor=request.user):
                done = f"Added {len(plan.added):,}, changed {len(plan.changed):,}."
                messages.success(request, f"{done} {len(plan.same):,} stood so already.")
                return go_to(request, self.changelist_url())
        return TemplateResponse(
            request,
            "admin/flights/import_connection_times.html",
            {
                **self.admin_site.each_context(request),
                "title": "Import minimum connection times",
                "opts": self.opts,
                "form": form,
                "plan": plan,
                "reason": reason,
                "changelist_url": self.changelist_url(),
            },
        )

    @action(description="Export", permissions=["view"], icon="download", url_path="export")
    def export_list(self, request: HttpRequest) -> HttpResponse:
        """Hand out the active rows as the CSV that an import takes."""
        rows = MinimumConnectionTime.objects.filter(is_active=True)
        return HttpResponse(
            written_connection_times(rows.order_by("airport_id", "kind", "id")),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="minimum_connection_times.csv"'},
        )


class RouteForm(VersionedForm):
    """A city pair, by codes."""

    origin_code = iata("Origin")
    destination_code = iata("Destination")

    class Meta:
        model = ComposedRoute
        fields = ("is_active", "note")
        widgets: ClassVar[dict[str, Any]] = {"note": UnfoldAdminTextareaWidget(attrs={"rows": 2})}

    def clean_origin_code(self) -> str:
        return known_airport(self.cleaned_data["origin_code"], active=True)

    def clean_destination_code(self) -> str:
        return known_airport(self.cleaned_data["destination_code"], active=True)


@admin.register(ComposedRoute)
class ComposedRouteAdmin(OperationAdmin):
    """City pairs for which itineraries are composed, whatever offers they have."""

    form = RouteForm
    list_display = ("origin_id", "destination_id", "note", "is_active")
    list_display_links = ("origin_id", "destination_id")
    list_filter = ("is_active",)
    search_fields = ("origin__iata", "destination__iata", "note")
    search_help_text = "Find by airport or note."
    actions = None
    change_form_datasets = (HistoryTab.of(ComposedRoute),)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("origin_id", "destination_id") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        pair = ("origin_id", "destination_id") if obj else ("origin_code", "destination_code")
        return (pair, "is_active", "note", "reason", "base_version")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj:
            for name in ("origin_code", "destination_code"):
                form.base_fields.pop(name, None)
        return form

    @display(description="Origin", ordering="origin")
    def origin_id(self, route: ComposedRoute) -> str:
        return str(route.origin_id)

    @display(description="Destination", ordering="destination")
    def destination_id(self, route: ComposedRoute) -> str:
        return str(route.destination_id)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        given = form.cleaned_data
        give_reason(given["reason"])
        if not change:
            obj.origin_id, obj.destination_id = given["origin_code"], given["destination_code"]
        base = (given["base_version"] or 0) if change else None
        saved = save_composed_route(
            route=obj,
            base_version=base,
            actor=request.user,  # type: ignore[arg-type]
        )
        obj.__dict__.update(saved.__dict__)


class ConfirmCompose(BaseDialogForm):
    """Nothing to fill in: the dialog is there so that the change is a POST."""


@admin.register(ComposedDay)
class ComposedDayAdmin(ReadOnly, OperationAdmin):
    """What was composed of each day's nonstops, the last time."""

    list_display = (
        "day", "shown_offers", "routes", "routes_asked", "legs", "pairs", "written",
        "shown_seconds", "composed_at",
    )  # fmt: skip
    ordering = ("-day",)
    actions = None
    actions_list = ("compose_changed",)
    actions_detail = ("compose_now",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("day", "composed_at", "shown_seconds"),
                    ("legs", "pairs"),
                    ("routes_asked", "routes"),
                    ("shown_offers", "inserted", "updated", "deleted"),
                )
            },
        ),
    )
    readonly_fields = ("shown_offers", "shown_seconds")

    def has_compose_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("flights.change_composedday")

    @display(description="Offers", ordering="offers")
    def shown_offers(self, composed: ComposedDay) -> SafeString:
        url = reverse("admin:flights_flight_changelist")
        return format_html(
            '<a class="text-link" href="{}?day={}">{}</a>',
            url,
            composed.day,
            f"{composed.offers:,}",
        )

    @display(description="Added, changed, removed")
    def written(self, composed: ComposedDay) -> str:
        return f"{composed.inserted:,}, {composed.updated:,}, {composed.deleted:,}"

    @display(description="Seconds", ordering="seconds")
    def shown_seconds(self, composed: ComposedDay) -> str:
        return f"{composed.seconds:.1f}"

    @action(
        description="Compose what changed",
        url_path="compose",
        permissions=["compose"],
        icon="route",
        dialog=ActionDialog(
            title="Compose what changed",
            description="Queues the days of the horizon whose nonstops, connection times or"
            " settings changed. The others stay as they are.",
            form_class=ConfirmCompose,
            form_submit_text="Queue them",
        ),
    )
    def compose_changed(self, request: HttpRequest, form: ConfirmCompose) -> HttpResponse:
        enqueue(compose_itineraries.name)
        messages.success(request, "Queued the days that changed; reload in a minute.")
        return go_to(request, self.changelist_url())

    @action(
        description="Compose this day now",
        url_path="compose-now",
        permissions=["compose"],
        icon="route",
        variant=ActionVariant.PRIMARY,
        dialog=ActionDialog(
            title="Compose this day now",
            description="Queues the day, changed or not. Offers that come out the same are not"
            " written.",
            form_class=ConfirmCompose,
            form_submit_text="Queue it",
        ),
    )
    def compose_now(
        self, request: HttpRequest, form: ConfirmCompose, object_id: str
    ) -> HttpResponse:
        day = date.fromisoformat(object_id)
        enqueue(compose_day.name, kwargs={"day": day.isoformat(), "anew": True})
        messages.success(request, f"Queued {day}; reload in a minute.")
        return go_to(request, self.change_url(object_id))
