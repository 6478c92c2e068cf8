"""Writers of the same keys wait for each other, in one order, and write what holds then."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.operations import Proposal, expire_values
from apps.tenants.models import Enterprise
from layoverhq.tenancy import OPERATOR, operator_scope
from tests.configs.factories import declare, draft, publish
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants import factories

NOW = timezone.now()


@pytest.fixture
def key() -> ConfigKey:
    return declare()


def history(key: ConfigKey) -> list[tuple[Any, ...]]:
    """Return version, status, value and end of all that the platform had, oldest first."""
    with operator_scope():
        versions = SystemConfig.objects.of(key.key, None).order_by("version")
        return list(versions.values_list("version", "status", "value", "expires_at"))


def expire(hours: int) -> None:
    with operator_scope():
        expire_values(now=NOW + timedelta(hours=hours))


def at(hours: int) -> datetime:
    return NOW + timedelta(hours=hours)


def test_draft_change_set__same_keys_in_opposite_orders__none_locks_the_other_out() -> None:
    enterprises = [factories.make_enterprise() for _ in range(40)]
    keys = [declare().key for _ in range(4)]
    proposals = [Proposal(key, 1, each) for key in keys for each in (*enterprises, None)]
    start = threading.Barrier(2)

    def write(mine: list[Proposal]) -> None:
        try:
            for _ in range(5):
                start.wait(timeout=30)
                draft(*mine)
        finally:
            connections[OPERATOR].close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write, proposals), pool.submit(write, proposals[::-1])]:
            done.result(timeout=60)
    with operator_scope():
        assert SystemConfig.objects.filter(config_key__in=keys).count() == 10 * len(proposals)


def test_expire_values__another_writer_is_at_it__waits_and_leaves_what_that_one_wrote(
    key: ConfigKey,
) -> None:
    publish(Proposal(key.key, 1), expires_at=at(1))

    def run() -> None:
        try:
            expire(2)
        finally:
            connections[OPERATOR].close()

    with roles.connect_as(roles.OPERATOR) as writer, ThreadPoolExecutor(1) as pool:
        with writer.transaction():
            writer.execute("select lock_config(%s, null)", [key.key])
            done = pool.submit(run)
            until(lambda: waiting(writer))
            writer.execute(
                "update system_configs set status = 'superseded' where key = %s", [key.key]
            )
            writer.execute(
                "insert into system_configs (key, value, status) values (%s, '2', 'active')",
                [key.key],
            )
        done.result(timeout=30)
    assert history(key) == [(1, "superseded", 1, at(1)), (2, "active", 2, None)]


def waiting(connection: psycopg.Connection[Any]) -> bool:
    """Return whether somebody waits for a turn that this connection holds."""
    row = connection.execute(
        "select exists (select from pg_locks where locktype = 'advisory' and not granted"
        " and pg_backend_pid() = any (pg_blocking_pids(pid)))"
    ).fetchone()
    return bool(row and row[0])


def test_expire_values__what_it_replaced_is_over_too__goes_further_back(key: ConfigKey) -> None:
    publish(Proposal(key.key, 1))
    publish(Proposal(key.key, 2), expires_at=at(1))
    publish(Proposal(key.key, 3), expires_at=at(2))
    expire(3)
    assert history(key)[-1] == (4, "active", 1, None)


def test_expire_values__what_it_replaced_has_an_end__ends_then(key: ConfigKey) -> None:
    publish(Proposal(key.key, 1))
    publish(Proposal(key.key, 2), expires_at=at(5))
    publish(Proposal(key.key, 3), expires_at=at(2))
    expire(3)
    assert history(key)[-1] == (4, "active", 2, at(5))
    expire(6)
    assert history(key)[-1] == (5, "active", 1, None)
    expire(9)
    assert len(history(key)) == 5


def test_expire_values__two_beats__end_it_once(key: ConfigKey, enterprise: Enterprise) -> None:
    publish(Proposal(key.key, 1), Proposal(key.key, 7, enterprise), expires_at=at(1))
    start = threading.Barrier(2)

    def run() -> None:
        try:
            start.wait(timeout=30)
            expire(2)
        finally:
            connections[OPERATOR].close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run), pool.submit(run)]:
            done.result(timeout=30)
    with operator_scope():
        versions = SystemConfig.objects.filter(config_key=key)
        assert sorted(versions.values_list("status", "unset", "version")) == [
            ("active", True, 2),
            ("active", True, 2),
            ("superseded", False, 1),
            ("superseded", False, 1),
        ]
