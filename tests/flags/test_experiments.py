"""The life of experiments, what they leave in the flag, and what their results count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.test import override_settings

from apps.audit.models import AuditEvent
from apps.flags import experiments, operations
from apps.flags.experiments import FlagChanged, Goal, NotReady, api_events
from apps.flags.models import Experiment, FeatureFlag, FlagVersion
from apps.flags.operations import WrongStatus
from apps.flags.results import Results, computed_results, experiment_results
from apps.flags.runtime import flags
from layoverhq.errors import InvalidInput, StaleVersion
from layoverhq.tenancy import OPERATOR
from tests.flags.experimenting import (
    PURCHASE,
    REVENUE,
    known,
    make_experiment,
    make_weighed_flag,
    running_experiment,
)
from tests.flags.factories import await_version, change, fresh, make_flag
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants.factories import make_enterprise, make_operator

pytestmark = pytest.mark.usefixtures("operator")

RULE = {
    "id": "germans",
    "description": "",
    "conditions": {"country": "DE"},
    "rollout": 5_000,
    "weights": {"b": 2_000, "c": 8_000},
}


def start(experiment: Experiment, **more: Any) -> Experiment:
    return experiments.start_experiment(experiment=experiment, **more)


def stop(experiment: Experiment) -> Experiment:
    return experiments.stop_experiment(experiment=experiment, reason="enough seen")


def ship(experiment: Experiment, variant: str = "b", **more: Any) -> Experiment:
    return experiments.ship_winner(
        experiment=experiment, variant=variant, reason="it sells more", actor=None, **more
    )


def faults(**fields: Any) -> dict[str, str]:
    """Return what is refused of a draft: the code by field."""
    with pytest.raises(InvalidInput) as refusal:
        make_experiment(**fields)
    return {error.field: error.code for error in refusal.value.errors}


def answers(flag: FeatureFlag, **attributes: Any) -> set[str | None]:
    """Return what a hundred users get."""
    await_version(flag)
    return {
        flags.evaluate(flag.name, {**attributes, "user": f"user {number}"}).variant
        for number in range(100)
    }


def test_draft__saved__has_its_goals_in_order():
    author = make_operator()
    experiment = Experiment(
        name="Cheaper first",
        hypothesis="b sells more.",
        flag=make_weighed_flag(),
        control_variant="a",
        alpha=Decimal("0.01"),
    )
    saved = experiments.save_experiment(
        experiment=experiment, goals=[REVENUE, PURCHASE], actor=author
    )
    assert (saved.status, saved.author, saved.version) == ("draft", author, 1)
    assert [(goal.event, goal.kind, goal.is_primary) for goal in saved.goals.all()] == [
        ("revenue", "mean", False),
        ("purchase", "conversion", True),
    ]
    saved.name = "Cheapest first"
    again = experiments.save_experiment(
        experiment=saved, goals=[PURCHASE], base_version=1, actor=None
    )
    assert (again.version, again.author, again.goals.count()) == (2, author, 1)
    with pytest.raises(StaleVersion):
        experiments.save_experiment(experiment=saved, goals=[PURCHASE], base_version=1, actor=None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": " "}, {"name": "invalid"}),
        ({"hypothesis": ""}, {"hypothesis": "required"}),
        ({"alpha": Decimal("0.5")}, {"alpha": "range"}),
        ({"rule": "nowhere"}, {"rule": "no_weights"}),
        ({"control_variant": "off"}, {"control_variant": "unknown"}),
        ({"goals": []}, {"goals": "number"}),
        ({"goals": [REVENUE]}, {"goals": "primary"}),
        ({"goals": [PURCHASE, replace(REVENUE, is_primary=True)]}, {"goals": "primary"}),
        (
            {"goals": [PURCHASE, replace(PURCHASE, is_primary=False)]},
            {"goals[1].event": "repeated"},
        ),
        ({"goals": [replace(PURCHASE, event="Buy!")]}, {"goals[0].event": "invalid"}),
        ({"goals": [replace(PURCHASE, event="api:nowhere")]}, {"goals[0].event": "unknown"}),
        ({"goals": [replace(PURCHASE, kind="median")]}, {"goals[0].kind": "invalid"}),
        ({"goals": [replace(PURCHASE, window_hours=0)]}, {"goals[0].window_hours": "range"}),
    ],
)
def test_draft__faulty__is_refused_by_field(fields, expected):
    assert faults(**fields) == expected


def test_draft__of_a_flag_without_weights__is_refused():
    assert faults(flag=make_flag("string"), control_variant="a") == {"rule": "no_weights"}


def test_goal__api_route__is_for_flags_that_divide_enterprises():
    assert "api:api-flight-search" in api_events()
    goal = Goal("api:api-flight-search", "mean", 24, is_primary=True)
    assert faults(goals=[goal]) == {"goals[0].event": "unit"}
    flag = make_weighed_flag(bucketing_unit="enterprise")
    assert make_experiment(flag, goals=[goal]).pk


def test_draft__discarded__is_gone_and_a_started_one_is_not():
    experiment = make_experiment()
    experiments.discard_experiment(experiment=experiment)
    assert not Experiment.objects.filter(pk=experiment.pk).exists()
    running = start(make_experiment())
    with pytest.raises(WrongStatus):
        experiments.discard_experiment(experiment=running)
    with pytest.raises(IntegrityError), transaction.atomic(using=OPERATOR):
        running.delete()


def test_start__freezes_unit_and_split_and_reaches_processes():
    flag = make_weighed_flag(weights={"a": 5_000, "b": 3_000, "c": 2_000, "off": 0})
    experiment = running_experiment(flag)
    assert experiment.status == "running"
    assert experiment.unit == "user"
    assert experiment.split == {"a": 5_000, "b": 3_000, "c": 2_000}
    assert experiment.started_at is not None
    event = AuditEvent.objects.filter(
        table_name="flag_experiments", row_id=str(experiment.pk), operation="UPDATE"
    ).get()
    assert "status" in event.changed_columns
    stop(experiment)
    until(lambda: not known(experiment))


@pytest.mark.parametrize("how", ["disabled", "killed", "archived"])
def test_start__flag_that_does_not_answer__is_refused(how):
    flag = make_weighed_flag(enabled=how != "disabled")
    experiment = make_experiment(flag)
    if how == "killed":
        operations.kill_flag(flag=flag, reason="broken")
    if how == "archived":
        operations.archive_flag(flag=flag, reason="done with", actor=None)
    with pytest.raises(NotReady):
        start(experiment)
    assert Experiment.objects.get(pk=experiment.pk).started_at is None


def test_start__weights_gone_since_the_draft__is_refused():
    experiment = make_experiment()
    change(experiment.flag, weights={})
    with pytest.raises(InvalidInput) as refusal:
        start(experiment)
    assert [error.field for error in refusal.value.errors] == ["rule"]


def test_start__all_weight_on_one_variant__is_refused():
    experiment = make_experiment(make_weighed_flag(weights={"a": 10_000, "b": 0}))
    with pytest.raises(NotReady, match="nothing to compare"):
        start(experiment)


def test_start__while_another_runs_on_the_same_weights__is_refused():
    flag = make_weighed_flag(rules=[RULE])
    first = start(make_experiment(flag))
    with pytest.raises(NotReady, match="stop it first"):
        start(make_experiment(flag))
    # A rule divides other units.
    start(make_experiment(flag, rule="germans", control_variant="b"))
    stop(first)
    assert start(make_experiment(flag)).status == "running"


def test_running__what_was_promised__cannot_be_changed_even_by_sql():
    experiment = start(make_experiment())
    with pytest.raises(WrongStatus):
        experiments.save_experiment(
            experiment=experiment, goals=[PURCHASE], base_version=2, actor=None
        )
    for change_of in ({"alpha": Decimal("0.1")}, {"control_variant": "b"}, {"split": {"a": 1}}):
        with pytest.raises(IntegrityError), transaction.atomic(using=OPERATOR):
            Experiment.objects.filter(pk=experiment.pk).update(**change_of)
    with pytest.raises(IntegrityError), transaction.atomic(using=OPERATOR):
        experiment.goals.update(window_hours=1)
    with pytest.raises(IntegrityError), transaction.atomic(using=OPERATOR):
        Experiment.objects.filter(pk=experiment.pk).update(status="draft", started_at=None)


def test_stop__with_a_reason__is_final_and_leaves_the_flag():
    experiment = start(make_experiment())
    version = fresh(experiment.flag).version
    with pytest.raises(InvalidInput):
        experiments.stop_experiment(experiment=experiment, reason=" ")
    stopped = stop(experiment)
    assert (stopped.status, stopped.decision) == ("stopped", "enough seen")
    assert stopped.stopped_at is not None
    assert fresh(experiment.flag).version == version
    with pytest.raises(WrongStatus):
        stop(experiment)
    with pytest.raises(WrongStatus):
        start(experiment)


def test_ship__own_rollout__gives_the_winner_to_all_it_reached():
    enterprise, other = str(make_enterprise().id), str(make_enterprise().id)
    flag = make_weighed_flag(
        rollout_percentage=50, tenant_overrides={enterprise: True, other: False}
    )
    reached = answers(flag)
    assert reached == {"a", "b", "off"}
    shipped = ship(start(make_experiment(flag)))
    assert (shipped.status, shipped.shipped_variant) == ("shipped", "b")
    assert shipped.decision == "it sells more"
    assert shipped.shipped_version is not None
    assert shipped.shipped_version.status == FlagVersion.Status.ACTIVE
    assert shipped.shipped_version.reason.startswith(f"Winner of “{shipped}”")
    assert answers(flag) == {"b", "off"}
    # Overrides mean what they meant, and off is off.
    assert fresh(flag).off_variant == "off"
    assert answers(flag, enterprise=enterprise) == {"a"}
    assert answers(flag, enterprise=other) == {"off"}


def test_ship__own_rollout_when_off_won__turns_the_rollout_off():
    flag = make_weighed_flag(
        weights={"off": 5_000, "b": 5_000},
        steps=[{"at": "2031-01-01T00:00:00Z", "percentage": 100}],
        rollout_percentage=80,
    )
    ship(start(make_experiment(flag, control_variant="off")), "off")
    after = fresh(flag)
    assert (after.rollout_percentage, after.steps, after.on_variant) == (0, [], "a")
    assert answers(flag) == {"off"}


def test_ship__rule__changes_that_rule_alone():
    other = {**RULE, "id": "others", "conditions": {"country": "FR"}}
    flag = make_weighed_flag(rules=[other, RULE])
    experiment = stop(start(make_experiment(flag, rule="germans", control_variant="b")))
    ship(experiment, "c")
    rules = {rule["id"]: rule for rule in fresh(flag).rules}
    assert rules["germans"]["variant"] == "c"
    assert "allocations" not in rules["germans"]
    assert rules["germans"]["rollout"] == 5_000
    assert set(rules["others"]["allocations"]) == {"b", "c"}
    assert answers(flag, country="DE") == {"a", "b", "c"}


def test_ship__protected_flag__leaves_a_draft_to_approve():
    flag = make_weighed_flag()
    experiment = start(make_experiment(flag))
    change(flag, is_protected=True)
    shipped = ship(experiment)
    assert shipped.status == "shipped"
    assert shipped.shipped_version is not None
    assert shipped.shipped_version.status == FlagVersion.Status.DRAFT
    assert shipped.shipped_version.definition["on_variant"] == "b"
    assert fresh(flag).allocations
    assert answers(flag) == {"a", "b"}


def test_ship__weights_gone_meanwhile__is_refused_and_changes_nothing():
    flag = make_weighed_flag(rules=[RULE])
    on_rule = start(make_experiment(flag, rule="germans", control_variant="b"))
    on_rollout = start(make_experiment(flag))
    change(flag, rules=[], weights={})
    for experiment in (on_rule, on_rollout):
        with pytest.raises(FlagChanged):
            ship(experiment)
        assert Experiment.objects.get(pk=experiment.pk).status == "running"


def test_ship__variant_that_was_not_compared__is_refused():
    experiment = start(make_experiment())
    with pytest.raises(InvalidInput) as refusal:
        ship(experiment, "off")
    assert refusal.value.errors[0].field == "variant"
    with pytest.raises(WrongStatus):
        ship(make_experiment())


# --- results

NOW = datetime.now(UTC)
STARTED = NOW - timedelta(days=4)


def plant(experiment: Experiment, rows: Sequence[tuple[str, float, bool]]) -> list[UUID]:
    """Add exposures: variant, hours after the start, contaminated; return the units."""
    enterprise = make_enterprise()
    units = [uuid4() for _ in rows]
    with roles.connect_as_superuser() as connection, connection.cursor() as cursor:
        cursor.execute(
            "select ensure_month_partitions('flag_exposures', %(day)s, %(day)s)",
            {"day": STARTED.date()},
        )
        cursor.executemany(
            "insert into flag_exposures values (%s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    experiment.started_at,
                    experiment.pk,
                    enterprise.id,
                    unit,
                    variant,
                    STARTED + timedelta(hours=hours),
                    contaminated,
                )
                for unit, (variant, hours, contaminated) in zip(units, rows, strict=True)
            ],
        )
    experiment.planted_enterprise = enterprise.id
    return units


def happen(experiment: Experiment, rows: Sequence[tuple[UUID, str, float, float | None]]) -> None:
    """Add events: unit, event, hours after the start, value."""
    with roles.connect_as_superuser() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into tracked_events (enterprise_id, unit, event, occurred_at, value)"
            " values (%s, %s, %s, %s, %s)",
            [
                (
                    experiment.planted_enterprise,
                    unit,
                    event,
                    STARTED + timedelta(hours=hours),
                    value,
                )
                for unit, event, hours, value in rows
            ],
        )


@pytest.fixture
def begun() -> Experiment:
    return running_experiment(now=STARTED)


def sample(found: Results, goal: int, variant: str) -> tuple[int, float, float]:
    for each in found.goals[goal].variants:
        if each.variant == variant:
            return each.sample.units, each.sample.total, each.sample.squares
    raise AssertionError(variant)


def test_results__events__count_after_exposure_within_the_window_and_once(begun):
    units = plant(begun, [("a", 10, False)] * 5 + [("b", 10, False)])
    happen(
        begun,
        [
            # before it met the variant; at that moment; twice; after the window of 72 hours
            (units[0], "purchase", 9, None),
            (units[1], "purchase", 10, None),
            (units[2], "purchase", 11, None),
            (units[2], "purchase", 12, None),
            (units[3], "purchase", 10 + 72, None),
            # another event, and nobody's unit
            (units[4], "purchased", 11, None),
            (uuid4(), "purchase", 11, None),
        ],
    )
    found = computed_results(begun, NOW)
    assert sample(found, 0, "a") == (5, 2, 2)
    assert sample(found, 0, "b") == (1, 0, 0)
    assert found.units == {"a": 5, "b": 1}


def test_results__mean__is_of_the_sum_of_each_unit(begun):
    units = plant(begun, [("a", 1, False), ("a", 1, False), ("b", 1, False)])
    happen(
        begun,
        [
            (units[0], "revenue", 2, 3.0),
            (units[0], "revenue", 30, 4.0),
            (units[1], "revenue", 3, -1.0),
            (units[2], "revenue", 3, None),
            (units[2], "revenue", 4, 5.0),
        ],
    )
    found = computed_results(begun, NOW)
    # 7 and -1, whose squares are 49 and 1.
    assert sample(found, 1, "a") == (2, 6.0, 50.0)
    assert sample(found, 1, "b") == (1, 5.0, 25.0)


def test_results__contaminated_units__are_left_out_and_told(begun):
    units = plant(begun, [("a", 1, False), ("a", 1, True), ("b", 1, True), ("b", 1, False)])
    happen(begun, [(unit, "purchase", 2, None) for unit in units])
    found = computed_results(begun, NOW)
    assert found.contaminated == 2
    assert found.units == {"a": 1, "b": 1}
    assert sample(found, 0, "a") == (1, 1, 1)


def test_results__another_experiments_units__are_not_counted(begun):
    other = running_experiment(now=STARTED)
    plant(other, [("a", 1, False)] * 3)
    plant(begun, [("a", 1, False)])
    assert computed_results(begun, NOW).units == {"a": 1, "b": 0}


def test_results__too_few__say_so_and_no_verdict(begun):
    plant(begun, [("a", 1, False)] * 99 + [("b", 1, False)] * 200)
    found = computed_results(begun, NOW)
    assert found.goals[0].shortage == "a has met 99 units; it takes 100 to say anything."
    assert [each.better for each in found.goals[0].variants] == [None, None]
    plant(begun, [("a", 1, False)])
    found = computed_results(begun, NOW)
    assert found.goals[0].shortage.startswith("a has 0 conversions of 100 units")


def test_results__mean_without_values__says_so(begun):
    plant(begun, [("a", 1, False)] * 100 + [("b", 1, False)] * 100)
    assert computed_results(begun, NOW).goals[1].shortage == "No unit has a value yet."


def test_results__units_that_came_otherwise_than_divided__are_a_mismatch(begun):
    plant(begun, [("a", 1, False)] * 400 + [("b", 1, False)] * 400)
    assert not computed_results(begun, NOW).is_mismatched
    plant(begun, [("a", 1, False)] * 200)
    found = computed_results(begun, NOW)
    assert found.is_mismatched
    # 600 and 400 where 500 are expected: a chi-squared of 40.
    assert found.sample_ratio_p_value == pytest.approx(2.54e-10, rel=0.01)


def test_results__an_effect__is_found_with_its_size_and_day_by_day(begun):
    units = plant(begun, [("a", n % 48, False) for n in range(2_000)])
    happen(begun, [(unit, "purchase", 50, None) for unit in units[:200]])
    other = plant(begun, [("b", n % 48, False) for n in range(2_000)])
    bought = [(unit, "purchase", 50 + 20 * (n % 2), None) for n, unit in enumerate(other[:400])]
    happen(begun, bought)
    goal = computed_results(begun, NOW).goals[0]
    control, variant = goal.variants
    assert (control.is_control, control.comparison) == (True, None)
    assert (control.mean, variant.mean, variant.better) == (0.1, 0.2, True)
    assert variant.comparison is not None
    assert variant.comparison.lift == pytest.approx(1.0)
    assert variant.comparison.difference == pytest.approx(0.1)
    days = goal.series["b"]
    number = (NOW.date() - STARTED.date()).days + 1
    assert [point.day for point in days] == [
        STARTED.date() + timedelta(days=day) for day in range(number)
    ]
    assert days[-1].units == 2_000
    assert days[-1].mean == 0.2
    # Those who come later convert later: it only grows from the day of the first event.
    assert [point.mean for point in days] == sorted(point.mean for point in days)
    assert days[0].mean == 0
    assert days[-1].interval is not None
    assert days[-1].interval.low < 0.2 < days[-1].interval.high


def test_results__three_variants__each_comparison_may_err_by_less():
    flag = make_weighed_flag(weights={"a": 4_000, "b": 3_000, "c": 3_000})
    experiment = running_experiment(flag, now=STARTED)
    plant(experiment, [("a", 1, False)])
    found = computed_results(experiment, NOW)
    assert found.alpha == pytest.approx(0.025)
    assert [each.variant for each in found.goals[0].variants] == ["a", "b", "c"]


def test_results__asked_again__are_kept_a_while_and_computed_without_the_cache(begun):
    plant(begun, [("a", 1, False)])
    assert experiment_results(begun, NOW).units == {"a": 1, "b": 0}
    plant(begun, [("a", 1, False)])
    assert experiment_results(begun, NOW).units == {"a": 1, "b": 0}
    unreachable = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    with override_settings(CACHES={"default": unreachable}):
        assert experiment_results(begun, NOW).units == {"a": 2, "b": 0}


def test_results__of_nobody__are_empty(begun):
    found = computed_results(begun, NOW)
    assert found.units == {"a": 0, "b": 0}
    assert found.sample_ratio_p_value is None
    assert found.goals[0].series == {"a": [], "b": []}
    assert found.goals[0].shortage
