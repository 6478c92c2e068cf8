"""Airports, minimum connection times and composed itineraries, as operators keep them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from celery import current_app
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flights.connection_files import COLUMNS, read_connection_times, written_connection_times
from apps.flights.models import Airport, ComposedDay, ComposedRoute, MinimumConnectionTime
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.tenants import factories

HEADER = ",".join(COLUMNS)


@pytest.fixture
def clean() -> Iterator[None]:
    """Leave no time, route or airport behind that other tests would meet."""
    yield
    with operator_scope():
        MinimumConnectionTime.objects.filter(source="test").update(is_active=False)
        ComposedRoute.objects.update(is_active=False)
        Airport.objects.filter(pk="YYC").update(
            is_active=True, exit_minutes=None, transfer_minutes=None, buffer_minutes=None
        )


def text(response: Any) -> str:
    return html.unescape(response.content.decode())


def url(model: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:flights_{model}_{page}", args=args)


def times(**filters: Any) -> list[MinimumConnectionTime]:
    with operator_scope():
        return list(MinimumConnectionTime.objects.filter(**filters))


def trail(table: str, row: Any) -> list[AuditEvent]:
    with operator_scope():
        return list(AuditEvent.objects.about(table, str(row)).order_by("at", "id"))


def new_time(admin_client: Client, **changes: str) -> Any:
    return admin_client.post(
        url("minimumconnectiontime", "add"),
        {
            "airport_code": "YVR", "kind": "II", "arriving_carrier": "ac",
            "departing_carrier": "", "arriving_terminal": "", "departing_terminal": "",
            "minutes": "70", "source": "test", "is_active": "on", "reason": "as they say",
            **changes,
        },
    )  # fmt: skip


def test_airport__changed_with_a_reason__holds_and_is_in_the_trail(
    admin_client: Client, clean: None
) -> None:
    page = url("airport", "change", "YYC")
    given = {
        "exit_minutes": "35", "transfer_minutes": "25", "buffer_minutes": "",
        "reason": "measured it",
    }  # fmt: skip
    with patch.object(current_app, "send_task") as queued:
        response = admin_client.post(page, given)
        assert response.status_code == 302
        # Nothing but the reason differs, and then nothing but whether searches may name it.
        admin_client.post(page, given)
        admin_client.post(page, {**given, "is_active": "on"})
        admin_client.post(page, given)
    assert [(call.args, call.kwargs) for call in queued.call_args_list] == [
        (("apps.flights.tasks.restate_layovers",), {"kwargs": {"airport": "YYC"}})
    ]
    with operator_scope():
        airport = Airport.objects.get(pk="YYC")
    assert (airport.exit_minutes, airport.transfer_minutes, airport.buffer_minutes) == (
        35, 25, None,
    )  # fmt: skip
    assert not airport.is_active
    event = next(each for each in trail("airports", "YYC") if each.reason == "measured it")
    assert set(event.changed_columns) == {"exit_minutes", "transfer_minutes", "is_active"}
    assert "“measured it”" in text(admin_client.get(page))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exit_minutes": "601"}, "Between 0 and 600 minutes"),
        ({"buffer_minutes": "-1"}, "Between 0 and 600 minutes"),
        ({"transfer_minutes": "soon"}, "Enter a whole number"),
        ({"reason": ""}, "This field is required"),
    ],
)
def test_airport__bad_input__is_refused_on_its_field(
    admin_client: Client, changes: dict[str, str], told: str
) -> None:
    def held() -> dict[str, Any]:
        with operator_scope():
            return Airport.objects.values().get(pk="YYZ")

    before = held()
    response = admin_client.post(
        url("airport", "change", "YYZ"), {"is_active": "on", "reason": "a test", **changes}
    )
    assert response.status_code == 200
    assert told in text(response)
    assert held() == before


def test_airport__page__tells_connections_delays_and_use(
    admin_client: Client, shop: Shop, clean: None
) -> None:
    shop.close()
    other = Shop("ABE", "ORD", timezone.now().date())
    other.sell([("DEN", 200)])
    try:
        told = text(admin_client.get(url("airport", "change", "ABE")))
    finally:
        other.close()
    assert "None: the defaults hold." in told
    # As the data has it: 2,889 flights, 8 minutes at p75.
    assert "2889 flights measured here" in told
    assert "p75 8" in told
    assert "Shared offers that depart here</a>: 1." in told
    vienna = text(admin_client.get(url("airport", "change", "VIE")))
    assert "VIE II</a>: 30 minutes (indicative)" in vienna
    assert "Nobody measured this airport" in vienna


@pytest.mark.parametrize("path", ["airport/add/", "airport/YYC/delete/"])
def test_airport__added_or_deleted__is_refused(admin_client: Client, path: str) -> None:
    assert admin_client.get(f"{reverse('admin:index')}flights/{path}").status_code == 403


def test_connection_time__added_then_changed__is_versioned_and_in_the_trail(
    admin_client: Client, clean: None
) -> None:
    assert new_time(admin_client).status_code == 302
    (row,) = times(airport="YVR", kind="II", arriving_carrier="AC")
    assert (row.minutes, row.departing_carrier, row.version) == (70, None, 1)
    page = url("minimumconnectiontime", "change", row.pk)
    edit = {
        "minutes": "80", "source": "test", "is_active": "on", "reason": "longer walk",
        "base_version": "1",
    }  # fmt: skip
    assert admin_client.post(page, edit).status_code == 302
    (row,) = times(pk=row.pk)
    assert (row.minutes, row.version, row.airport_id, row.kind) == (80, 2, "YVR", "II")
    stale = admin_client.post(page, {**edit, "minutes": "90"})
    assert "was changed meanwhile" in text(stale)
    assert times(pk=row.pk)[0].minutes == 80
    events = trail("minimum_connection_times", row.pk)
    assert [event.reason for event in events] == ["as they say", "longer walk"]
    again = new_time(admin_client)
    assert "There is one for YVR II AC to any already" in text(again)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"airport_code": "QQQ"}, "We know no airport of this code."),
        ({"arriving_carrier": "U"}, "Give the airline's IATA code, such as UA."),
        ({"arriving_terminal": "1"}, "Give both terminals or none."),
        (
            {"airport_code": "", "arriving_terminal": "1", "departing_terminal": "2"},
            "Terminals are an airport's: name it.",
        ),
        ({"minutes": "1441"}, "Between 0 and 1440 minutes."),
        ({"minutes": "-5"}, "Between 0 and 1440 minutes."),
        ({"kind": "XX"}, "Select a valid choice"),
        ({"source": " "}, "This field is required."),
        ({"reason": ""}, "This field is required."),
    ],
)
def test_connection_time__bad_input__is_refused(
    admin_client: Client, changes: dict[str, str], told: str
) -> None:
    before = len(times())
    response = new_time(admin_client, **changes)
    assert response.status_code == 200
    assert told in text(response)
    assert len(times()) == before


def test_connection_times__deactivated__leave_the_defaults_out(
    admin_client: Client, clean: None
) -> None:
    new_time(admin_client, airport_code="YUL")
    (row,) = times(airport="YUL", source="test")
    (default,) = times(airport=None, kind="DD", arriving_carrier=None)
    chosen = {"action": "deactivate_selected", "_selected_action": [row.pk, default.pk]}
    asked = text(admin_client.post(url("minimumconnectiontime"), chosen))
    # What the page itself sends back, with the reason.
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', asked))
    response = admin_client.post(
        url("minimumconnectiontime"), {**hidden, **chosen, "reason": "no longer"}, follow=True
    )
    told = text(response)
    assert "Deactivated “YUL II AC to any”." in told
    assert "Left out: everywhere DD this holds wherever nothing else does" in told
    assert not times(pk=row.pk)[0].is_active
    assert times(pk=default.pk)[0].is_active
    assert trail("minimum_connection_times", row.pk)[-1].reason == "no longer"


def test_try_it__connection__names_the_one_that_holds_and_what_it_goes_before(
    admin_client: Client,
) -> None:
    asked = {
        "airport": "lhr", "kind": "II", "arriving_carrier": "ba", "departing_carrier": "BA",
        "arriving_terminal": "5", "departing_terminal": "5",
    }  # fmt: skip
    page = reverse("admin:flights_minimumconnectiontime_try_it")
    told = text(admin_client.get(page, asked))
    assert '<span class="font-semibold text-important" id="holds">60 minutes</span>' in told
    assert "LHR II BA to BA terminal 5 to 5</a> (indicative)" in told
    assert told.index("LHR II</a>: 75 minutes") < told.index("everywhere II</a>: 60 minutes")
    assert "We know no airport" in text(admin_client.get(page, {**asked, "airport": "QQQ"}))
    assert 'id="tried"' not in text(admin_client.get(page))


def test_import__dry_run_then_confirmed__writes_with_the_reason_and_only_what_differs(
    admin_client: Client, clean: None
) -> None:
    new_time(admin_client, airport_code="YEG")
    csv = (
        f"{HEADER}\r\nYEG,II,AC,,,,75,test\r\nyow,DD,,,1,2,33,test\r\nVIE,II,,,,,30,indicative\r\n"
    )
    page = reverse("admin:flights_minimumconnectiontime_import_list")
    file = SimpleUploadedFile("list.csv", b"\xef\xbb\xbf" + csv.encode())
    dry = admin_client.post(page, {"text": "", "file": file})
    assert "1 would be added, 1 changed, 1 stands so already" in text(dry)
    assert "Change YEG II AC to any: 70 minutes (test) to 75 minutes (test)" in text(dry)
    # What the page sends with the reason.
    for name in ("confirmed", "_form_submitted"):
        assert f'<input type="hidden" name="{name}" value="1">' in text(dry)
    assert times(airport="YOW") == []
    unsaid = admin_client.post(
        page, {"text": csv, "confirmed": "1", "_form_submitted": "1", "reason": ""}
    )
    assert "This field is required" in text(unsaid)
    assert times(airport="YOW") == []
    done = admin_client.post(
        page,
        {"text": csv, "confirmed": "1", "_form_submitted": "1", "reason": "the new season"},
        follow=True,
    )
    assert "Added 1, changed 1. 1 stood so already." in text(done)
    (added,) = times(airport="YOW")
    assert (added.kind, added.arriving_terminal, added.minutes) == ("DD", "1", 33)
    (changed,) = times(airport="YEG", source="test")
    assert (changed.minutes, changed.version) == (75, 2)
    (vienna,) = times(airport="VIE", kind="II")
    assert vienna.version == 1
    assert trail("minimum_connection_times", added.pk)[-1].reason == "the new season"
    exported = admin_client.get(
        reverse("admin:flights_minimumconnectiontime_export_list")
    ).content.decode()
    assert "YOW,DD,,,1,2,33,test" in exported
    again = admin_client.post(page, {"text": exported})
    assert "0 would be added, 0 changed" in text(again)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("", "The file is empty."),
        ("VIE,II,,,,,x,test", "line 2: minutes: Give a whole number."),
        ("VIE,II,,,,,2000,test", "line 2: minutes: Between 0 and 1440 minutes."),
        ("QQQ,II,,,,,20,test", "line 2: airport: We know no airport of this code."),
        ("VIE,XX,,,,,20,test", "line 2: kind: Choose from DD, DI, ID, II."),
        ("VIE,II,20,test", "line 2: 4 columns instead of 8."),
        ("VIE,II,,,,,20,", "line 2: source: Say who says so"),
        ("VIE,II,,,1,,20,test", "line 2: departing_terminal: Give both terminals or none."),
        (
            "YHZ,II,,,,,20,test\nYHZ,II,,,,,25,test",
            "line 3: line 2 is for the same connections.",
        ),
        ('YHZ,II,"', "line 2: unexpected end of data."),
    ],
)
def test_import__faulty_list__is_refused_by_line_and_writes_nothing(
    admin_client: Client, lines: str, fault: str
) -> None:
    before = len(times())
    response = admin_client.post(
        reverse("admin:flights_minimumconnectiontime_import_list"),
        {
            "text": f"{HEADER}\n{lines}\n" if '"' not in lines else f"{HEADER}\n{lines}",
            "confirmed": "1", "reason": "a test",
        },
    )  # fmt: skip
    assert fault in text(response)
    assert len(times()) == before


def test_import__no_header_or_no_text__says_so(admin_client: Client) -> None:
    page = reverse("admin:flights_minimumconnectiontime_import_list")
    assert "line 1: give the columns airport,kind" in text(
        admin_client.post(page, {"text": "VIE,II,,,,,30,test"})
    )
    file = SimpleUploadedFile("list.csv", "ÄÖ".encode("latin-1"))
    assert "This is not UTF-8 text." in text(admin_client.post(page, {"text": "", "file": file}))
    assert "Paste a list or choose a file." in text(admin_client.post(page, {"text": " "}))


def test_files__any_rows__come_back_as_they_were() -> None:
    rows = times()
    read, faults = read_connection_times(written_connection_times(rows))
    assert not faults
    assert [str(row) for _, row in read] == [str(row) for row in rows]
    assert [(row.minutes, row.source) for _, row in read] == [(r.minutes, r.source) for r in rows]


def test_composed_route__added_and_ended__is_in_the_trail(
    admin_client: Client, clean: None
) -> None:
    given = {
        "origin_code": "yqb", "destination_code": "YQR", "is_active": "on",
        "note": "Acme asked", "reason": "for Acme",
    }  # fmt: skip
    assert admin_client.post(url("composedroute", "add"), given).status_code == 302
    with operator_scope():
        route = ComposedRoute.objects.get(origin="YQB", destination="YQR")
    assert "is in the list already" in text(admin_client.post(url("composedroute", "add"), given))
    same = admin_client.post(url("composedroute", "add"), {**given, "destination_code": "YQB"})
    assert "A route goes somewhere else." in text(same)
    unknown = admin_client.post(url("composedroute", "add"), {**given, "origin_code": "QQQ"})
    assert "We know no active airport of this code." in text(unknown)
    page = url("composedroute", "change", route.pk)
    ended = {"note": "Acme left", "reason": "over", "base_version": "1"}
    assert admin_client.post(page, ended).status_code == 302
    route.refresh_from_db(using="operator")
    assert (route.is_active, route.note, route.version) == (False, "Acme left", 2)
    assert [event.reason for event in trail("composed_routes", route.pk)] == ["for Acme", "over"]


@pytest.fixture
def composed() -> Iterator[ComposedDay]:
    with operator_scope():
        made = ComposedDay.objects.create(
            day="2031-01-01", legs_digest="x", legs=1_600, pairs=2_000_000, routes_asked=40,
            routes=30, offers=1_234, inserted=1_200, updated=30, deleted=4, seconds=1.25,
        )  # fmt: skip
    yield made
    with operator_scope():
        made.delete()


def test_composed_day__pages__tell_what_was_done_and_queue_it_again(
    admin_client: Client, composed: ComposedDay
) -> None:
    told = text(admin_client.get(url("composedday")))
    assert "1,234</a>" in told
    assert "1,200, 30, 4" in told
    page = url("composedday", "change", "2031-01-01")
    assert "2000000" in text(admin_client.get(page))
    with patch("apps.flights.admin.connections.enqueue") as queued:
        now = admin_client.post(
            reverse("admin:flights_composedday_compose_now", args=["2031-01-01"]),
            {"_form_submitted": "1"},
            follow=True,
        )
        changed = admin_client.post(
            reverse("admin:flights_composedday_compose_changed"),
            {"_form_submitted": "1"},
            follow=True,
        )
    assert "Queued 2031-01-01" in text(now)
    assert "Queued the days that changed" in text(changed)
    assert [(call.args, call.kwargs) for call in queued.call_args_list] == [
        (
            ("apps.flights.tasks.compose_day",),
            {"kwargs": {"day": "2031-01-01", "anew": True}},
        ),
        (("apps.flights.tasks.compose_itineraries",), {}),
    ]


def test_groups__viewer__sees_and_changes_nothing(composed: ComposedDay) -> None:
    viewer = factories.make_operator(superuser=False)
    with operator_scope():
        viewer.groups.add(Group.objects.get(name="Airport and connection viewers"))
    client = factories.make_admin_client(viewer)
    assert client.get(url("airport", "change", "YYC")).status_code == 200
    assert client.get(url("minimumconnectiontime")).status_code == 200
    assert client.get(url("minimumconnectiontime", "add")).status_code == 403
    assert client.post(
        reverse("admin:flights_minimumconnectiontime_import_list"), {"text": HEADER}
    ).status_code in (302, 403)
    with patch("apps.flights.admin.connections.enqueue") as queued:
        client.post(
            reverse("admin:flights_composedday_compose_now", args=["2031-01-01"]),
            {"_form_submitted": "1"},
        )
        client.post(url("airport", "change", "YYC"), {"exit_minutes": "5", "reason": "not allowed"})
    assert queued.call_args_list == []
    with operator_scope():
        assert Airport.objects.get(pk="YYC").exit_minutes is None
