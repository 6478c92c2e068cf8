"""Months are made ahead and dropped behind, by the policy of each parent alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
import structlog
from psycopg import errors

from layoverhq import tasks
from tests.isolation import roles


@pytest.fixture
def operator() -> Iterator[psycopg.Connection[Any]]:
    """The operator's role, in a transaction that is undone, with a parent of the test's own.

    Other parents are set aside: the test's months lie decades ahead.
    """
    with roles.connect_as_superuser() as connection, roles.undone(connection):
        connection.execute("set local role layoverhq_owner")
        connection.execute("update partition_policies set months_kept = null")
        connection.execute(
            "create table public.readings ("
            " at timestamptz not null, value int not null check (value > 0), primary key (at)"
            ") partition by range (at)"
        )
        connection.execute("create index readings_value on public.readings (value)")
        connection.execute("grant select, insert on public.readings to layoverhq_operator")
        connection.execute("insert into partition_policies values ('readings', 2, 1)")
        connection.execute("set local role layoverhq_operator")
        yield connection


def maintain(operator: psycopg.Connection[Any], anchor: str) -> list[tuple[str, str]]:
    """Return what was done to the test's parent."""
    return operator.execute(
        "select action, partition from maintain_partitions(%s) where partition ^@ 'readings'",
        [anchor],
    ).fetchall()


def test_maintain__first_run__makes_this_month_and_those_ahead(operator):
    assert maintain(operator, "2090-11-15") == [
        ("created", "readings_y2090m11"),
        ("created", "readings_y2090m12"),
        ("created", "readings_y2091m01"),
    ]


def test_maintain__again__does_nothing(operator):
    maintain(operator, "2090-05-31")
    assert maintain(operator, "2090-05-01") == []


@pytest.mark.parametrize("anchor", ["2090-01-31", "2096-01-30", "2090-12-31"])
def test_maintain__end_of_a_long_month__skips_none(operator, anchor):
    months = [name[-7:] for _, name in maintain(operator, anchor)]
    year, month = int(anchor[:4]), int(anchor[5:7])
    assert months == [
        f"{year + (month + ahead - 1) // 12}m{(month + ahead - 1) % 12 + 1:02}"
        for ahead in range(3)
    ]


def test_maintain__later__drops_what_is_past_its_keeping_only(operator):
    maintain(operator, "2090-05-15")
    done = maintain(operator, "2090-08-01")
    assert [name for action, name in done if action == "created"] == [
        "readings_y2090m08", "readings_y2090m09", "readings_y2090m10",
    ]  # fmt: skip
    # One month is kept: July.
    assert [name for action, name in done if action == "dropped"] == [
        "readings_y2090m05", "readings_y2090m06",
    ]  # fmt: skip


def test_maintain__kept_for_ever__drops_nothing(operator):
    maintain(operator, "2090-05-15")
    operator.execute("set local role layoverhq_owner")
    operator.execute("update partition_policies set months_kept = null")
    operator.execute("set local role layoverhq_operator")
    assert not [name for action, name in maintain(operator, "2099-01-01") if action == "dropped"]


def test_maintain__partition_of_another_shape__is_left_alone(operator):
    operator.execute("set local role layoverhq_owner")
    operator.execute(
        "create table public.readings_archive partition of public.readings"
        " for values from ('2001-01-01') to ('2002-01-01')"
    )
    operator.execute("set local role layoverhq_operator")
    assert not [name for action, name in maintain(operator, "2090-05-15") if action == "dropped"]


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_maintain__callers_time_zone__moves_no_bound(operator, zone):
    operator.execute("select set_config('timezone', %s, true)", [zone])
    maintain(operator, "2090-05-15")
    operator.execute(
        "insert into readings values"
        " ('2090-05-01 00:00:00+00', 1), ('2090-05-31 23:59:59.999999+00', 2),"
        " ('2090-06-01 00:00:00+00', 3)"
    )
    operator.execute("reset role")
    assert operator.execute(
        "select tableoid::regclass::text, value from readings order by value"
    ).fetchall() == [
        ("readings_y2090m05", 1),
        ("readings_y2090m05", 2),
        ("readings_y2090m06", 3),
    ]


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
def test_ensure__callers_time_zone__moves_no_month(operator, zone):
    operator.execute("select set_config('timezone', %s, true)", [zone])
    made = operator.execute(
        "select ensure_month_partitions('readings', '2090-05-01', '2090-06-30')"
    ).fetchall()
    assert [name for (name,) in made] == ["readings_y2090m05", "readings_y2090m06"]


def test_partition__made__has_constraints_indexes_and_no_grants(operator):
    maintain(operator, "2090-05-15")
    operator.execute("reset role")
    row = operator.execute(
        "select c.relacl, c.relowner::regrole::text,"
        " (select count(*) from pg_index i where i.indrelid = c.oid),"
        " (select count(*) from pg_constraint k where k.conrelid = c.oid and k.contype = 'c')"
        " from pg_class c where c.oid = 'readings_y2090m05'::regclass"
    ).fetchone()
    assert row == (None, "layoverhq_owner", 2, 1)


def test_insert__past_the_horizon__is_refused_not_lost(operator):
    maintain(operator, "2090-05-15")
    with pytest.raises(errors.CheckViolation, match="no partition"):
        operator.execute("insert into readings values ('2095-01-01', 1)")


@pytest.mark.parametrize("parent", ["enterprises", "nothing", "readings; drop table users", ""])
def test_ensure__parent_that_is_not_registered__is_refused(operator, parent):
    with pytest.raises(errors.RaiseException, match="not in partition_policies"):
        operator.execute("select ensure_month_partitions(%s, '2090-05-01', '2090-05-02')", [parent])


def test_policies__operator__may_change_months_ahead_only(operator):
    operator.execute("update partition_policies set months_ahead = 4 where parent = 'readings'")
    assert len(maintain(operator, "2090-05-15")) == 5
    with pytest.raises(errors.InsufficientPrivilege):
        operator.execute("update partition_policies set months_kept = 0 where parent = 'readings'")


@pytest.mark.parametrize("months", [0, -1, 61])
def test_policies__horizon_that_makes_no_sense__is_refused(operator, months):
    with pytest.raises(errors.CheckViolation):
        operator.execute("update partition_policies set months_ahead = %s", [months])


def test_task__today__leaves_every_parent_with_its_months():
    with structlog.testing.capture_logs():
        tasks.maintain_partitions()
    with roles.connect_as(roles.OPERATOR) as operator:
        policies = operator.execute(
            "select parent, months_ahead from partition_policies"
        ).fetchall()
        partitions = {
            name
            for (name,) in operator.execute(
                "select relname::text from pg_class where relispartition and relkind = 'r'"
            )
        }
    assert policies
    today = date.today()
    for parent, ahead in policies:
        for number in range(ahead + 1):
            month = today.month - 1 + number
            name = f"{parent}_y{today.year + month // 12}m{month % 12 + 1:02}"
            assert name in partitions


def test_task__unknown_arguments__are_taken():
    # A beat of the next release may send more than this worker knows.
    with structlog.testing.capture_logs():
        tasks.maintain_partitions(new_option=1)
