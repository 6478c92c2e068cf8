"""Is the process there, and can it serve?"""

from __future__ import annotations

import threading

import pytest
from django.db import connections
from django.test import Client

from layoverhq import health
from layoverhq.snapshot import Listener
from tests.isolation import roles

PARTS = {"database", "cache", "migrations", "listener"}


@pytest.fixture
def client() -> Client:
    return Client()


def test_healthz__always__asks_nothing_of_anybody(client, monkeypatch):
    monkeypatch.setattr(health, "CHECKS", {"database": pytest.fail})
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "no-cache" in response.headers["Cache-Control"]


def test_readyz__all_well__says_so_of_each_part(client):
    response = client.get("/readyz")
    assert response.json() == {"status": "ok", "checks": dict.fromkeys(PARTS, "ok")}
    assert response.status_code == 200


def assert_only(response, failing: str, told: str) -> None:
    assert response.status_code == 503
    body = response.json()
    assert body["status"] == "unavailable"
    assert body["checks"] == {**dict.fromkeys(PARTS, "ok"), failing: told}
    assert "127.0.0.1" not in response.content.decode()


def test_readyz__cache_down__is_503_and_says_which(client, settings):
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    }
    assert_only(client.get("/readyz"), "cache", "unavailable")


@pytest.mark.parametrize("alias", ["default", "operator"])
def test_readyz__a_roles_connection_down__is_503(client, alias):
    wrapper = connections[alias]
    port = wrapper.settings_dict["PORT"]
    wrapper.close()
    wrapper.settings_dict["PORT"] = "1"
    try:
        response = client.get("/readyz")
    finally:
        wrapper.close()
        wrapper.settings_dict["PORT"] = port
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "unavailable"
    assert "127.0.0.1" not in response.content.decode()
    assert client.get("/readyz").status_code == 200


def test_readyz__migration_missing__is_503_and_names_the_app(client):
    with roles.connect_as(roles.OWNER) as owner:
        rows = owner.execute(
            "delete from django_migrations where app = 'trips' returning app, name, applied"
        ).fetchall()
        try:
            response = client.get("/readyz")
        finally:
            owner.cursor().executemany(
                "insert into django_migrations (app, name, applied) values (%s, %s, %s)", rows
            )
    assert response.status_code == 503
    assert (
        response.json()["checks"]["migrations"]
        == f"{len(rows)} not applied, the first is trips.0001_travellers"
    )


def test_readyz__listener_down__is_503(client, monkeypatch):
    class Never(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return False

    silent = Listener()
    silent.connected = Never()
    monkeypatch.setattr(silent, "start", lambda: None)
    monkeypatch.setattr(health, "listener", silent)
    assert_only(client.get("/readyz"), "listener", "not connected")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health__posted_to__is_405(client, path):
    assert client.post(path).status_code == 405
    assert client.head(path).status_code == 200
