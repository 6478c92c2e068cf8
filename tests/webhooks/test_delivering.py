"""Signed, bounded, retried, never from two workers at once, and never into our own network."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import textwrap
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as project
from django.db import connections, transaction
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.tenants.operations import resume_enterprise, suspend_enterprise
from apps.webhooks import delivering, operations, sending, tasks
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.signing import signature
from layoverhq import connecting, context
from layoverhq.errors import StaleVersion
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.webhooks.factories import (
    add_webhook,
    backdate,
    deliver,
    deliveries,
    endpoint_of,
    make_due,
    notify,
)
from tests.webhooks.receiver import Handler, receiving, saying


def test_add__many_at_once__are_no_more_than_may_be(enterprise, monkeypatch):
    monkeypatch.setattr(operations, "MAXIMUM_ENDPOINTS", 2)
    add_webhook(enterprise, "https://example.com/1")
    together = threading.Barrier(4)
    refused: list[Exception] = []

    def add() -> None:
        together.wait()
        try:
            add_webhook(enterprise, "https://example.com/2")
        except operations.TooManyWebhooks as error:
            refused.append(error)
        finally:
            connections["default"].close()

    adders = [threading.Thread(target=add) for _ in range(4)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    assert len(refused) == 3
    with operator_scope():
        assert WebhookEndpoint.objects.filter(enterprise=enterprise).count() == 2


def test_notify__rolled_back__leaves_nothing_to_send(enterprise, receiver, queued):
    add_webhook(enterprise, receiver.url)
    queued.clear()
    with tenant_scope(enterprise.ref):
        operations.notify(tenant=enterprise.ref, event="trip.created", data={}, now=timezone.now())
        transaction.set_rollback(True)
    assert deliveries(enterprise) == []
    assert queued == []


def test_deliver__subscribed__is_signed_as_the_convention_says(enterprise, receiver, queued):
    made = add_webhook(enterprise, receiver.url)
    add_webhook(enterprise, receiver.url, events=["alert.price"])
    notify(enterprise, trip_id="t-1", name="Zoë")
    assert queued[-1] == "apps.webhooks.tasks.deliver_webhooks"

    assert deliver() == 1

    (got,) = receiver.got
    (sent,) = deliveries(enterprise)
    assert got.path == "/hooks?tenant=1"
    assert json.loads(got.body) == json.loads(sent.body)
    assert json.loads(got.body)["type"] == "trip.created"
    assert json.loads(got.body)["data"] == {"trip_id": "t-1", "name": "Zoë"}
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == str(sent.event_id)
    stamp = int(got.headers["webhook-timestamp"])
    assert abs(stamp - time.time()) < 60
    assert got.headers["webhook-signature"] == signature(
        made.secret, message_id=str(sent.event_id), timestamp=stamp, body=got.body
    )
    assert (sent.status, sent.last_status_code, sent.attempts) == ("delivered", 204, 1)
    assert endpoint_of(made).last_success_at is not None
    assert deliver() == 0


def test_signature__the_conventions_own_example__is_the_same():
    # From the reference implementations' tests.
    assert (
        signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp=1614265330,
            body=b'{"test": 2432232314}',
        )
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def verifier() -> str:
    """Return the code that the documentation gives receivers."""
    page = (Path(project.BASE_DIR) / "docs" / "webhooks.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return code


def test_verifier_of_the_docs__takes_what_we_sign_and_nothing_else(enterprise, receiver):
    made = add_webhook(enterprise, receiver.url)
    notify(enterprise)
    deliver()
    (got,) = receiver.got
    namespace: dict[str, Any] = {}
    exec(compile(textwrap.dedent(verifier()), "docs", "exec"), namespace)  # noqa: S102  # our own
    verify = namespace["verify"]
    assert verify(made.secret, got.headers, got.body)
    assert not verify(made.secret, got.headers, got.body + b" ")
    assert not verify(operations.new_secret(), got.headers, got.body)
    late = {**got.headers, "webhook-timestamp": str(int(time.time()) - 600)}
    assert not verify(made.secret, late, got.body)


def test_rotate__for_the_overlap__both_secrets_sign_and_then_the_new_alone(enterprise, receiver):
    made = add_webhook(enterprise, receiver.url)
    with tenant_scope(enterprise.ref):
        new = operations.rotate_secret(endpoint=made.endpoint, overlap_hours=2, now=timezone.now())
    assert new.secret != made.secret
    notify(enterprise)
    deliver()
    with operator_scope():
        WebhookEndpoint.objects.filter(pk=made.endpoint.pk).update(
            old_secret_until=timezone.now() - timedelta(seconds=1)
        )
    notify(enterprise)
    deliver()
    signers = []
    for got in receiver.got:
        facts = {
            "message_id": got.headers["webhook-id"],
            "timestamp": int(got.headers["webhook-timestamp"]),
            "body": got.body,
        }
        by = {
            signature(secret, **facts): name
            for name, secret in (("old", made.secret), ("new", new.secret))
        }
        signers.append([by[one] for one in got.headers["webhook-signature"].split(" ")])
    assert signers == [["new", "old"], ["new"]]


@pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
def test_deliver__refused__waits_and_comes_again_with_the_same_id(enterprise, development, status):
    answers = [saying(status, b"no \0 thanks", Location="http://127.0.0.1:1/"), saying(200)]
    with receiving(lambda handler: answers.pop(0)(handler)) as receiver:
        made = add_webhook(enterprise, receiver.url)
        notify(enterprise)
        before = timezone.now()
        assert deliver() == 1
        (waits,) = deliveries(enterprise)
        assert (waits.status, waits.last_status_code, waits.attempts) == ("pending", status, 1)
        assert waits.last_excerpt == "no \ufffd thanks"
        assert timedelta(seconds=3) < waits.next_attempt_at - before < timedelta(seconds=60)
        failing = endpoint_of(made)
        assert (failing.failures, failing.last_error) == (1, f"HTTP {status}")
        assert deliver() == 0

        make_due(enterprise)
        assert deliver() == 1
    (done,) = deliveries(enterprise)
    assert (done.status, done.attempts) == ("delivered", 2)
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    assert len({got.body for got in receiver.got}) == 1
    assert endpoint_of(made).failing_since is None


def test_deliver__failed__the_next_attempt_does_not_wait_for_the_schedule(
    enterprise, development, monkeypatch
):
    asked: list[float] = []
    monkeypatch.setattr(
        operations.current_app, "send_task", lambda name, countdown=0: asked.append(countdown)
    )
    with receiving(saying(500)) as receiver:
        add_webhook(enterprise, receiver.url)
        notify(enterprise)
        for _ in range(3):
            make_due(enterprise)
            deliver()
    assert asked == [0, pytest.approx(5, rel=0.2), pytest.approx(30, rel=0.2)]


def test_backoff__all_attempts__spread_over_about_a_day():
    assert timedelta(hours=20) < timedelta(seconds=sum(operations.BACKOFF_SECONDS))
    assert timedelta(seconds=sum(operations.BACKOFF_SECONDS)) < timedelta(hours=28)
    assert list(operations.BACKOFF_SECONDS) == sorted(operations.BACKOFF_SECONDS)


def test_deliver__last_attempt_fails__is_a_dead_letter_that_can_be_replayed(
    enterprise, development
):
    answers = [saying(500), saying(200)]
    with receiving(lambda handler: answers.pop(0)(handler)) as receiver:
        add_webhook(enterprise, receiver.url)
        notify(enterprise)
        make_due(enterprise, attempts=operations.MAXIMUM_ATTEMPTS - 1)
        deliver()
        (dead,) = deliveries(enterprise)
        assert dead.status == "dead"
        assert dead.finished_at is not None
        with tenant_scope(enterprise.ref):
            operations.replay_delivery(delivery=dead, now=timezone.now())
            with pytest.raises(operations.NotReplayable):
                operations.replay_delivery(delivery=dead, now=timezone.now())
        deliver()
    (done,) = deliveries(enterprise)
    assert (done.status, done.attempts, done.event_id) == ("delivered", 1, dead.event_id)


def test_endpoint__failing_for_days__is_disabled_with_its_letters_dead(
    enterprise, development, caplog
):
    with receiving(saying(500)) as receiver:
        made = add_webhook(enterprise, receiver.url)
        notify(enterprise)
        notify(enterprise)
        backdate(made, timezone.now() - timedelta(hours=71))
        deliver()
        assert endpoint_of(made).status == "active"
        make_due(enterprise)
        backdate(made, timezone.now() - timedelta(hours=73))
        deliver()
    assert endpoint_of(made).status == "disabled"
    assert "It failed since" in endpoint_of(made).status_reason
    assert {each.status for each in deliveries(enterprise)} == {"dead"}
    assert "webhook_endpoint_disabled" in caplog.text
    notify(enterprise)
    assert len(deliveries(enterprise)) == 2
    with operator_scope():
        assert operations.resume_endpoints(endpoints=[made.endpoint]) == 1
    assert endpoint_of(made).failing_since is None
    notify(enterprise)
    assert len(deliveries(enterprise)) == 3


def test_endpoint__answers_410__is_disabled_at_once(enterprise, development):
    with receiving(saying(410)) as receiver:
        made = add_webhook(enterprise, receiver.url)
        notify(enterprise)
        deliver()
    assert endpoint_of(made).status == "disabled"
    assert deliveries(enterprise)[0].status == "dead"


def test_endpoint__disabled_by_a_task_that_somebody_elses_call_queued__is_nobodys_doing(
    enterprise, development
):
    with receiving(saying(410)) as receiver:
        made = add_webhook(enterprise, receiver.url)
        notify(enterprise)
        with context.bind(
            actor_id=uuid4(), reason="API key of another", ip="192.0.2.1", request_id="another"
        ):
            tasks.deliver_webhooks()
    assert endpoint_of(made).status == "disabled"
    with operator_scope():
        noted = AuditEvent.objects.get(
            table_name="webhook_endpoints", row_id=str(made.endpoint.pk), operation="UPDATE"
        )
    assert (noted.user_id, noted.ip_address) == (None, None)
    assert "another" not in f"{noted.reason} {noted.request_id}"
    assert noted.new_values["status_reason"] == "It answered 410 Gone."


def test_pause__holds_deliveries_until_it_goes_on(enterprise, receiver):
    made = add_webhook(enterprise, receiver.url)
    with operator_scope():
        assert operations.pause_endpoints(endpoints=[made.endpoint], reason="asked to") == 1
    notify(enterprise)
    assert deliver() == 0
    assert [each.status for each in deliveries(enterprise)] == ["pending"]
    with operator_scope():
        operations.resume_endpoints(endpoints=[made.endpoint])
    assert deliver() == 1


def test_deliver__enterprise_is_suspended__waits(enterprise, receiver):
    add_webhook(enterprise, receiver.url)
    notify(enterprise)
    with operator_scope():
        suspend_enterprise(enterprise=enterprise)
    assert deliver() == 0
    with operator_scope():
        resume_enterprise(enterprise=enterprise)
    assert deliver() == 1


def test_claim__endpoint_that_another_worker_is_at__is_left_to_it(enterprise, receiver):
    slow = add_webhook(enterprise, receiver.url)
    for number in range(delivering.EACH + 2):
        notify(enterprise, trip_id=str(number))
    with operator_scope():
        first = delivering.claim_batch()
        assert first is not None
        assert len(first[1]) == delivering.EACH, "no more of one endpoint at a time"
        assert delivering.claim_batch() is None
    quick = add_webhook(enterprise, receiver.url)
    notify(enterprise)
    with operator_scope():
        second = delivering.claim_batch()
        assert second is not None
        assert {each.endpoint_id for each in second[1]} == {quick.endpoint.pk}
        for delivery in first[1]:
            operations.record_outcome(
                delivery_id=delivery.pk,
                claim=first[0],
                outcome=sending.Outcome(204),
                now=timezone.now(),
            )
        third = delivering.claim_batch()
        assert third is not None
        assert {each.endpoint_id for each in third[1]} == {slow.endpoint.pk}
        assert len(third[1]) == 3


def test_claims__of_many_workers_at_once__take_each_once(enterprise, receiver):
    for number in range(8):
        add_webhook(enterprise, f"{receiver.url}&{number}")
    for number in range(5):
        notify(enterprise, trip_id=str(number))
    workers: list[threading.Thread] = []
    made_by: list[int] = []
    for _ in range(4):
        workers.append(threading.Thread(target=lambda: made_by.append(_deliver_and_close())))
        workers[-1].start()
    for worker in workers:
        worker.join()
    assert sum(made_by) == 40
    seen = [(got.path, got.headers["webhook-id"]) for got in receiver.got]
    assert len(seen) == len(set(seen)) == 40


def _deliver_and_close() -> int:
    try:
        return deliver()
    finally:
        connections["operator"].close()


def test_worker__killed_after_its_claim__another_takes_it_up(enterprise, receiver):
    add_webhook(enterprise, receiver.url)
    notify(enterprise)
    with operator_scope():
        lost = delivering.claim_batch()
    assert lost is not None
    assert deliver() == 0
    make_due(enterprise)
    assert deliver() == 1
    # The one that was slow and not dead finds that it has been taken over.
    with operator_scope():
        noted = operations.record_outcome(
            delivery_id=lost[1][0].pk,
            claim=lost[0],
            outcome=sending.Outcome(500),
            now=timezone.now(),
        )
    assert noted is None
    (done,) = deliveries(enterprise)
    assert (done.status, done.attempts) == ("delivered", 2)


def test_deliver__one_endpoint_hangs__others_are_told(enterprise, development, monkeypatch):
    monkeypatch.setattr(sending, "READ_SECONDS", 0.2)
    released = threading.Event()
    with (
        receiving(lambda handler: released.wait(5) and None) as hanging,
        receiving(saying(200)) as good,
    ):
        stuck = add_webhook(enterprise, hanging.url)
        add_webhook(enterprise, good.url)
        notify(enterprise)
        assert deliver() == 2
        released.set()
    assert len(good.got) == 1
    assert "ReadTimeout" in endpoint_of(stuck).last_error


def dripping(handler: Handler) -> None:
    """Answer a byte at a time, each soon enough."""
    text = b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000 + b"\r\n\r\n"
    pause = threading.Event()
    for letter in text:
        try:
            handler.wfile.write(bytes([letter]))
        except OSError:
            return
        pause.wait(0.02)


def test_post__answer_drips__ends_in_time(development, monkeypatch):
    monkeypatch.setattr(sending, "MOST_SECONDS", 0.5)
    with receiving(dripping) as receiver:
        began = time.monotonic()
        outcome = sending.post(receiver.url, headers={}, body=b"{}")
    assert time.monotonic() - began < 3
    assert outcome.status_code is None
    assert "ReadTimeout" in outcome.error


def test_post__endless_answer__is_cut(development):
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(10_000):
                handler.wfile.write(b"x" * 10_000)
        except OSError:
            pass

    with receiving(endless) as receiver:
        outcome = sending.post(receiver.url, headers={}, body=b"{}")
    assert outcome.delivered
    assert outcome.excerpt == "x" * sending.EXCERPT_BYTES


def test_post__many_addresses_that_drop_all__ends_in_time(development, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(connecting.time, "monotonic", lambda: clock[0])
    addresses = [f"93.184.216.{number}" for number in range(100)]
    monkeypatch.setattr(
        connecting,
        "getaddrinfo",
        lambda host, port, **_: [(0, 0, 0, "", (address, port)) for address in addresses],
    )
    tried: list[str] = []

    def connect(self: Any, host: str, port: int, timeout: float, *rest: Any) -> Any:
        tried.append(host)
        clock[0] += timeout
        raise sending.httpcore.ConnectTimeout("nobody answers")

    monkeypatch.setattr(connecting.httpcore.SyncBackend, "connect_tcp", connect)
    outcome = sending.post("https://many.example.com/", headers={}, body=b"")
    assert "Timeout" in outcome.error
    assert tried
    assert clock[0] <= sending.MOST_SECONDS


def test_deliver__one_letter_makes_the_sender_fail__others_are_told_and_it_is_counted(
    enterprise, receiver, monkeypatch
):
    add_webhook(enterprise, receiver.url)
    odd = add_webhook(enterprise, "https://odd.example.com/")
    usual = sending.post

    def post(url: str, **letter: Any) -> sending.Outcome:
        if "odd" in url:
            raise UnicodeError("what a name")
        return usual(url, **letter)

    monkeypatch.setattr(sending, "post", post)
    notify(enterprise)
    assert deliver() == 2
    assert len(receiver.got) == 1
    failed, told = sorted(
        deliveries(enterprise), key=lambda each: each.endpoint_id != odd.endpoint.pk
    )
    assert (told.status, failed.status) == ("delivered", "pending")
    assert failed.claim is None
    assert "UnicodeError" in endpoint_of(odd).last_error


def test_post__nobody_listens__is_told(development):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        outcome = sending.post(f"http://127.0.0.1:{port}/", headers={}, body=b"")
    assert "ConnectError" in outcome.error


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "fec0::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:7f00:1::80ff:fffe",
    ],
)
def test_post__host_leads_to_a_private_address__is_not_connected(address, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(
        connecting,
        "getaddrinfo",
        lambda host, port, **_: asked.append(host) or [(0, 0, 0, "", (address, port))],
    )
    connected: list[str] = []
    monkeypatch.setattr(
        connecting.httpcore.SyncBackend, "connect_tcp", lambda self, *a, **k: connected.append(a[0])
    )
    outcome = sending.post("https://innocent.example.com/", headers={}, body=b"")
    assert asked == ["innocent.example.com"]
    assert connected == []
    assert "private address" in outcome.error


def test_post__one_of_several_addresses_is_private__none_is_called(monkeypatch):
    monkeypatch.setattr(
        connecting,
        "getaddrinfo",
        lambda host, port, **_: [(0, 0, 0, "", (ip, port)) for ip in ("93.184.216.34", "10.0.0.1")],
    )
    assert "private" in sending.post("https://mixed.example.com/", headers={}, body=b"").error


def test_post__public_address__is_connected_as_it_was_checked(monkeypatch):
    # A name that answers with another address the second time gains nothing: it is asked once.
    answers = ["93.184.216.34", "127.0.0.1"]
    monkeypatch.setattr(
        connecting, "getaddrinfo", lambda host, port, **_: [(0, 0, 0, "", (answers.pop(0), port))]
    )
    connected: list[Any] = []

    def connect(self: Any, host: str, port: int, *rest: Any) -> Any:
        connected.append((host, port))
        raise sending.httpcore.ConnectError("far away")

    monkeypatch.setattr(connecting.httpcore.SyncBackend, "connect_tcp", connect)
    sending.post("https://rebinding.example.com:8443/", headers={}, body=b"")
    assert connected == [("93.184.216.34", 8443)]


@pytest.mark.parametrize(
    ("url", "environment", "allowed"),
    [
        ("https://example.com/hooks", "production", True),
        ("https://example.com:8443/hooks?a=1", "production", True),
        ("https://[2606:2800:220:1::1]/", "production", True),
        ("http://example.com/hooks", "production", False),
        ("http://localhost:9000/", "production", False),
        ("http://localhost:9000/", "development", True),
        ("http://example.com/", "development", False),
        ("https://127.0.0.1/", "production", False),
        ("https://[::1]/", "production", False),
        ("https://169.254.169.254/latest/meta-data", "production", False),
        ("https://user:pass@example.com/", "production", False),
        ("https://example.com/#part", "production", False),
        ("https:///nowhere", "production", False),
        ("https://example.com:port/", "production", False),
        ("https://exam ple.com/", "production", False),
        ("https://example.com:99999/", "production", False),
        ("https://xn--a/", "production", False),
        ("https://[v1.x]/", "production", False),
        ("https://[::1%25lo]/", "production", False),
        ("https://[fec0::1]/", "production", False),
        ("https://[64:ff9b::808:808]/", "production", True),
        ("https://example.com/\r\nX: y", "production", False),
        ("ftp://example.com/", "production", False),
        ("javascript:alert(1)", "production", False),
    ],
)
def test_url__of_an_endpoint__is_taken_or_refused(url, environment, allowed, settings):
    settings.ENVIRONMENT = environment
    assert (sending.url_fault(url) == "") is allowed


def test_secret__stored__is_sealed_and_opens_for_its_own_endpoint_only(enterprise, receiver):
    one, other = add_webhook(enterprise, receiver.url), add_webhook(enterprise, receiver.url)
    assert one.secret not in one.endpoint.sealed_secret
    with operator_scope():
        WebhookEndpoint.objects.filter(pk=one.endpoint.pk).update(
            sealed_secret=other.endpoint.sealed_secret
        )
    notify(enterprise)
    assert deliver() == 2
    assert len(receiver.got) == 1
    assert "cannot be opened" in endpoint_of(one).last_error


def test_reseal__another_key_comes_first__secrets_are_sealed_with_it(
    enterprise, receiver, settings
):
    made = add_webhook(enterprise, receiver.url)
    new_key = "fresh:" + base64.b64encode(os.urandom(32)).decode()
    settings.ENCRYPTION_KEYS = [new_key, *settings.ENCRYPTION_KEYS]
    with operator_scope():
        assert operations.reseal_secrets(now=timezone.now()) >= 1
        assert operations.reseal_secrets(now=timezone.now()) == 0
    assert endpoint_of(made).sealed_secret.startswith("sealed:fresh:")
    settings.ENCRYPTION_KEYS = [new_key]
    with operator_scope():
        assert operations.secrets_in_force(endpoint_of(made), timezone.now()) == [made.secret]
        WebhookEndpoint.objects.all().delete()


def test_purge__waited_for_a_month__is_a_dead_letter_that_can_be_replayed(enterprise, receiver):
    made = add_webhook(enterprise, receiver.url)
    with operator_scope():
        operations.pause_endpoints(endpoints=[made.endpoint], reason="asked to")
        for days in (29, 31):
            notify(enterprise, trip_id=str(days))
            late = WebhookDelivery.objects.filter(enterprise=enterprise).latest("id")
            late.next_attempt_at = timezone.now() - timedelta(days=days)
            late.save()
        operations.purge_deliveries(now=timezone.now())
    waits, dead = deliveries(enterprise)
    assert (waits.status, dead.status) == ("pending", "dead")
    assert "30 days" in dead.last_error
    with tenant_scope(enterprise.ref):
        operations.replay_delivery(delivery=dead, now=timezone.now())
    with operator_scope():
        operations.purge_deliveries(now=timezone.now())
    assert [each.status for each in deliveries(enterprise)] == ["pending", "pending"]


def test_replay__endpoint_is_disabled__is_refused(enterprise, development):
    with receiving(saying(410)) as gone:
        made = add_webhook(enterprise, gone.url)
        notify(enterprise)
        deliver()
    (dead,) = deliveries(enterprise)
    with (
        tenant_scope(enterprise.ref),
        pytest.raises(operations.NotReplayable, match="disabled"),
    ):
        operations.replay_delivery(delivery=dead, now=timezone.now())
    with operator_scope():
        operations.resume_endpoints(endpoints=[made.endpoint])
        operations.replay_delivery(delivery=dead, now=timezone.now())
    assert [each.status for each in deliveries(enterprise)] == ["pending"]


def test_change__endpoint_is_gone_meanwhile__is_refused(enterprise, receiver):
    made = add_webhook(enterprise, receiver.url)
    gone = endpoint_of(made)
    with tenant_scope(enterprise.ref):
        operations.remove_endpoint(endpoint=made.endpoint, version=1)
    for change in (operations.change_endpoint, operations.remove_endpoint):
        with tenant_scope(enterprise.ref), pytest.raises(StaleVersion) as stale:
            change(endpoint=gone, version=1)
        assert "gone" in stale.value.errors[0].detail


def test_reseal__old_secret_has_ended__is_forgotten(enterprise, receiver):
    made = add_webhook(enterprise, receiver.url)
    with tenant_scope(enterprise.ref):
        operations.rotate_secret(endpoint=made.endpoint, overlap_hours=1, now=timezone.now())
    with operator_scope():
        operations.reseal_secrets(now=timezone.now())
        assert endpoint_of(made).old_sealed_secret
        operations.reseal_secrets(now=timezone.now() + timedelta(hours=2))
    ended = endpoint_of(made)
    assert (ended.old_sealed_secret, ended.old_secret_until) == ("", None)


def test_purge__old_deliveries__go_and_waiting_ones_stay(enterprise, receiver):
    add_webhook(enterprise, receiver.url)
    for _ in range(4):
        notify(enterprise)
    now = timezone.now()
    waiting, delivered, dead, lately = deliveries(enterprise)
    del waiting
    for delivery, status, days in (
        (delivered, "delivered", 31),
        (dead, "dead", 91),
        (lately, "dead", 31),
    ):
        with operator_scope():
            WebhookDelivery.objects.filter(pk=delivery.pk).update(
                status=status, finished_at=now - timedelta(days=days)
            )
    with operator_scope():
        assert operations.purge_deliveries(now=now) == 2
    assert [each.status for each in deliveries(enterprise)] == ["pending", "dead"]
