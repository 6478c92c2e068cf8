"""Webhooks in the admin: what fails is seen, paused and sent again, with a reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.tenants.models import Enterprise
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from layoverhq.tenancy import operator_scope
from tests.tenants.test_admin import limited_client, told
from tests.webhooks.factories import add_webhook, deliveries, endpoint_of, notify

ENDPOINTS = "/admin/webhooks/webhookendpoint/"
DELIVERIES = "/admin/webhooks/webhookdelivery/"
URL = "https://example.com/hooks"


def act(client: Client, model: str, name: str, pk: object, reason: str = "asked to") -> str:
    """Do what a dialog of an object's page asks; return what the next page says."""
    url = reverse(f"admin:webhooks_{model}_{name}", args=[pk])
    response = client.post(
        url, {"reason": reason, "_form_submitted": "True"}, headers={"HX-Request": "true"}
    )
    return told(client, response)


def trail(delivery: WebhookDelivery) -> list[AuditEvent]:
    with operator_scope():
        return list(
            AuditEvent.objects.filter(table_name="webhook_deliveries", row_id=str(delivery.pk))
        )


def kill(enterprise: Enterprise) -> list[WebhookDelivery]:
    with operator_scope():
        WebhookDelivery.objects.filter(enterprise=enterprise).update(
            status="dead", finished_at=timezone.now(), last_status_code=500, attempts=11
        )
    return deliveries(enterprise)


def test_list__failing_endpoint__says_since_when_and_links_its_dead_letters(
    admin_client, enterprise
):
    made = add_webhook(enterprise, URL)
    notify(enterprise)
    kill(enterprise)
    with operator_scope():
        WebhookEndpoint.objects.filter(pk=made.endpoint.pk).update(
            failing_since=timezone.now(), failures=11
        )
    page = admin_client.get(ENDPOINTS, {"health": "failing", "enterprise": enterprise.slug})
    text = page.content.decode()
    assert "failed 11 times since" in text
    link = f"{DELIVERIES}?status=dead&amp;endpoint={made.endpoint.pk}"
    assert link in text
    listed = admin_client.get(link.replace("&amp;", "&"))
    assert [row.pk for row in listed.context["cl"].result_list] == [
        each.pk for each in deliveries(enterprise)
    ]


def test_home__endpoints_that_fail__are_counted_with_a_way_to_their_list(admin_client, enterprise):
    failing, disabled = add_webhook(enterprise, URL), add_webhook(enterprise, f"{URL}?2")
    with operator_scope():
        chosen = WebhookEndpoint.objects.filter(pk__in=[failing.endpoint.pk, disabled.endpoint.pk])
        chosen.update(failing_since=timezone.now(), failures=1)
        chosen.filter(pk=disabled.endpoint.pk).update(status="disabled")
    told_home = {
        each["label"]: each for each in admin_client.get("/admin/").context["panels"]["webhooks"]
    }
    for label, made in (("Of these failing", failing), ("Disabled", disabled)):
        listed = admin_client.get(told_home[label]["url"]).context["cl"].result_list
        assert made.endpoint.pk in [row.pk for row in listed]
        assert len(listed) == told_home[label]["value"]


def test_pages__of_endpoint_and_delivery__show_no_secret(admin_client, enterprise):
    made = add_webhook(enterprise, URL)
    notify(enterprise, trip_id="<b>t-1</b>")
    (delivery,) = deliveries(enterprise)
    for url in (f"{ENDPOINTS}{made.endpoint.pk}/change/", f"{DELIVERIES}{delivery.pk}/change/"):
        text = admin_client.get(url).content.decode()
        assert URL in text
        assert made.secret not in text
        assert made.endpoint.sealed_secret not in text
    assert "&lt;b&gt;t-1" in text
    assert "<b>t-1" not in text


def test_pause_and_resume__with_a_reason__are_done_and_audited(admin_client, enterprise):
    made = add_webhook(enterprise, URL)
    said = act(admin_client, "webhookendpoint", "pause", made.endpoint.pk, "floods them")
    assert f"Paused “{URL}”" in said
    paused = endpoint_of(made)
    assert (paused.status, paused.status_reason) == ("paused", "floods them")
    with operator_scope():
        event = AuditEvent.objects.get(row_id=str(made.endpoint.pk), operation="UPDATE")
    assert event.reason == "floods them"
    assert event.user_id is not None
    assert event.new_values["sealed_secret"] == "[redacted]"
    assert "Resumed" in act(admin_client, "webhookendpoint", "resume", made.endpoint.pk)
    assert endpoint_of(made).status == "active"


def test_ping__active_endpoint__queues_a_trial(admin_client, enterprise):
    made = add_webhook(enterprise, URL)
    assert "trial" in act(admin_client, "webhookendpoint", "ping", made.endpoint.pk)
    (sent,) = deliveries(enterprise)
    assert sent.event == "webhook.ping"
    assert [(noted.operation, noted.reason) for noted in trail(sent)] == [("INSERT", "asked to")]


def test_replay__one__is_pending_again(admin_client, enterprise):
    add_webhook(enterprise, URL)
    notify(enterprise)
    (dead,) = kill(enterprise)
    assert "Queued again" in act(admin_client, "webhookdelivery", "replay", dead.pk)
    (again,) = deliveries(enterprise)
    assert (again.status, again.attempts, again.event_id) == ("pending", 0, dead.event_id)
    (noted,) = trail(dead)
    assert (noted.operation, noted.reason) == ("UPDATE", "asked to")
    assert noted.user_id is not None
    assert noted.new_values["body"] == "[redacted]"


def test_delivery__sent_and_failed__leaves_no_trail(enterprise):
    add_webhook(enterprise, URL)
    notify(enterprise)
    (dead,) = kill(enterprise)
    assert trail(dead) == []


def test_deliveries__dead_letter__tells_what_came_of_it_and_no_next_attempt(
    admin_client, enterprise
):
    add_webhook(enterprise, URL)
    notify(enterprise)
    (dead,) = kill(enterprise)
    with operator_scope():
        WebhookDelivery.objects.update(
            last_status_code=None,
            last_error="ReadTimeout: timed out",
            next_attempt_at=datetime(2031, 2, 3, tzinfo=UTC),
        )
    for page in (DELIVERIES, f"{DELIVERIES}{dead.pk}/change/"):
        text = admin_client.get(page).content.decode()
        assert "ReadTimeout: timed out" in text
        assert "2031" not in text


def test_replay__many__names_what_it_leaves_out(admin_client, enterprise):
    add_webhook(enterprise, URL)
    for _ in range(3):
        notify(enterprise)
    dead = kill(enterprise)
    notify(enterprise)
    waiting = deliveries(enterprise)[-1]
    chosen = {
        "action": "replay_selected",
        "_selected_action": [str(each.pk) for each in (*dead, waiting)],
    }
    preview = admin_client.post(DELIVERIES, chosen)
    assert "Left out: 1" in preview.content.decode()
    assert len([d for d in deliveries(enterprise) if d.status == "dead"]) == 3
    response = admin_client.post(
        DELIVERIES, {**chosen, "confirmed": "1", "_form_submitted": "1", "reason": "it is back"}
    )
    assert "Left out" in told(admin_client, response)
    assert {each.status for each in deliveries(enterprise)} == {"pending"}


@pytest.mark.parametrize("name", ["pause", "ping"])
def test_action__without_the_permission__is_refused(enterprise, name):
    made = add_webhook(enterprise, URL)
    client = limited_client("view_webhookendpoint", "view_webhookdelivery")
    assert client.get(f"{ENDPOINTS}{made.endpoint.pk}/change/").status_code == 200
    url = reverse(f"admin:webhooks_webhookendpoint_{name}", args=[made.endpoint.pk])
    response = client.post(
        url, {"reason": "no way", "_form_submitted": "True"}, headers={"HX-Request": "true"}
    )
    assert response.status_code == 403
    assert endpoint_of(made).status == "active"
    assert deliveries(enterprise) == []


def test_replay__endpoint_is_disabled__is_left_out_with_the_reason(admin_client, enterprise):
    made = add_webhook(enterprise, URL)
    notify(enterprise)
    (dead,) = kill(enterprise)
    with operator_scope():
        WebhookEndpoint.objects.filter(pk=made.endpoint.pk).update(status="disabled")
    assert "resume that first" in act(admin_client, "webhookdelivery", "replay", dead.pk)
    assert [each.status for each in deliveries(enterprise)] == ["dead"]


def test_pages__ids_that_lead_nowhere__are_no_fault(admin_client):
    for url in (f"{ENDPOINTS}nonsense/change/", f"{DELIVERIES}?endpoint=nonsense"):
        assert admin_client.get(url).status_code == 302
