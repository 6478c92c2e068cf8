"""The admin of layovers: body and database, and who may."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flights.airports import airports
from apps.layovers.hits import hits
from apps.layovers.keeping import Asked, kept_analysis, weights_of
from apps.layovers.models import Experience, LayoverAnalysis, LayoverInput
from apps.layovers.questions import parse_values
from apps.layovers.versions import layover_inputs
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.layovers.factories import add_experience, own_airport, question, record_weather
from tests.layovers.test_operations import CELLS, csv_of
from tests.layovers.weather_server import WeatherServer
from tests.tenants import factories as tenants

EXPERIENCES = "/admin/layovers/experience/"
WEATHER = "/admin/layovers/layoverinput/"
ANALYSES = "/admin/layovers/layoveranalysis/"
REASON = "The curator's word"
CONFIRMED = {"confirmed": "1", "_form_submitted": "1", "reason": REASON}


def text(response: Any) -> str:
    assert response.status_code == 200, response.content
    body: str = response.content.decode()
    return body


def form_of(**change: str) -> dict[str, str]:
    """Return what the page of an experience sends."""
    return {
        **CELLS,
        "source": "a visit",
        "is_indicative": "on",
        "is_active": "on",
        "reason": REASON,
        **change,
    }


def reasons(table: str, row_id: Any) -> list[str]:
    with operator_scope():
        found = AuditEvent.objects.filter(table_name=table, row_id=str(row_id)).order_by("at", "id")
        return [event.reason or "" for event in found]


def member(group: str) -> Client:
    """Return a client of an operator who is in a group alone."""
    user = tenants.make_operator(superuser=False)
    with operator_scope():
        user.groups.add(Group.objects.get(name=group))
    return tenants.make_admin_client(user)


def kept(airport: str, **more: Any) -> LayoverAnalysis:
    now = timezone.now()
    asked = Asked(
        parse_values(question(airport, **more), zones=airports.get(), now=now),
        weights_of(None),
        False,
    )
    kept_analysis(asked, now=now)
    with operator_scope():
        return LayoverAnalysis.objects.get(pk=asked.key)


# Experiences


def test_experience__added_and_edited__stands_with_the_reason(admin_client: Client) -> None:
    place = own_airport()
    admin_client.post(f"{EXPERIENCES}add/", form_of(airport=place, name="A hall"))
    with operator_scope():
        made = Experience.objects.get(airport=place)
    assert (made.rating_tenths, made.price_from, made.distance_metres) == (46, 1250, 1500)

    page = text(admin_client.get(f"{EXPERIENCES}{made.pk}/change/"))
    assert 'value="12.50"' in page
    assert 'value="1.5"' in page
    changed = form_of(airport=place, name="A hall", rating="4.9", price_from="", is_active="")
    admin_client.post(f"{EXPERIENCES}{made.pk}/change/", changed)
    with operator_scope():
        made.refresh_from_db()
    assert (made.rating_tenths, made.price_from, made.is_active) == (49, None, False)
    assert reasons("experiences", made.pk) == [REASON, REASON]
    form = admin_client.get(f"{EXPERIENCES}{made.pk}/change/").context["adminform"].form
    assert form["is_active"].value() is False
    assert form["is_indicative"].value() is True
    listed = text(admin_client.get(f"{EXPERIENCES}?q={place}"))
    assert "A hall" in listed
    assert "inactive" in listed


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"airport": "QQQ"}, "airport"),
        ({"opening_hours": "always"}, "opening_hours"),
        ({"rating": "6"}, "rating"),
        ({"price_from": "free"}, "price_from"),
        ({"currency": "EURO"}, "currency"),
        ({"duration_minutes": "5"}, "duration_minutes"),
        ({"reason": ""}, "reason"),
        ({"source": ""}, "source"),
    ],
)
def test_experience__faulty_field__is_named_and_nothing_stands(
    admin_client: Client, change: dict[str, str], field: str
) -> None:
    place = own_airport()
    response = admin_client.post(f"{EXPERIENCES}add/", form_of(**{"airport": place, **change}))
    assert field in response.context["adminform"].form.errors
    with operator_scope():
        assert not Experience.objects.filter(airport=place).exists()


def test_experience__name_taken__is_refused_on_its_field(admin_client: Client) -> None:
    place = own_airport()
    add_experience(place, name="Taken")
    response = admin_client.post(f"{EXPERIENCES}add/", form_of(airport=place, name="Taken"))
    assert "already" in str(response.context["adminform"].form.errors["name"])
    with operator_scope():
        assert Experience.objects.filter(airport=place).count() == 1


def test_experience__deactivated_in_the_list__asks_why_and_stays(admin_client: Client) -> None:
    place = own_airport()
    made = [add_experience(place), add_experience(place, is_active=False)]
    data = {"action": "deactivate_selected", "_selected_action": [str(each.pk) for each in made]}
    page = text(admin_client.post(EXPERIENCES, data))
    assert "is inactive already" in page
    admin_client.post(EXPERIENCES, {**data, **CONFIRMED})
    with operator_scope():
        assert not Experience.objects.filter(airport=place, is_active=True).exists()
        assert Experience.objects.filter(airport=place).count() == 2
    assert reasons("experiences", made[0].pk)[-1] == REASON
    assert admin_client.get(f"{EXPERIENCES}{made[0].pk}/delete/").status_code == 403


def test_import__dry_run__writes_nothing_and_the_confirmation_does(admin_client: Client) -> None:
    place = own_airport()
    add_experience(place, name="Old")
    file = csv_of({"airport": place, "name": "Old"}, {"airport": place, "name": "New"})
    upload = SimpleUploadedFile("sights.csv", file.encode(), "text/csv")
    tried = admin_client.post(f"{EXPERIENCES}import/", {"file": upload, "source": "A paper"})
    page = text(tried)
    assert "2 experiences would be added or changed" in page
    assert "rating_tenths" in page
    with operator_scope():
        assert Experience.objects.filter(airport=place).count() == 1

    digest = tried.context["confirmation"].initial["digest"]
    sent = {"text": file, "source": "A paper", "import": "1", "digest": digest}
    nameless = text(admin_client.post(f"{EXPERIENCES}import/", {**sent, "reason": ""}))
    assert "This field is required" in nameless
    with operator_scope():
        assert Experience.objects.filter(airport=place).count() == 1
    response = admin_client.post(f"{EXPERIENCES}import/", {**sent, "reason": REASON})
    assert "Added 1 and changed 1" in text(admin_client.get(response["Location"]))
    with operator_scope():
        found = dict(Experience.objects.filter(airport=place).values_list("name", "source"))
    assert found == {"Old": "A paper", "New": "A paper"}


def test_import__rejects__are_named_by_line_and_nothing_is_written(admin_client: Client) -> None:
    place = own_airport()
    file = csv_of({"airport": place, "name": "Good"}, {"airport": place, "rating": "9"})
    sent = {"text": file, "source": "A paper", "import": "1", "digest": "x", "reason": REASON}
    page = text(admin_client.post(f"{EXPERIENCES}import/", sent))
    assert "line 3: rating: Give stars from 0 to 5" in page
    assert "Nothing was imported" in page
    with operator_scope():
        assert not Experience.objects.filter(airport=place).exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"no,columns\n1,2\n"])
def test_import__file_that_is_none__is_refused(admin_client: Client, content: bytes) -> None:
    upload = SimpleUploadedFile("odd.csv", content, "text/csv")
    response = admin_client.post(f"{EXPERIENCES}import/", {"file": upload, "source": "x"})
    assert response.context["form"].errors
    assert response.context["plan"] is None


def test_export__of_all__can_be_read_again(admin_client: Client) -> None:
    response = admin_client.get(f"{EXPERIENCES}export/")
    rows = list(csv.DictReader(io.StringIO(text(response))))
    with operator_scope():
        assert len(rows) == Experience.objects.count()
    assert "attachment" in response["Content-Disposition"]


# Weather


def test_weather__of_a_hub__is_shown_hour_by_hour(admin_client: Client) -> None:
    place = own_airport()
    record_weather(place, datetime.now(UTC), temperature_tenths=-73)
    listed = text(admin_client.get(f"{WEATHER}?q={place}"))
    page = text(admin_client.get(f"{WEATHER}{place}/change/"))
    assert "fresh" in listed
    assert "-7.3" in page
    assert "America/Chicago" in page


def test_weather__that_fails__says_why_and_is_on_the_dashboard(admin_client: Client) -> None:
    place = own_airport()
    with operator_scope():
        LayoverInput.objects.create(
            airport_code=place, weather_failed_at=timezone.now(), weather_problem="answered 500"
        )
    listed = text(admin_client.get(f"{WEATHER}?weather=failing&q={place}"))
    assert "failing" in listed
    assert "answered 500" in listed
    assert f"{WEATHER}?weather=failing" in text(admin_client.get("/admin/"))
    with operator_scope():
        LayoverInput.objects.filter(pk=place).update(weather_problem="")


def test_weather__asked_for_now__is_queued(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(
        current_app, "send_task", lambda name, **options: sent.append((name, options))
    )
    place = own_airport()
    record_weather(place, datetime.now(UTC))
    data = {"action": "refresh_selected", "_selected_action": [place]}
    monkeypatch.setattr("apps.layovers.admin.weather.weather_is_wanted", lambda: False)
    response = admin_client.post(WEATHER, data)
    assert "flag real_time_weather is off" in text(admin_client.get(response["Location"]))
    assert sent == []
    monkeypatch.setattr("apps.layovers.admin.weather.weather_is_wanted", lambda: True)
    response = admin_client.post(WEATHER, data)
    assert sent == [("apps.layovers.tasks.refresh_hub_weather", {"kwargs": {"airports": [place]}})]
    assert "at 1 airport." in text(admin_client.get(response["Location"]))


# Analyses


def test_analysis__kept__is_shown_with_its_inputs(admin_client: Client) -> None:
    place = own_airport()
    add_experience(place, name="Shown in the plan", opening_hours="24h")
    row = kept(place)
    listed = text(admin_client.get(f"{ANALYSES}?airport={place.lower()}"))
    page = text(admin_client.get(f"{ANALYSES}{row.pk}/change/"))
    assert f"{place} " in listed
    assert "fresh" in listed
    for words in ("Shown in the plan", "(indicative)", "safety", "weather_missing", "city", "0.5"):
        assert words in page
    assert admin_client.get(f"{ANALYSES}add/").status_code == 403
    assert admin_client.post(f"{ANALYSES}{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_analysis__invalidated__is_made_anew_and_the_reason_kept(admin_client: Client) -> None:
    place = own_airport()
    row = kept(place)
    url = f"{ANALYSES}{row.pk}/invalidate/"
    refused = admin_client.post(url, {"reason": "", "_form_submitted": "1"})
    assert refused.status_code == 200
    with operator_scope():
        assert not LayoverInput.objects.filter(pk=place, invalidations__gt=0).exists()

    data = {"action": "invalidate_selected", "_selected_action": [row.pk], **CONFIRMED}
    admin_client.post(ANALYSES, data)
    until(lambda: place in layover_inputs.get())
    assert "invalidated" in text(admin_client.get(f"{ANALYSES}{row.pk}/change/"))
    assert reasons("layover_inputs", place)[-1] == REASON
    again = kept(place)
    assert again.pk == row.pk
    assert (again.invalidations, again.computed_at > row.computed_at) == (1, True)


def test_try__a_layover__shows_the_score_and_keeps_the_entry(
    admin_client: Client, weather: WeatherServer, enterprise: Enterprise
) -> None:
    place = own_airport()
    asked = question(place, **{"from": "SFO", "to": "BOS"})
    page = text(
        admin_client.post(
            f"{ANALYSES}try/", {**asked, "real_time_weather": "on", "enterprise": enterprise.slug}
        )
    )
    assert "of 100, city" in page
    assert "fresh" in page
    assert len(weather.asked) == 1
    with operator_scope():
        (row,) = LayoverAnalysis.objects.filter(airport_code=place)
    assert f"{ANALYSES}{row.pk}/change/" in page


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"airport": "QQQ"}, "airport"),
        ({"departure": "2020-01-01T10:00"}, "departure"),
        ({"passport": "UK"}, "passport"),
        ({"enterprise": "nobody-has-this"}, "enterprise"),
    ],
)
def test_try__faulty_field__is_named(
    admin_client: Client, change: dict[str, str], field: str
) -> None:
    response = admin_client.post(f"{ANALYSES}try/", {**question("ORD"), **change})
    assert field in response.context["form"].errors
    assert response.context["result"] is None


def test_dashboard__hit_ratio__is_of_what_was_read(admin_client: Client) -> None:
    kept(own_airport())
    hits.flush()
    page = text(admin_client.get("/admin/"))
    assert "Analyses within a day" in page
    assert "Of these kept, per cent" in page


# Who may


def test_groups__viewers_and_editors__may_what_they_say() -> None:
    place = own_airport()
    row = kept(place)
    made = add_experience(place)
    viewer, editor = member("Layover viewers"), member("Layover editors")
    for url in (EXPERIENCES, WEATHER, ANALYSES, f"{ANALYSES}try/"):
        assert text(viewer.get(url))
    assert viewer.post(f"{EXPERIENCES}add/", form_of(airport=place)).status_code == 403
    for url in (f"{EXPERIENCES}import/", f"{ANALYSES}{row.pk}/invalidate/"):
        assert viewer.get(url).status_code == 403
    viewer.post(f"{EXPERIENCES}{made.pk}/change/", form_of(airport=place, name="Mine"))
    with operator_scope():
        assert not Experience.objects.filter(airport=place, name="Mine").exists()
    editor.post(f"{EXPERIENCES}{made.pk}/change/", form_of(airport=place, name="Ours"))
    with operator_scope():
        assert Experience.objects.filter(airport=place, name="Ours").exists()
    assert editor.get(f"{EXPERIENCES}import/").status_code == 200


def test_pages__without_permission__are_refused() -> None:
    nobody = tenants.make_admin_client(tenants.make_operator(superuser=False))
    for url in (f"{EXPERIENCES}export/", f"{EXPERIENCES}import/", f"{ANALYSES}try/"):
        assert nobody.get(url).status_code == 403
