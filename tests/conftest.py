"""Fixtures of the whole suite.

Tests write and commit as the real roles do, so that row-level security, triggers and
notifications are the real ones. They keep apart as tenants do: each makes its own enterprises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.cache import cache
from django.db import connections
from django.test import Client
from hypothesis import HealthCheck, settings

from apps.flags.recording import recorder
from apps.layovers import open_meteo
from apps.layovers.hits import hits
from apps.tenants.models import Enterprise
from layoverhq.remote import RemoteClient, RemoteFault
from layoverhq.snapshot import listener
from layoverhq.tenancy import operator_scope
from tests.servers import ENDPOINTS
from tests.tenants import factories

# A slow machine is no defect of what is tested.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def _database(django_db_blocker: Any) -> Iterator[None]:
    """Allow the database everywhere; the workers' copies keep tests apart."""
    django_db_blocker.unblock()
    yield
    recorder.stop()
    hits.flush()
    listener.stop()
    for connection in connections.all():
        connection.close()


@pytest.fixture(scope="session", autouse=True)
def _own_weather() -> Iterator[None]:
    """Let nobody ask the real weather service, whatever a flag says."""

    class LocalClient(RemoteClient):
        def __init__(self, base_url: str, *args: Any, **options: Any) -> None:
            if "//127.0.0.1:" not in base_url:
                raise RemoteFault("not_asked", "Tests have a weather service of their own.")
            super().__init__(base_url, *args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(open_meteo, "RemoteClient", LocalClient)
        yield


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Leave no transaction open and no cache filled."""
    yield
    for connection in connections.all(initialized_only=True):
        assert not connection.in_atomic_block, f"{connection.alias} is left in a transaction"
    cache.clear()


@pytest.fixture
def enterprise() -> Enterprise:
    return factories.make_enterprise()


@pytest.fixture
def other_enterprise() -> Enterprise:
    return factories.make_enterprise()


@pytest.fixture
def api(enterprise: Enterprise) -> Client:
    """A client that calls with a key of `enterprise` that has every scope."""
    return factories.make_client(enterprise)


@pytest.fixture
def operator() -> Iterator[None]:
    """Run the test with the operator's role, as the admin does."""
    with operator_scope():
        yield


@pytest.fixture
def app_role() -> Iterator[psycopg.Connection[Any]]:
    """A bare connection of the runtime role, without a context."""
    options = connections["default"].settings_dict
    with psycopg.connect(
        ENDPOINTS.url("layoverhq_app", options["NAME"]), autocommit=True
    ) as connection:
        yield connection


@pytest.fixture
def admin_client() -> Client:
    """A client that is logged in to the admin as a superuser."""
    return factories.make_admin_client()
