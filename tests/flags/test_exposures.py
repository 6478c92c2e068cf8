"""Who met which variant of a running experiment is noted, once, and nobody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import structlog
from psycopg.types.json import Jsonb

from apps.flags import experiments, exposing, recording
from apps.flags.exposing import Exposure, Exposures, RunningExperiment, exposures
from apps.flags.recording import recorder
from apps.flags.runtime import flags
from apps.tenants.models import Enterprise
from tests.flags.experimenting import (
    digest,
    exposures_of,
    known,
    make_experiment,
    make_weighed_flag,
    running_experiment,
)
from tests.flags.factories import await_version, change, make_flag
from tests.isolation import roles
from tests.kernel.test_snapshot import until

pytestmark = pytest.mark.usefixtures("operator")


def context(enterprise: Enterprise, user: str) -> dict[str, Any]:
    return {"enterprise": str(enterprise.id), "user": user}


def test_exposure__of_a_unit__is_noted_once_with_its_variant(enterprise):
    experiment = running_experiment()
    answers = {
        user: flags.evaluate(experiment.flag.name, context(enterprise, user)).variant
        for user in ("ann", "bob", "cyd", "ann", "ann")
    }
    found = exposures_of(experiment)
    assert {(unit, variant) for _, unit, variant, _ in found} == {
        (digest(enterprise.id, user), variant) for user, variant in answers.items()
    }
    assert len(found) == 3
    # Another process, or this one after it has forgotten, tells it again.
    exposures.reset()
    flags.evaluate(experiment.flag.name, context(enterprise, "ann"))
    assert exposures_of(experiment) == found


def test_exposure__beside_drafts__is_noted_however_the_server_looks_for_it(enterprise):
    make_experiment()
    experiment = running_experiment()
    seen = Exposure(experiment.pk, str(enterprise.id), "ann", "a", datetime.now(UTC)).document()
    with roles.connect_as_superuser() as connection:
        # So that drafts, which have no start, are read as well.
        connection.execute("set enable_indexscan = off")
        connection.execute("set enable_bitmapscan = off")
        connection.execute("set enable_nestloop = off")
        row = connection.execute("select record_flag_exposures(%s)", [Jsonb([seen])]).fetchone()
    assert row == (1,)


def test_exposure__the_unit__is_not_kept_in_clear(enterprise, other_enterprise):
    experiment = running_experiment()
    for each in (enterprise, other_enterprise):
        flags.evaluate(experiment.flag.name, context(each, "ann@example.com"))
    units = [unit for _, unit, _, _ in exposures_of(experiment)]
    # One name with two enterprises is two units.
    assert len(set(units)) == 2


@pytest.mark.parametrize(
    "told",
    [
        {"user": "ann"},
        {"user": "ann", "enterprise": None},
        {"user": "ann", "enterprise": "no uuid"},
        {"user": "ann", "enterprise": str(uuid4())},
        {"user": "ann", "enterprise": "urn:uuid:0197a1b2-0000-7000-8000-000000000000"},
        {"user": "x" * 1_001, "enterprise": "own"},
        {"user": "\ud800", "enterprise": "own"},
        {"user": "a\x00", "enterprise": "own"},
        {"enterprise": "own"},
    ],
)
def test_exposure__without_a_usable_enterprise_or_unit__is_not_noted(enterprise, told):
    experiment = running_experiment()
    if told.get("enterprise") == "own":
        told = {**told, "enterprise": str(enterprise.id)}
    flags.evaluate(experiment.flag.name, told)
    assert exposures_of(experiment) == []


def test_exposure__answer_that_the_split_did_not_give__is_not_noted(enterprise):
    rule = {
        "id": "staff",
        "description": "",
        "conditions": {"staff": True},
        "rollout": 10_000,
        "variant": "b",
    }
    overridden = str(uuid4())
    flag = make_weighed_flag(rules=[rule], tenant_overrides={str(enterprise.id): "a"})
    experiment = running_experiment(flag)
    flags.evaluate(flag.name, {**context(enterprise, "ann")})
    flags.evaluate(flag.name, {"enterprise": overridden, "user": "bob", "staff": True})
    assert exposures_of(experiment) == []


def test_exposure__of_an_experiment_on_a_rule__is_by_that_rule_only(enterprise):
    rule = {
        "id": "germans",
        "description": "",
        "conditions": {"country": "DE"},
        "rollout": 10_000,
        "weights": {"b": 5_000, "c": 5_000},
    }
    flag = make_weighed_flag(rules=[rule])
    experiment = running_experiment(flag, rule="germans", control_variant="b")
    flags.evaluate(flag.name, {**context(enterprise, "ann"), "country": "DE"})
    flags.evaluate(flag.name, {**context(enterprise, "bob"), "country": "US"})
    assert [unit for _, unit, _, _ in exposures_of(experiment)] == [digest(enterprise.id, "ann")]


def test_exposure__before_the_start_and_after_the_stop__is_not_noted(enterprise):
    flag = make_weighed_flag()
    await_version(flag)
    flags.evaluate(flag.name, context(enterprise, "early"))
    experiment = running_experiment(flag)
    flags.evaluate(flag.name, context(enterprise, "ann"))
    experiments.stop_experiment(experiment=experiment, reason="enough")
    # Met before the stop, told after it.
    assert [unit for _, unit, _, _ in exposures_of(experiment)] == [digest(enterprise.id, "ann")]
    until(lambda: not known(experiment))
    flags.evaluate(flag.name, context(enterprise, "late"))
    assert len(exposures_of(experiment)) == 1


def test_exposure__weights_changed_meanwhile__is_contaminated(enterprise):
    experiment = running_experiment()
    name = experiment.flag.name
    users = [f"user {number}" for number in range(20)]
    before = {user: flags.evaluate(name, context(enterprise, user)).variant for user in users}
    assert recorder.flush()
    await_version(change(experiment.flag, weights={"a": 0, "b": 10_000}))
    after = {user: flags.evaluate(name, context(enterprise, user)).variant for user in users}
    moved = {digest(enterprise.id, user) for user in users if before[user] != after[user]}
    assert moved
    found = exposures_of(experiment)
    assert {unit for _, unit, _, contaminated in found if contaminated} == moved
    assert len(found) == 20


def test_exposure__two_variants_in_one_batch__is_contaminated(enterprise):
    experiment = running_experiment()
    held = flags.directory.get().experiments[experiment.flag.name][0]
    exposures.see(held, context(enterprise, "ann"), "ann", "a")
    exposures.see(held, context(enterprise, "ann"), "ann", "b")
    assert [contaminated for *_, contaminated in exposures_of(experiment)] == [True]


def test_exposures__database_away__wait(enterprise, monkeypatch):
    experiment = running_experiment()

    def away() -> Any:
        raise psycopg.OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(recording, "connect", away)
        flags.evaluate(experiment.flag.name, context(enterprise, "ann"))
        assert not recorder.flush()
    assert len(exposures_of(experiment)) == 1


def test_exposures__that_the_database_refuses__are_told_and_hold_up_nothing(enterprise):
    experiment = running_experiment()
    recorder.stop()
    exposures.waiting.append(
        exposing.Exposure(experiment.pk, "no uuid", "ann", "a", datetime.now(UTC))
    )
    with structlog.testing.capture_logs() as logs:
        assert recorder.flush()
    assert [line["by"] for line in logs if line["event"] == "flag_records_refused"] == [
        "record_flag_exposures"
    ]
    flags.evaluate(experiment.flag.name, context(enterprise, "bob"))
    assert len(exposures_of(experiment)) == 1


def test_exposures__more_than_may_wait__are_dropped_told_and_tried_again(monkeypatch):
    monkeypatch.setattr(exposing, "WAITING", 2)
    seen = Exposures()
    running = RunningExperiment(uuid4(), None, datetime.now(UTC))
    own = {"enterprise": str(uuid4())}
    for user in ("a", "b", "c"):
        seen.see(running, own, user, "x")
    assert (len(seen.waiting), seen.dropped) == (2, 1)
    seen.waiting.clear()
    for user in ("a", "b", "c"):
        seen.see(running, own, user, "x")
    assert [each.unit for each in seen.waiting] == ["c"]
    recorder.stop()
    monkeypatch.setattr(recording, "exposures", seen)
    seen.waiting.clear()
    with structlog.testing.capture_logs() as logs:
        assert recorder.flush()
    assert [line["count"] for line in logs if line["event"] == "flag_exposures_dropped"] == [1]


def test_exposures__remembered__are_bounded(monkeypatch):
    monkeypatch.setattr(exposing, "REMEMBERED", 10)
    seen = Exposures()
    running = RunningExperiment(uuid4(), None, datetime.now(UTC))
    own = {"enterprise": str(uuid4())}
    for number in range(100):
        seen.see(running, own, str(number), "x")
    assert len(seen._recent) + len(seen._older) <= 20
    waiting = len(seen.waiting)
    seen.see(running, own, "99", "x")
    assert len(seen.waiting) == waiting


def test_exposure__of_a_flag_without_an_experiment__takes_no_memory(enterprise):
    flag = make_weighed_flag()
    await_version(flag)
    assert flags.evaluate(flag.name, context(enterprise, "ann")).experiment is None
    plain = make_flag()
    await_version(plain)
    assert flags.evaluate(plain.name, {}).experiment is None


def test_partitions__by_the_experiments_start__hold_it_whole(enterprise):
    started = datetime.now(UTC) - timedelta(hours=1)
    experiment = running_experiment(now=started)
    flags.evaluate(experiment.flag.name, context(enterprise, "ann"))
    assert len(exposures_of(experiment)) == 1
    with (
        roles.connect_as_superuser() as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="after_start"),
    ):
        connection.execute(
            "insert into flag_exposures values (%s, %s, %s, uuidv7(), 'a', %s)",
            [started, experiment.pk, enterprise.id, started - timedelta(seconds=1)],
        )


def noted(app: psycopg.Connection[Any], *seen: Exposure) -> int:
    """Record exposures as the runtime role does; return how many were noted."""
    row = app.execute(
        "select record_flag_exposures(%s)", [Jsonb([each.document() for each in seen])]
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_exposures__inside_a_tenants_scope__are_that_tenants_alone(
    app_role, enterprise, other_enterprise
):
    experiment = running_experiment()
    now = datetime.now(UTC)
    seen = [
        Exposure(experiment.pk, str(each.id), "ann", "a", now)
        for each in (enterprise, other_enterprise)
    ]
    with app_role.transaction():
        app_role.execute(
            "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise.id)]
        )
        assert noted(app_role, *seen) == 1
    assert [of for of, *_ in exposures_of(experiment)] == [enterprise.id]


def test_exposures__of_an_experiment_that_is_no_longer_kept__leave_the_others_in(
    app_role, enterprise
):
    old = running_experiment(now=datetime(2001, 1, 1, tzinfo=UTC))
    young = running_experiment()
    now = datetime.now(UTC)
    seen = [Exposure(each.pk, str(enterprise.id), "ann", "a", now) for each in (old, young)]
    assert noted(app_role, *seen) == 1
    assert exposures_of(old) == []
    assert len(exposures_of(young)) == 1


def test_exposure__by_a_clock_that_is_ahead__is_of_now(app_role, enterprise):
    experiment = running_experiment()
    ahead = datetime.now(UTC) + timedelta(hours=5)
    assert noted(app_role, Exposure(experiment.pk, str(enterprise.id), "ann", "a", ahead)) == 1
    with roles.connect_as_superuser() as connection:
        row = connection.execute(
            "select exposed_at <= now() from flag_exposures where experiment_id = %s",
            [experiment.pk],
        ).fetchone()
    assert row == (True,)


def test_exposure__flag_divides_by_something_else_meanwhile__is_none(enterprise):
    experiment = running_experiment()
    flags.evaluate(experiment.flag.name, context(enterprise, "ann"))
    assert recorder.flush()
    await_version(change(experiment.flag, bucketing_unit="enterprise"))
    until(lambda: not known(experiment))
    flags.evaluate(experiment.flag.name, context(enterprise, "ann"))
    assert [unit for _, unit, *_ in exposures_of(experiment)] == [digest(enterprise.id, "ann")]
    await_version(change(experiment.flag, bucketing_unit="user"))
    until(lambda: known(experiment))


def test_exposures__to_a_standby__wait(enterprise, monkeypatch):
    experiment = running_experiment()
    recorder.stop()
    connect = recording.connect

    def standby() -> Any:
        connection = connect()
        connection.execute("set default_transaction_read_only = on")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(recording, "connect", standby)
        flags.evaluate(experiment.flag.name, context(enterprise, "ann"))
        assert not recorder.flush()
    assert len(exposures_of(experiment)) == 1


def test_exposures__connections_cut_under_load__none_is_lost(enterprise, monkeypatch):
    experiment = running_experiment()
    recorder.stop()
    monkeypatch.setattr(recording, "BATCH", 20)
    connect = recording.connect
    cut = []

    def doomed() -> Any:
        connection = connect()
        execute, calls = connection.execute, iter((True, True, False))

        def executed(*given: Any) -> Any:
            # A batch or two arrive; then the server ends the session.
            if not next(calls, True):
                roles.terminate(connection.info.backend_pid)
                cut.append(connection.info.backend_pid)
            return execute(*given)

        connection.execute = executed
        return connection

    users = [f"user {number}" for number in range(400)]
    with monkeypatch.context() as patch:
        patch.setattr(recording, "connect", doomed)
        for number, user in enumerate(users):
            flags.evaluate(experiment.flag.name, context(enterprise, user))
            if number % 100 == 99:
                assert not recorder.flush()
    assert len(cut) == 4
    found = exposures_of(experiment)
    assert {unit for _, unit, *_ in found} == {digest(enterprise.id, user) for user in users}
    assert not any(contaminated for *_, contaminated in found)
