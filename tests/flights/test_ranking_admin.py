"""Choices and rankers in the admin: read, compared, put to use and taken back with a reason."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, Permission
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from kombu import Connection

from apps.audit.models import AuditEvent
from apps.configs.runtime import override_config
from apps.flights import tasks
from apps.flights.models import OfferChoice, RankerVersion
from apps.flights.weights import COMPONENTS, SCORE_VERSION
from apps.tenants.models import Enterprise
from layoverhq.celery import app as celery
from layoverhq.tenancy import operator_scope
from tests.flights.choosing import keep, make_choices, simulated
from tests.flights.test_rankers import PLANTED, plant_version, trained, versions
from tests.kernel.test_celery import work
from tests.tenants import factories

CHOICES = "/admin/flights/offerchoice/"
RANKERS = "/admin/flights/rankerversion/"
REASON = "Because of a test"
DIALOG = {"_form_submitted": "True", "reason": REASON}
Status = RankerVersion.Status


def body(response: HttpResponse) -> str:
    """Return a page's text, with its whitespace folded."""
    assert response.status_code == 200, response
    return re.sub(r"\s+", " ", response.content.decode())


def page(version: RankerVersion) -> str:
    return reverse("admin:flights_rankerversion_change", args=[version.pk])


def verb(version: RankerVersion, name: str) -> str:
    return f"{RANKERS}{version.pk}/{name}/"


def client_with(*codenames: str) -> Client:
    user = factories.make_operator(superuser=False)
    with operator_scope():
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="flights", codename__in=codenames)
        )
    return factories.make_admin_client(user)


def reasons(version: RankerVersion) -> list[str]:
    with operator_scope():
        events = AuditEvent.objects.about("ranker_versions", version.pk).order_by("at", "id")
        return [event.reason for event in events if event.operation == "UPDATE"]


def offered(client: Client, version: RankerVersion) -> set[str]:
    """Return the verbs that the page of a version leads to."""
    return set(re.findall(rf'{version.pk}/([a-z-]+)/"', body(client.get(page(version)))))


def test_choices__list__shows_the_window_with_the_hubs_chosen(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    make_choices(enterprise, ["DEN", "DEN", "ORD", None])
    make_choices(enterprise, ["SEA"], days_ago=8)
    make_choices(other_enterprise, ["EWR"])
    response = admin_client.get(f"{CHOICES}?enterprise={enterprise.slug}")
    text = body(response)
    assert len(response.context["cl"].result_list) == 4
    chosen = response.context["hubs_chosen"]
    assert chosen["rows"] == [("DEN", 2), ("ORD", 1), ("nonstop", 1)]
    assert "4 choices in the list" in text
    assert "SEA" not in text
    assert "EWR" not in text
    long_ago = (timezone.now() - timedelta(days=8)).date()
    older = admin_client.get(f"{CHOICES}?enterprise={enterprise.slug}&day={long_ago}")
    assert older.context["hubs_chosen"]["rows"] == [("SEA", 1)]


@pytest.mark.parametrize(("hub", "number"), [("den", 2), ("nonstop", 1), ("SFO", 0)])
def test_choices__each_number_of_the_chart__leads_to_its_list(
    admin_client: Client, enterprise: Enterprise, hub: str, number: int
) -> None:
    make_choices(enterprise, ["DEN", "DEN", None])
    response = admin_client.get(f"{CHOICES}?enterprise={enterprise.slug}&hub={hub}")
    assert len(response.context["cl"].result_list) == number
    assert ("No choices in the list" in body(response)) == (number == 0)


@pytest.mark.parametrize("query", ["day=x", "day=9999-12-31", "day=0001-01-01", "hub=%00", "p=x"])
def test_choices__bad_input__is_never_a_fault(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{CHOICES}?{query}", follow=True).status_code == 200


def test_choice_page__components__stand_beside_those_not_chosen(
    admin_client: Client, enterprise: Enterprise
) -> None:
    chosen = [0.125, 1.0, None, 1.0, 1.0, None]
    keep(enterprise, [(uuid4(), "DEN", chosen, [[0.875, 0.0, None, 1.0, 0.25, None]])])
    with operator_scope():
        choice = OfferChoice.objects.get(enterprise=enterprise)
    url = reverse("admin:flights_offerchoice_change", args=[choice.pk])
    text = body(admin_client.get(url))
    assert "0.125" in text
    assert "0.875" in text
    for name in ("add", "change", "delete"):
        arguments = [] if name == "add" else [choice.pk]
        address = reverse(f"admin:flights_offerchoice_{name}", args=arguments)
        assert admin_client.post(address, {"post": "yes"}).status_code == 403
    with operator_scope():
        assert OfferChoice.objects.filter(pk=choice.pk).exists()


def test_rankers__list_and_page__compare_with_the_configured_weights(
    admin_client: Client, enterprise: Enterprise
) -> None:
    keep(enterprise, simulated(PLANTED, choices=300))
    with override_config({"ranking.training_choices": 50}):
        version = trained(enterprise)
    assert version is not None
    listed = body(admin_client.get(f"{RANKERS}?enterprise={enterprise.slug}"))
    assert enterprise.name in listed
    assert version.note in listed
    text = body(admin_client.get(page(version)))
    assert f"{100 * version.weights['city']:.1f} %" in text
    assert f"{version.log_loss:.4f}" in text
    assert f"{version.configured_log_loss:.4f}" in text
    assert f"{100 * version.configured_top_1:.1f} %" in text
    # The feature is off here: nobody is ranked by it, which the page says.
    assert "features.experimental_ml is off" in text


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"score_version": SCORE_VERSION + 1}, "formula"),
        ({"trained_at": timezone.now() - timedelta(days=15)}, "15 days ago"),
        ({"status": Status.CANDIDATE}, ""),
    ],
)
def test_ranker_page__that_ranks_nobody__says_why(
    admin_client: Client, enterprise: Enterprise, fields: dict[str, Any], told: str
) -> None:
    version = plant_version(enterprise, **fields)
    with override_config({"features.experimental_ml": True}, tenant=enterprise):
        text = body(admin_client.get(page(version)))
    assert ("nobody is ranked by it" in text) == bool(told)
    assert told.replace("15", "14") in text


def test_rankers__filters__keep_what_they_name(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    active = plant_version(enterprise)
    plant_version(enterprise, status=Status.REJECTED)
    plant_version(other_enterprise)
    found = admin_client.get(f"{RANKERS}?enterprise={enterprise.slug}&status=active")
    assert [each.pk for each in found.context["cl"].result_list] == [active.pk]
    none = admin_client.get(f"{RANKERS}?enterprise={enterprise.slug}&status=retired")
    assert body(none)
    assert list(none.context["cl"].result_list) == []


def test_rankers__none_yet__says_what_one_is_and_how_far_enterprises_are(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    keep(enterprise, simulated(PLANTED, choices=40))
    keep(other_enterprise, simulated(PLANTED, choices=70))
    # What was shown alone is nothing to learn from.
    make_choices(enterprise, ["DEN"] * 3)
    with (
        override_config({"ranking.training_choices": 60}),
        override_config({"features.experimental_ml": True}, tenant=other_enterprise),
        patch("apps.flights.admin.ranking.ENTERPRISES_SHOWN", 1_000),
    ):
        text = body(admin_client.get(f"{RANKERS}?enterprise={enterprise.slug}"))
    assert "No ranker is like that" in text
    assert "It takes 60 such choices" in text
    assert "Create a new item" not in text
    cells = r"</a></td>" + r" <td[^>]*>([^<]*)</td>" * 4
    assert re.search(enterprise.name + cells, text).groups() == ("40", "20", "off", "off")
    assert re.search(other_enterprise.name + cells, text).groups() == ("70", "0", "on", "off")
    plant_version(enterprise)
    listed = body(admin_client.get(f"{RANKERS}?enterprise={enterprise.slug}"))
    assert "It takes" not in listed


def test_activate__dialog__replaces_with_the_operators_reason(enterprise: Enterprise) -> None:
    first, second = plant_version(enterprise), plant_version(enterprise, status=Status.CANDIDATE)
    client = client_with("view_rankerversion", "change_rankerversion")
    assert offered(client, second) >= {"activate", "retire", "train-anew"}
    response = client.post(verb(second, "activate"), DIALOG, follow=True)
    assert "Activated “Ranker" in body(response)
    assert [each.status for each in versions(enterprise)] == [Status.RETIRED, Status.ACTIVE]
    assert reasons(first) == reasons(second) == [REASON]
    assert REASON in body(client.get(page(second)))


def test_roll_back__dialog__uses_the_one_before(
    admin_client: Client, enterprise: Enterprise
) -> None:
    an_hour_ago = timezone.now() - timedelta(hours=1)
    first = plant_version(enterprise, status=Status.RETIRED, activated_at=an_hour_ago)
    second = plant_version(enterprise)
    assert offered(admin_client, second) >= {"roll-back", "retire"}
    response = admin_client.post(verb(second, "roll-back"), DIALOG, follow=True)
    assert "Rolled back “Ranker" in body(response)
    assert [each.status for each in versions(enterprise)] == [Status.ACTIVE, Status.RETIRED]
    assert reasons(first) == reasons(second) == [REASON]


def test_retire__dialog__leaves_the_configured_weights(
    admin_client: Client, enterprise: Enterprise
) -> None:
    version = plant_version(enterprise)
    # Nothing was in use before it.
    assert "roll-back" not in offered(admin_client, version)
    assert admin_client.get(verb(version, "retire")).status_code in (200, 302, 405)
    assert versions(enterprise)[0].status == Status.ACTIVE
    unexplained = admin_client.post(verb(version, "retire"), {**DIALOG, "reason": ""})
    assert "This field is required" in unexplained.content.decode()
    assert versions(enterprise)[0].status == Status.ACTIVE, "a reason is needed"
    response = admin_client.post(verb(version, "retire"), DIALOG, follow=True)
    assert "Retired “Ranker" in body(response)
    assert [each.status for each in versions(enterprise)] == [Status.RETIRED]
    assert reasons(version) == [REASON]


def test_activate__what_nobody_would_be_ranked_by__is_refused_in_words(
    admin_client: Client, enterprise: Enterprise
) -> None:
    version = plant_version(
        enterprise, status=Status.RETIRED, trained_at=timezone.now() - timedelta(days=20)
    )
    response = admin_client.post(verb(version, "activate"), DIALOG, follow=True)
    assert "trained more than 14 days ago" in body(response)
    assert versions(enterprise)[0].status == Status.RETIRED
    rejected = plant_version(enterprise, status=Status.REJECTED)
    assert offered(admin_client, rejected) & {"activate", "retire", "roll-back"} == set()
    admin_client.post(verb(rejected, "activate"), DIALOG, follow=True)
    assert [each.status for each in versions(enterprise)] == [Status.RETIRED, Status.REJECTED]


@pytest.mark.parametrize("name", ["activate", "retire", "roll-back", "train-anew"])
def test_verbs__who_may_only_look__are_refused(enterprise: Enterprise, name: str) -> None:
    version = plant_version(enterprise, status=Status.CANDIDATE)
    client = client_with("view_rankerversion")
    assert offered(client, version) & {name} == set()
    assert client.post(verb(version, name), DIALOG).status_code == 403
    assert client.post(f"{RANKERS}train/", DIALOG).status_code == 403
    assert versions(enterprise)[0].status == Status.CANDIDATE


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the admin queues, instead of a broker."""
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        "apps.flights.admin.ranking.enqueue",
        lambda task, **options: found.append((task, options["kwargs"])),
    )
    return found


def test_train_now__enough_choices__queues_what_the_task_understands(
    admin_client: Client, enterprise: Enterprise, queued: list[tuple[str, dict[str, Any]]]
) -> None:
    keep(enterprise, simulated(PLANTED, choices=200))
    response = admin_client.post(
        f"{RANKERS}train/", {**DIALOG, "enterprise": enterprise.slug}, follow=True
    )
    assert "Queued a training on 200 choices" in body(response)
    ((task, kwargs),) = queued
    assert task == tasks.train_ranker.name
    tasks.train_ranker(**kwargs)
    (version,) = versions(enterprise)
    # Nothing is new, and an operator asks all the same.
    again = admin_client.post(verb(version, "train-anew"), DIALOG, follow=True)
    assert "Queued a training on 200 choices" in body(again)
    tasks.train_ranker(**queued[-1][1])
    assert len(versions(enterprise)) == 2


def test_train_now__worker__writes_the_operators_name_and_reason(
    enterprise: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(enterprise, simulated(PLANTED, choices=200))
    user = factories.make_operator()
    with Connection("memory://") as broker:
        send = partial(celery.send_task, connection=broker, queue="celery")
        monkeypatch.setattr("layoverhq.model_admin.current_app", SimpleNamespace(send_task=send))
        factories.make_admin_client(user).post(
            f"{RANKERS}train/", {**DIALOG, "enterprise": enterprise.slug}
        )
        with broker.SimpleQueue("celery") as queue:
            message = queue.get(block=True, timeout=5)
            message.ack()
    _, kwargs, _ = message.payload
    work(tasks.train_ranker, message.headers, **kwargs)
    (version,) = versions(enterprise)
    with operator_scope():
        (event,) = AuditEvent.objects.about("ranker_versions", version.pk)
    assert (event.operation, event.reason, event.user_id) == ("INSERT", REASON, user.pk)


def test_train_now__too_few_or_nobody__is_refused_and_queues_nothing(
    admin_client: Client, enterprise: Enterprise, queued: list[tuple[str, dict[str, Any]]]
) -> None:
    few = admin_client.post(
        f"{RANKERS}train/", {**DIALOG, "enterprise": enterprise.slug}, follow=True
    )
    assert "There are 0 choices" in body(few)
    shared = admin_client.post(f"{RANKERS}train/", DIALOG, follow=True)
    assert "that share theirs" in body(shared)
    nobody = admin_client.post(f"{RANKERS}train/", {**DIALOG, "enterprise": "nobody-here"})
    assert "There is no" in nobody.content.decode()
    assert queued == []


def test_groups__are_seeded_with_what_the_pages_ask_for() -> None:
    with operator_scope():
        found = {
            group.name: set(group.permissions.values_list("codename", flat=True))
            for group in Group.objects.filter(name__startswith="Ranking ")
        }
    view = {"view_offerchoice", "view_rankerversion"}
    assert found == {
        "Ranking viewers": view,
        "Ranking operators": view | {"change_rankerversion"},
    }


def test_ranker_page__shared_version__names_how_many_share(admin_client: Client) -> None:
    version = plant_version(
        None, enterprises=3, weights=dict.fromkeys(COMPONENTS, 0.16), status=Status.CANDIDATE
    )
    try:
        assert "3 enterprises that share" in body(admin_client.get(page(version)))
    finally:
        with operator_scope():
            RankerVersion.objects.filter(pk=version.pk).delete()
