"""Evaluations are counted, whoever asks and whatever happens meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import structlog
from celery import signals
from django.conf import settings

from apps.flags import recording, tasks
from apps.flags.counting import tallies
from apps.flags.counts import chart, evaluation_counts, evaluation_reasons, last_evaluated
from apps.flags.models import FeatureFlag
from apps.flags.recording import recorder
from apps.flags.runtime import flags
from apps.flags.staleness import stale_flags
from tests.flags.experimenting import make_weighed_flag, running_experiment
from tests.flags.factories import await_version, change, flag_name, fresh, make_flag
from tests.isolation import roles

pytestmark = pytest.mark.usefixtures("operator")


def told(flag: FeatureFlag) -> dict[tuple[str, str], int]:
    """Return what the database has of a flag, by variant and reason."""
    assert recorder.flush()
    now = datetime.now(UTC)
    rows = evaluation_reasons(
        flag.name, since=now - timedelta(hours=2), until=now + timedelta(hours=1)
    )
    return {(variant, reason): hits for variant, reason, hits in rows}


def planted(flag: str, at: datetime, hits: int = 1, variant: str = "on") -> None:
    with roles.connect_as_superuser() as connection:
        connection.execute(
            "select ensure_month_partitions('flag_evaluations', %(day)s, %(day)s)",
            {"day": at.date()},
        )
        connection.execute(
            "insert into flag_evaluations (hour, flag, variant, reason, hits, last_at)"
            " values (date_trunc('hour', %(at)s::timestamptz, 'UTC'), %(flag)s, %(variant)s,"
            " 'STATIC', %(hits)s, %(at)s)",
            {"at": at, "flag": flag, "variant": variant, "hits": hits},
        )


def test_evaluation__by_whatever_way__is_counted_by_variant_and_reason():
    flag = make_flag(rollout_percentage=0, conditions={})
    await_version(flag)
    for _ in range(3):
        flags.enabled(flag.name, {"user": "u"})
    flags.evaluate(flag.name, "no context")  # type: ignore[arg-type]
    assert told(flag) == {("off", "DEFAULT"): 3, ("", "ERROR"): 1}
    await_version(change(flag, rollout_percentage=100))
    flags.evaluate(flag.name, {})
    assert told(flag) == {("off", "DEFAULT"): 3, ("", "ERROR"): 1, ("on", "STATIC"): 1}
    assert told(flag) == {("off", "DEFAULT"): 3, ("", "ERROR"): 1, ("on", "STATIC"): 1}


def test_evaluation__of_an_unknown_flag__is_not_counted():
    name = flag_name()
    flags.evaluate(name, {})
    assert recorder.flush()
    assert name not in last_evaluated(since=datetime.now(UTC) - timedelta(hours=2))


def test_counts__by_threads_while_snapshots_are_swapped__lose_none():
    flag = make_flag()
    await_version(flag)

    def ask() -> None:
        for _ in range(20_000):
            flags.enabled(flag.name, {})

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(3):
        change(flag, description=f"version {number}")
        recorder.flush()
    flags.directory.forget()
    for thread in threads:
        thread.join()
    assert told(flag) == {("on", "STATIC"): 80_000}


FORK = """
import os, sys
import django
django.setup()
from apps.flags.recording import recorder
from apps.flags.runtime import flags
name = sys.argv[1]
flags.enabled(name, {})
assert recorder.flush()
flags.enabled(name, {})
if child := os.fork():
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert recorder.flush()
    os._exit(code)
# What the parent counted and has not told is the parent's.
flags.enabled(name, {})
flags.enabled(name, {})
assert recorder._thread.is_alive()
assert recorder.flush()
os._exit(7)
"""

# As the web server's processes end.
END = """
import multiprocessing, sys
import django
django.setup()
from apps.flags.runtime import flags
process = multiprocessing.get_context("fork").Process(target=flags.enabled, args=[sys.argv[1], {}])
process.start()
process.join()
flags.enabled(sys.argv[1], {})
sys.exit(process.exitcode)
"""


def run(code: str, flag: FeatureFlag) -> int:
    """Run code in a process of its own; return how it exited."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, flag.name],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "layoverhq.settings"},
        timeout=60,
        check=False,
    )
    return process.returncode


def test_counts__of_a_fork__are_told_by_each_for_itself():
    flag = make_flag()
    assert run(FORK, flag) == 7
    assert told(flag) == {("on", "STATIC"): 4}


def test_counts__of_processes_that_end__are_told():
    flag = make_flag()
    assert run(END, flag) == 0
    assert told(flag) == {("on", "STATIC"): 2}


def test_counts__database_away__wait_and_are_told_once(monkeypatch):
    flag = make_flag()
    await_version(flag)
    flags.enabled(flag.name, {})
    assert recorder.flush()
    # Nothing but this test tells anything.
    recorder.stop()

    def away() -> Any:
        raise psycopg.OperationalError("the database is away")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(recording, "connect", away)
        flags.enabled(flag.name, {})
        assert not recorder.flush()
        flags.enabled(flag.name, {})
        assert not recorder.flush()
    assert [line["event"] for line in logs if "flag" in line["event"]] == ["flag_records_wait"]
    with structlog.testing.capture_logs() as logs:
        assert told(flag) == {("on", "STATIC"): 3}
    assert [line["event"] for line in logs if "flag" in line["event"]] == ["flag_records_told"]


def test_recorder__defect_in_it__is_logged_and_does_not_end_it(monkeypatch):
    recorder.stop()
    flag = make_flag()
    await_version(flag)
    flags.enabled(flag.name, {})
    called = threading.Semaphore(0)

    def defect() -> Any:
        called.release()
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(recording, "connect", defect)
        patch.setattr(recording, "FLUSH_SECONDS", 0.01)
        recorder.start()
        assert called.acquire(timeout=10)
        # It comes again.
        assert called.acquire(timeout=10)
    recorder.stop()
    assert told(flag) == {("on", "STATIC"): 1}


def test_recorder__stopped__has_told_all_and_starts_again():
    flag = make_flag()
    await_version(flag)
    recorder.start()
    flags.enabled(flag.name, {})
    recorder.stop()
    now = datetime.now(UTC)
    assert evaluation_counts(
        flag.name, since=now - timedelta(hours=1), until=now + timedelta(hours=1), step="hour"
    )
    recorder.start()
    assert recorder._thread is not None
    assert recorder._thread.is_alive()


def test_counts__of_a_celery_process_that_ends__are_told():
    flag = make_flag()
    await_version(flag)
    flags.enabled(flag.name, {})
    assert tasks.tell_what_was_counted
    recorder.start()
    signals.worker_process_shutdown.send(sender=None)
    now = datetime.now(UTC)
    assert evaluation_reasons(
        flag.name, since=now - timedelta(hours=1), until=now + timedelta(hours=1)
    ) == [("on", "STATIC", 1)]


def test_tallies__same_answer_compiled_anew__is_the_same_tally():
    name = flag_name()
    assert tallies.of(name, "on", "STATIC") is tallies.of(name, "on", "STATIC")
    assert tallies.of(name, "on", "STATIC") is not tallies.of(name, "off", "STATIC")


def test_counts__by_hour_and_day__are_those_of_the_span():
    flag = make_flag()
    now = datetime.now(UTC).replace(hour=12, minute=30)
    planted(flag.name, now - timedelta(hours=1), 5)
    planted(flag.name, now, 7)
    planted(flag.name, now, 2, "off")
    planted(flag.name, now - timedelta(hours=20), 100)
    since, until = now - timedelta(hours=3), now + timedelta(hours=1)
    hours = evaluation_counts(flag.name, since=since, until=until, step="hour")
    assert [(count.at.hour, count.variant, count.hits) for count in hours] == [
        (11, "on", 5),
        (12, "off", 2),
        (12, "on", 7),
    ]
    days = evaluation_counts(flag.name, since=since, until=until, step="day")
    assert [(count.variant, count.hits) for count in days] == [("off", 2), ("on", 12)]
    drawn = chart(hours, since=since, until=until, step="hour")
    assert [each["data"] for each in drawn["datasets"]] == [[0, 0, 0, 2, 0], [0, 0, 5, 7, 0]]
    assert len(drawn["labels"]) == 5


def reasons(flag: FeatureFlag, now: datetime) -> tuple[str, ...]:
    return next((each.reasons for each in stale_flags(now) if each.flag.pk == flag.pk), ())


def aged(flag: FeatureFlag, days: int) -> FeatureFlag:
    """Let a flag have been made, and changed last, so long ago."""
    then = datetime.now(UTC) - timedelta(days=days)
    FeatureFlag.objects.filter(pk=flag.pk).update(created_at=then, updated_at=then)
    return fresh(flag)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "Everybody has got “on”, unchanged, for 40 days."),
        ({"rollout_percentage": 0}, "Everybody has got “off”, unchanged, for 40 days."),
        ({"enabled": False}, "It has been off for everybody, unchanged, for 40 days."),
        ({"rollout_percentage": 50}, ""),
        ({"conditions": {"plan": "free"}}, ""),
        (
            {
                "rules": [
                    {
                        "id": "r",
                        "description": "",
                        "conditions": {"plan": "free"},
                        "rollout": 10_000,
                        "variant": "off",
                    }
                ]
            },
            "",
        ),
        (
            {
                "rules": [
                    {
                        "id": "r",
                        "description": "",
                        "conditions": {"plan": "free"},
                        "rollout": 10_000,
                        "variant": "on",
                    }
                ]
            },
            "Everybody has got “on”, unchanged, for 40 days.",
        ),
    ],
)
def test_stale__decided_for_long__is_told_in_words(changes, reason):
    flag = aged(make_flag(**changes), 40)
    now = datetime.now(UTC)
    planted(flag.name, now)
    assert reasons(flag, now) == ((reason,) if reason else ())
    assert reasons(aged(flag, 29), now) == ()


def test_stale__override_that_differs__is_not_decided(enterprise):
    flag = make_flag(tenant_overrides={str(enterprise.id): False})
    now = datetime.now(UTC)
    planted(flag.name, now)
    assert reasons(aged(flag, 40), now) == ()
    same = make_flag(tenant_overrides={str(enterprise.id): True})
    planted(same.name, now)
    assert reasons(aged(same, 40), now)


def test_stale__unread__unless_it_is_young_or_stood_on():
    flag = make_flag(rollout_percentage=50)
    now = datetime.now(UTC)
    assert reasons(flag, now) == ()
    aged(flag, 31)
    assert reasons(flag, now) == ("Nobody has asked for it since it was made.",)
    planted(flag.name, now - timedelta(days=31))
    assert reasons(flag, now) == ("Nobody has asked for it for 31 days.",)
    make_flag(prerequisites=[{"flag": flag.name, "variants": ["on"]}])
    assert reasons(flag, now) == ()


def test_stale__past_its_date__is_told():
    now = datetime.now(UTC)
    flag = make_flag(rollout_percentage=50, expires_date="2026-01-31")
    assert reasons(flag, now) == ("It was to be gone by 31 January 2026.",)


def test_stale__flag_of_a_running_experiment__is_not_decided():
    flag = make_weighed_flag(weights={"a": 5_000, "b": 5_000})
    experiment = running_experiment(flag)
    now = datetime.now(UTC)
    planted(flag.name, now)
    change(flag, weights={})
    assert reasons(aged(flag, 40), now) == ()
    assert experiment.status == "running"


def test_counts__runtime_role__can_only_add(app_role):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app_role.execute("select * from flag_evaluations")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app_role.execute("delete from flag_evaluations")
