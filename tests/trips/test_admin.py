"""Trips in the admin: read in each home, names on request; and the move, from the page."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.tenants import moving
from apps.tenants.models import Enterprise, EnterpriseMove
from apps.trips import admin
from apps.trips.models import PriceAlert
from layoverhq.tenancy import operator_scope
from tests.tenants.test_admin import limited_client, told
from tests.trips.factories import add_traveller, populate, stored

pytestmark = pytest.mark.usefixtures("queued", "tidy")

MODELS = ("traveller", "savedsearch", "trip", "pricealert")


def act(client: Client, label: str, name: str, pk: object, reason: str = "it pays for it") -> str:
    url = reverse(f"admin:tenants_{label}_{name}", args=[pk])
    response = client.post(
        url, {"reason": reason, "_form_submitted": "True"}, headers={"HX-Request": "true"}
    )
    return told(client, response)


def dedicate(enterprise: Enterprise) -> Enterprise:
    with operator_scope():
        move = moving.start_move(
            enterprise=enterprise, target=Enterprise.Isolation.DEDICATED, reason="why"
        )
        moving.advance_move(move_id=move.pk)
    return stored(enterprise)


def listed(client: Client, model: str, slug: str = "") -> list[object]:
    response = client.get(f"/admin/trips/{model}/", {"enterprise": slug} if slug else {})
    assert response.status_code == 200
    return [row.pk for row in response.context["cl"].result_list]


def test_lists_and_pages__pooled_and_dedicated__show_each_home(
    admin_client, enterprise, other_enterprise, shop
):
    populate(enterprise, shop, travellers=1)
    populate(other_enterprise, shop, travellers=1)
    before = {model: listed(admin_client, model, enterprise.slug) for model in MODELS}
    assert all(len(found) == 1 for found in before.values())
    dedicate(enterprise)
    for model in MODELS:
        (pk,) = before[model]
        assert pk not in listed(admin_client, model)
        assert listed(admin_client, model, enterprise.slug) == [pk]
        assert len(listed(admin_client, model, other_enterprise.slug)) == 1
        page = admin_client.get(f"/admin/trips/{model}/{pk}/change/")
        text = page.content.decode()
        assert page.status_code == 200
        assert enterprise.name in text
        assert "Arbor" not in text
        assert "holidays" not in text
    # The connection's next page is of the shared tables again.
    assert len(listed(admin_client, "traveller", other_enterprise.slug)) == 1


def test_alerts__with_a_problem__are_found(admin_client, enterprise, shop):
    populate(enterprise, shop, travellers=2)
    with operator_scope():
        odd, _ = PriceAlert.objects.filter(enterprise=enterprise)
        PriceAlert.objects.filter(pk=odd.pk).update(problem="No airport XYZ is known.")
    page = admin_client.get(
        "/admin/trips/pricealert/", {"state": "problem", "enterprise": enterprise.slug}
    )
    assert [row.pk for row in page.context["cl"].result_list] == [odd.pk]
    assert "No airport XYZ is known." in page.content.decode()


def test_list__dedicated_enterprises__are_named_on_it(admin_client, enterprise, monkeypatch):
    # Other tests leave some.
    monkeypatch.setattr(admin, "HOMES_LISTED", 10_000)
    dedicate(enterprise)
    text = admin_client.get("/admin/trips/traveller/").content.decode()
    assert f"?enterprise={enterprise.slug}" in text


def test_reveal__with_a_reason__shows_the_name_once_and_notes_the_reading(admin_client, enterprise):
    traveller = add_traveller(enterprise, name="Ann Arbor")
    url = reverse("admin:trips_traveller_reveal", args=[traveller.pk])
    assert "Arbor" not in admin_client.get(url).content.decode()
    assert "Arbor" not in admin_client.post(url, {"reason": ""}).content.decode()
    response = admin_client.post(url, {"reason": "she called", "_form_submitted": "True"})
    assert "Ann Arbor" in response.content.decode()
    assert "no-store" in response.headers["Cache-Control"]
    with operator_scope():
        event = AuditEvent.objects.get(row_id=str(traveller.pk), operation="READ")
    assert (event.reason, event.enterprise_id) == ("she called", enterprise.pk)


def test_reveal__without_the_permission__is_refused(enterprise):
    traveller = add_traveller(enterprise)
    client = limited_client("view_traveller")
    assert client.get(f"/admin/trips/traveller/{traveller.pk}/change/").status_code == 200
    url = reverse("admin:trips_traveller_reveal", args=[traveller.pk])
    assert client.post(url, {"reason": "curious"}).status_code == 403


def test_pages__nobody_writes_in_them(admin_client, enterprise):
    traveller = add_traveller(enterprise)
    for name in ("change", "delete"):
        url = reverse(f"admin:trips_traveller_{name}", args=[traveller.pk])
        assert admin_client.post(url, {"name": "Mallory"}).status_code == 403


def test_move__from_the_enterprises_page__there_and_back(admin_client, enterprise, shop, queued):
    populate(enterprise, shop, travellers=1)
    said = act(admin_client, "enterprise", "dedicate", enterprise.pk)
    assert "Began to move" in said
    assert "Queued" in said
    with operator_scope():
        move = EnterpriseMove.objects.get(enterprise=enterprise)
        assert move.reason == "it pays for it"
        assert move.actor_id is not None
    assert queued[-1] == str(move.pk)
    assert "under way" in act(admin_client, "enterprise", "dedicate", enterprise.pk)
    with operator_scope():
        moving.advance_move(move_id=move.pk)
    page = admin_client.get(f"/admin/tenants/enterprisemove/{move.pk}/change/").content.decode()
    assert "5 of 5 rows" in page
    assert "price_alerts" in page
    assert stored(enterprise).is_dedicated

    act(admin_client, "enterprise", "pool", enterprise.pk)
    with operator_scope():
        open_move = EnterpriseMove.objects.get(enterprise=enterprise, finished_at__isnull=True)
        moving.advance_move(move_id=open_move.pk)
    assert not stored(enterprise).is_dedicated


def test_move__failed__says_so_is_tried_again_and_called_off(
    admin_client, enterprise, queued, monkeypatch
):
    act(admin_client, "enterprise", "dedicate", enterprise.pk)
    with operator_scope():
        move = EnterpriseMove.objects.get(enterprise=enterprise)
        with monkeypatch.context() as patched:
            patched.setattr(moving, "_switch", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                moving.advance_move(move_id=move.pk)
    url = f"/admin/tenants/enterprisemove/{move.pk}/change/"
    assert "Everything is whole where it was" in admin_client.get(url).content.decode()
    queued.clear()
    act(admin_client, "enterprisemove", "resume", move.pk)
    assert queued == [str(move.pk)]
    with operator_scope():
        assert EnterpriseMove.objects.get(pk=move.pk).attempts == 0
        again = AuditEvent.objects.filter(
            table_name="enterprise_moves", row_id=str(move.pk), operation="UPDATE"
        ).latest("at")
        assert "attempts" in again.changed_columns
        assert again.reason == "it pays for it"
    assert "Called off" in act(admin_client, "enterprisemove", "call_off", move.pk)
    with operator_scope():
        assert EnterpriseMove.objects.get(pk=move.pk).stage == "called_off"
    assert not stored(enterprise).is_dedicated


def test_move__without_the_permission__is_refused(enterprise):
    client = limited_client("view_enterprise", "change_enterprise")
    url = reverse("admin:tenants_enterprise_dedicate", args=[enterprise.pk])
    response = client.post(
        url, {"reason": "no way", "_form_submitted": "True"}, headers={"HX-Request": "true"}
    )
    assert response.status_code == 403
    with operator_scope():
        assert not EnterpriseMove.objects.filter(enterprise=enterprise).exists()
