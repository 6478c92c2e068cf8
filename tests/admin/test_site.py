"""The admin's site: who gets in, what a refusal looks like, what a page writes."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from celery import current_app
from django.contrib import admin
from django.core.cache import cache
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from django_redis.exceptions import ConnectionInterrupted
from kombu.exceptions import OperationalError

from layoverhq import admin_login
from layoverhq.errors import QueryTimeout
from layoverhq.health import CHECKS
from layoverhq.tenancy import operator_scope
from tests.tenants import factories

LOGIN = "/admin/login/?next=/admin/"


def attempt(client: Client, email: str, password: str, ip: str = "127.0.0.1") -> str:
    response = client.post(
        LOGIN, {"username": email, "password": password}, REMOTE_ADDR=ip, follow=True
    )
    return response.content.decode()


def test_login__right_password__leads_home() -> None:
    operator = factories.make_operator()
    client = Client()

    assert client.get("/admin/login/", follow=True).redirect_chain == [
        ("/admin/login/?next=%2Fadmin%2F", 302)
    ]
    assert "Latest changes" in attempt(client, operator.email.upper(), factories.PASSWORD)
    assert client.post("/admin/logout/").status_code == 200
    assert client.get("/admin/").status_code == 302


def test_login__person_of_an_enterprise__is_refused() -> None:
    enterprise = factories.make_enterprise()
    with operator_scope():
        email = f"{factories.unique('anna')}@example.com"
        type(factories.make_operator()).objects.create_user(
            email, factories.PASSWORD, enterprise=enterprise
        )

    assert "Latest changes" not in attempt(Client(), email, factories.PASSWORD)


def test_login__too_many_failures__pauses_this_email_from_this_address_only() -> None:
    operator, other = factories.make_operator(), factories.make_operator()
    for _ in range(admin_login.FAILURES_ALLOWED):
        attempt(Client(), operator.email, "wrong")

    assert "Too many wrong passwords" in attempt(Client(), operator.email, factories.PASSWORD)
    assert "Latest changes" in attempt(Client(), other.email, factories.PASSWORD)
    assert "Latest changes" in attempt(Client(), operator.email, factories.PASSWORD, ip="192.0.2.7")


def test_login__cache_down__lets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: object, **kwargs: object) -> None:
        raise ConnectionInterrupted(None)

    monkeypatch.setattr(admin_login, "cache", type("Down", (), {"get": down, "add": down})())
    operator = factories.make_operator()

    assert "Please enter the correct" in attempt(Client(), operator.email, "wrong")
    assert "Latest changes" in attempt(Client(), operator.email, factories.PASSWORD)


def test_password_change__own__is_done() -> None:
    operator = factories.make_operator()
    client = factories.make_admin_client(operator)
    words = "quite other words than before"

    client.post(
        "/admin/password_change/",
        {
            "old_password": factories.PASSWORD,
            "new_password1": words,
            "new_password2": words,
        },
    )

    with operator_scope():
        assert type(operator).objects.get(pk=operator.pk).check_password(words)


def test_home__view_only_operator__shows_no_panel_of_others() -> None:
    client = factories.make_admin_client(factories.make_operator(superuser=False))

    content = client.get("/admin/").content.decode()

    assert "Latest changes" not in content
    assert "Enterprises" not in content


def test_home__numbers__lead_to_the_lists_behind_them(admin_client: Client) -> None:
    response = admin_client.get("/admin/")

    panels = response.context["panels"]
    numbers = [*panels["enterprises"], *panels["keys"], *panels["schedules"]["numbers"]]
    for number in numbers:
        behind = admin_client.get(number["url"])
        assert behind.status_code == 200
        assert behind.context["cl"].result_count == number["value"], number
    for bar in panels["offers"]:
        assert bar["url"].endswith(f"?day={bar['day']}")


def test_health__a_check_fails__names_it_and_goes_on(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        with connections["operator"].cursor() as cursor:
            cursor.execute("select 1 / 0")

    monkeypatch.setitem(CHECKS, "database", broken)

    content = admin_client.get("/admin/health/").content.decode()

    assert "division by zero" in content
    assert "Listener" in content


def test_page__unknown_address__is_an_html_page(admin_client: Client) -> None:
    response = admin_client.get("/admin/nowhere/")

    assert response.status_code == 404
    assert b"There is no such page" in response.content


def test_page__refused_by_an_operation__shows_why_with_its_status(admin_client: Client) -> None:
    def slow(request: HttpRequest) -> HttpResponse:
        raise QueryTimeout("The query took longer than 30 s.")

    request = admin_client.get("/admin/").wsgi_request

    with operator_scope():
        response = admin.site.admin_view(slow)(request)

    assert response.status_code == 503
    assert b"took longer than 30 s" in response.content


def test_search__cache_down__is_a_page_not_a_fault(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert b"Enterprises" in admin_client.get("/admin/search/?s=enterpr").content

    def down(*args: object, **kwargs: object) -> None:
        raise ConnectionInterrupted(None)

    monkeypatch.setattr(type(cache._connections[cache._alias]), "get", down)

    assert admin_client.get("/admin/search/?s=other").status_code == 503


def test_actions__all__declare_permissions() -> None:
    for model_admin in admin.site._registry.values():
        names = [
            *(model_admin.actions or ()),
            *model_admin._extract_action_names(model_admin.actions_list),
            *model_admin._extract_action_names(model_admin.actions_detail),
            *model_admin._extract_action_names(model_admin.actions_row),
        ]
        for name in names:
            assert getattr(model_admin, name).allowed_permissions, f"{model_admin}.{name}"


# Schedules


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tasks: list[str] = []
    monkeypatch.setattr(
        type(current_app._get_current_object()),
        "send_task",
        lambda self, name, **options: tasks.append(name),
    )
    return tasks


@pytest.fixture
def schedule() -> PeriodicTask:
    with operator_scope():
        return PeriodicTask.objects.get(task="layoverhq.tasks.clear_sessions")  # type: ignore[no-any-return]


def run_url(schedule: PeriodicTask) -> str:
    return reverse("admin:django_celery_beat_periodictask_run_now", args=[schedule.pk])


def test_run_now__superuser__queues_the_task(
    admin_client: Client, schedule: PeriodicTask, sent: list[str]
) -> None:
    asked = admin_client.get(run_url(schedule))
    assert b"Queue it" in asked.content
    assert sent == []

    admin_client.post(run_url(schedule), {"_form_submitted": "1"})

    assert sent == ["layoverhq.tasks.clear_sessions"]


def test_run_now__broker_down__says_so(
    admin_client: Client, schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*args: object, **kwargs: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(type(current_app._get_current_object()), "send_task", down)

    response = admin_client.post(run_url(schedule), {"_form_submitted": "1"}, follow=True)

    assert "The task queue cannot be reached." in response.content.decode()


def test_run_now__without_permission__is_refused(schedule: PeriodicTask, sent: list[str]) -> None:
    client = factories.make_admin_client(factories.make_operator(superuser=False))

    assert client.post(run_url(schedule), {"_form_submitted": "1"}).status_code == 403
    assert sent == []


def test_switch_selected__off_and_on__is_stored(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    for action, expected in (("disable_selected", False), ("enable_selected", True)):
        admin_client.post(
            "/admin/django_celery_beat/periodictask/",
            {"action": action, "_selected_action": [schedule.pk]},
        )
        with operator_scope():
            assert PeriodicTask.objects.get(pk=schedule.pk).enabled is expected


def test_change_schedule__superuser__is_stored(
    admin_client: Client, schedule: PeriodicTask
) -> None:
    url = reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])
    assert admin_client.get(url).status_code == 200

    response = admin_client.post(
        url,
        {
            "name": schedule.name,
            "regtask": schedule.task,
            "task": schedule.task,
            "enabled": "on",
            "description": "Told anew.",
            "crontab": schedule.crontab_id,
            "args": "[]",
            "kwargs": "{}",
            "headers": "{}",
        },
    )

    assert response.status_code == 302
    with operator_scope():
        assert PeriodicTask.objects.get(pk=schedule.pk).description == "Told anew."


def test_roll_horizon__superuser__queues_the_task(admin_client: Client, sent: list[str]) -> None:
    with patch("apps.flights.admin.offers.has_inventory", return_value=True):
        admin_client.post("/admin/flights/inventoryload/roll/", {"_form_submitted": "1"})

    assert sent == ["apps.flights.tasks.roll_demo_horizon"]


def test_roll_horizon__no_demo_here__queues_nothing(admin_client: Client, sent: list[str]) -> None:
    with patch("apps.flights.admin.offers.has_inventory", return_value=False):
        admin_client.post("/admin/flights/inventoryload/roll/", {"_form_submitted": "1"})

    assert sent == []


def test_roll_horizon__without_permission__is_refused(sent: list[str]) -> None:
    client = factories.make_admin_client(factories.make_operator(superuser=False))

    response = client.post("/admin/flights/inventoryload/roll/", {"_form_submitted": "1"})

    assert response.status_code == 403
    assert sent == []


# Groups


def test_group__operator_with_all_group_permissions__may_not_change_it() -> None:
    client = factories.make_admin_client(factories.make_operator(superuser=False))

    assert client.get("/admin/auth/group/add/").status_code == 403
