"""An operator's session ends without requests, as `security.session_timeout` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import time_machine
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

from apps.configs.models import ConfigKey
from apps.configs.runtime import override_config
from layoverhq.admin import sessions
from layoverhq.admin.sessions import LAG_SECONDS, UNATTENDED
from layoverhq.tenancy import operator_scope
from tests.tenants import factories

HOME = "/admin/"
START = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
HOUR = 3600


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def _an_hour() -> Iterator[None]:
    with override_config({"security.session_timeout": HOUR}):
        yield


@pytest.fixture
def session(clock: Any, admin_client: Client) -> Client:
    """A client whose first request came just now."""
    assert is_in(admin_client)
    return admin_client


def is_in(client: Client, **headers: str) -> bool:
    """Ask for the home page and return whether the session let us see it."""
    response = client.get(HOME, headers=headers)
    if response.status_code == 200:
        return True
    assert response.status_code == 302
    assert response["Location"] == "/admin/login/?next=/admin/"
    return False


def row_of(client: Client) -> Session | None:
    with operator_scope():
        key = client.cookies[settings.SESSION_COOKIE_NAME].value
        return Session.objects.filter(session_key=key).first()


@pytest.mark.parametrize(("idle", "stays"), [(HOUR - LAG_SECONDS, True), (HOUR + 1, False)])
def test_session__idle__lives_as_long_as_the_timeout(
    session: Client, clock: Any, idle: int, stays: bool
) -> None:
    clock.shift(idle)
    assert is_in(session) is stays


def test_session__requests_go_on__lives_on(session: Client, clock: Any) -> None:
    for _ in range(10):
        clock.shift(HOUR - LAG_SECONDS)
        assert is_in(session)


def test_session__last_request_left_no_write__ends_no_later(session: Client, clock: Any) -> None:
    clock.shift(LAG_SECONDS - 1)
    assert is_in(session)
    clock.shift(HOUR - LAG_SECONDS)
    assert is_in(session)
    clock.shift(HOUR + 1)
    assert not is_in(session)


def test_session__ended__is_gone_from_the_database_whatever_cookie_comes(
    session: Client, clock: Any
) -> None:
    cookie = session.cookies[settings.SESSION_COOKIE_NAME].value
    clock.shift(HOUR + 1)
    assert not is_in(session)
    with operator_scope():
        assert not Session.objects.filter(session_key=cookie).exists()
    session.cookies[settings.SESSION_COOKIE_NAME] = cookie
    assert not is_in(session)


def test_session__ended__login_page_says_so(session: Client, clock: Any) -> None:
    clock.shift(HOUR + 1)
    page = session.get("/admin/audit/auditevent/", follow=True)
    assert page.redirect_chain == [("/admin/login/?next=/admin/audit/auditevent/", 302)]
    assert b"You were away for a while" in page.content


@pytest.mark.parametrize(("timeout", "stays"), [(600, False), (2 * HOUR, True)])
def test_session__timeout_changed_meanwhile__obeys_what_holds_now(
    session: Client, clock: Any, timeout: int, stays: bool
) -> None:
    clock.shift(timeout - LAG_SECONDS if stays else timeout + 1)
    with override_config({"security.session_timeout": timeout}):
        assert is_in(session) is stays


def test_session__longest_timeout__is_not_cut_short_by_the_cookie(
    session: Client, clock: Any
) -> None:
    with operator_scope():
        longest = ConfigKey.objects.get(pk="security.session_timeout").schema["maximum"]
    with override_config({"security.session_timeout": longest}):
        clock.shift(longest - LAG_SECONDS)
        assert is_in(session)
        cookie = session.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["max-age"] == longest == settings.SESSION_COOKIE_AGE


def test_session__new_login__counts_from_the_login(clock: Any) -> None:
    operator = factories.make_operator()
    client = Client()
    words = {"username": operator.email, "password": factories.PASSWORD}
    assert client.post("/admin/login/?next=/admin/", words).status_code == 302
    clock.shift(HOUR + 1)
    assert not is_in(client)


def test_session__many_requests__one_write_a_minute(session: Client, clock: Any) -> None:
    written = {row_of(session).expire_date}  # type: ignore[union-attr]
    for _ in range(12):
        clock.shift(10)
        assert is_in(session)
        written.add(row_of(session).expire_date)  # type: ignore[union-attr]
    age = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    assert sorted(written) == [START + age + timedelta(minutes=each) for each in (0, 1, 2)]


def test_session__shortest_timeout__lags_by_a_tenth_of_it(session: Client, clock: Any) -> None:
    with override_config({"security.session_timeout": 60}):
        for _ in range(20):
            clock.shift(53)
            assert is_in(session)
        clock.shift(61)
        assert not is_in(session)


def test_session__only_the_page_asks__ends_all_the_same(session: Client, clock: Any) -> None:
    for _ in range(30):
        clock.shift(120)
        assert is_in(session, **{UNATTENDED: "true"})
    clock.shift(1)
    response = session.get(
        "/admin/health/",
        headers={
            UNATTENDED: "true",
            "HX-Request": "true",
            "HX-Current-URL": "http://testserver/admin/audit/auditevent/",
        },
    )
    # The whole page goes to the login, not the piece that asked.
    assert response.status_code == 200
    assert response.content == b""
    assert response["HX-Redirect"] == "http://testserver/admin/audit/auditevent/"
    assert not is_in(session)


def test_session__outside_the_admin__is_neither_ended_nor_kept(session: Client, clock: Any) -> None:
    before = row_of(session)
    assert before is not None
    clock.shift(HOUR + 1)
    assert session.get("/healthz").status_code == 200
    after = row_of(session)
    assert after is not None
    assert after.expire_date == before.expire_date


def test_session__configuration_unreachable__is_503_and_lets_nobody_in(
    session: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(key: str) -> Any:
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(sessions.configs, "get", away)
    response = session.get(HOME)
    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"


def test_templates__what_asks_by_itself__says_so() -> None:
    polling = [
        (path.name, tag)
        for path in (settings.BASE_DIR / "templates").rglob("*.html")
        for tag in re.split(r"\n(?=\s*<)", path.read_text())
        if re.search(r"hx-trigger=\"[^\"]*\bevery\b", tag)
    ]
    assert "offboarding.html" in {name for name, _ in polling}
    assert [name for name, tag in polling if UNATTENDED not in tag] == []
