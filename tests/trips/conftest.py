from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from apps.tenants import moving
from apps.tenants.models import Enterprise
from tests.flights.factories import Shop
from tests.isolation import roles


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A route and day of the test's own."""
    opened = Shop()
    yield opened
    opened.close()


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The moves that would have been sent to the worker."""
    sent: list[str] = []
    monkeypatch.setattr(
        moving.current_app, "send_task", lambda name, kwargs: sent.append(kwargs.get("move_id", ""))
    )
    return sent


@pytest.fixture
def tidy(enterprise: Enterprise) -> Iterator[None]:
    """Leave no own schema of the test's enterprise."""
    yield
    with roles.connect_as(roles.OWNER) as owner:
        name = sql.Identifier(enterprise.schema_name)
        owner.execute(sql.SQL("drop schema if exists {} cascade").format(name))
