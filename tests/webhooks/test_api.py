"""Webhooks as an enterprise's developer sets them up and looks after them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from layoverhq.tenancy import operator_scope
from tests.webhooks.factories import add_webhook, deliver, deliveries, notify

BASE = "/api/v1/webhooks"
URL = "https://example.com/hooks"


def post(api: Client, path: str = "", status: int = 201, **body: Any) -> Any:
    response = api.post(BASE + path, body, "application/json")
    assert response.status_code == status, response.content
    return response.json()


def faults(document: Any) -> dict[str, str]:
    return {error["field"]: error["code"] for error in document["errors"]}


def test_webhook__added__its_secret_is_told_once_and_kept_sealed(api, enterprise):
    made = post(api, url=URL, events=["trip.created", "alert.price", "trip.created"])
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["alert.price", "trip.created"]
    shown = api.get(f"{BASE}/{made['id']}")
    assert "secret" not in shown.json()
    assert made["secret"] not in api.get(BASE).content.decode()
    with operator_scope():
        stored = WebhookEndpoint.objects.get(pk=made["id"])
        event = AuditEvent.objects.get(row_id=made["id"], operation="INSERT")
    assert made["secret"] not in stored.sealed_secret
    assert event.new_values["sealed_secret"] == "[redacted]"
    held = {"If-None-Match": shown.headers["ETag"]}
    assert api.get(f"{BASE}/{made['id']}", headers=held).status_code == 304


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"url": "required", "events": "required"}),
        ({"url": "http://example.com", "events": ["trip.created"]}, {"url": "invalid"}),
        ({"url": "https://127.0.0.1/", "events": ["trip.created"]}, {"url": "invalid"}),
        ({"url": URL, "events": []}, {"events": "invalid"}),
        ({"url": URL, "events": ["trip.exploded"]}, {"events": "invalid"}),
        ({"url": URL, "events": "trip.created"}, {"events": "invalid"}),
        ({"url": URL, "events": ["trip.created"], "secret": "x"}, {"secret": "unknown"}),
        (
            {"url": URL, "events": ["trip.created"], "description": "x" * 201},
            {"description": "invalid"},
        ),
    ],
)
def test_webhook__bad_input__names_each_field_and_adds_nothing(api, enterprise, body, expected):
    assert faults(post(api, "", 400, **body)) == expected
    with operator_scope():
        assert not WebhookEndpoint.objects.filter(enterprise=enterprise).exists()


def test_webhook__changed_paused_and_deleted__with_versions(api, enterprise):
    made = post(api, url=URL, events=["trip.created"])
    path = f"{BASE}/{made['id']}"
    changed = api.patch(
        path, {"version": 1, "url": f"{URL}/2", "description": "ours"}, "application/json"
    ).json()
    assert (changed["url"], changed["description"], changed["version"]) == (f"{URL}/2", "ours", 2)
    stale = api.patch(path, {"version": 1, "status": "paused"}, "application/json")
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_version")
    disabled = api.patch(path, {"version": 2, "status": "disabled"}, "application/json")
    assert faults(disabled.json()) == {"status": "invalid"}
    paused = api.patch(path, {"version": 2, "status": "paused"}, "application/json").json()
    assert paused["status"] == "paused"
    refused = api.post(f"{path}/ping", {}, "application/json")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    notify(enterprise)
    assert api.delete(f"{path}?version=3").status_code == 204
    assert api.get(path).status_code == 404
    assert deliveries(enterprise) == []


def test_webhook__too_many__is_refused(api, monkeypatch):
    monkeypatch.setattr("apps.webhooks.operations.MAXIMUM_ENDPOINTS", 1)
    post(api, url=URL, events=["trip.created"])
    assert post(api, "", 409, url=URL, events=["trip.created"])["code"] == "too_many_webhooks"


def test_ping__delivered__its_delivery_tells(api, enterprise, receiver):
    made = add_webhook(enterprise, receiver.url, events=["alert.price"])
    sent = post(api, f"/{made.endpoint.pk}/ping", 202)
    assert sent["body"]["type"] == "webhook.ping"
    deliver()
    path = f"{BASE}/{made.endpoint.pk}/deliveries"
    shown = api.get(f"{path}/{sent['id']}").json()
    assert (shown["status"], shown["last_status_code"]) == ("delivered", 204)
    assert sent["next_attempt_at"] is not None
    assert shown["next_attempt_at"] is None
    assert [each["id"] for each in api.get(path, {"status": "delivered"}).json()["results"]] == [
        sent["id"]
    ]
    assert api.get(path, {"status": "dead"}).json() == {"results": [], "next": None}
    assert len(receiver.got) == 1


def test_rotate__secret_is_another_and_the_old_one_ends(api, enterprise):
    made = add_webhook(enterprise, URL)
    rotated = post(api, f"/{made.endpoint.pk}/rotate-secret", 200, overlap_hours=1)
    assert rotated["secret"] != made.secret
    assert rotated["old_secret_until"] > timezone.now().isoformat()
    at_once = post(api, f"/{made.endpoint.pk}/rotate-secret", 200, overlap_hours=0)
    assert at_once["old_secret_until"] is None
    bad = post(api, f"/{made.endpoint.pk}/rotate-secret", 400, overlap_hours=1000)
    assert faults(bad) == {"overlap_hours": "invalid"}


def test_replay__dead_letter__is_pending_again_and_no_other(api, enterprise):
    made = add_webhook(enterprise, URL)
    notify(enterprise)
    (waiting,) = deliveries(enterprise)
    path = f"/{made.endpoint.pk}/deliveries/{waiting.pk}/replay"
    assert post(api, path, 409)["code"] == "not_replayable"
    with operator_scope():
        WebhookDelivery.objects.filter(pk=waiting.pk).update(
            status="dead", finished_at=timezone.now(), attempts=11
        )
    again = post(api, path, 202)
    assert (again["status"], again["attempts"]) == ("pending", 0)
    assert again["event_id"] == str(waiting.event_id)


def test_delivery__as_the_runtime_role__cannot_be_rewritten(enterprise, app_role):
    add_webhook(enterprise, URL)
    notify(enterprise)
    with app_role.transaction(force_rollback=True):
        app_role.execute(
            "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise.pk)]
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app_role.execute("update webhook_deliveries set body = '{}'")
