"""Experiments for tests, and units that meet them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.flags import experiments
from apps.flags.experiments import Goal
from apps.flags.models import Experiment, FeatureFlag
from apps.flags.recording import recorder
from apps.flags.runtime import flags
from layoverhq.tenancy import operator_scope
from tests.flags.factories import await_version, make_flag
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants.factories import unique

WEIGHTS = {"a": 5_000, "b": 5_000}
PURCHASE = Goal("purchase", "conversion", 72, is_primary=True)
REVENUE = Goal("revenue", "mean", 72)


def make_weighed_flag(**changes: Any) -> FeatureFlag:
    """Make a flag that divides everybody between a and b."""
    return make_flag("string", **{"weights": WEIGHTS, **changes})


def make_experiment(
    flag: FeatureFlag | None = None,
    *,
    goals: Sequence[Goal] = (PURCHASE, REVENUE),
    **fields: Any,
) -> Experiment:
    """Draft an experiment on a flag's own rollout."""
    experiment = Experiment(
        flag=flag or make_weighed_flag(),
        **{
            "name": unique("experiment"),
            "hypothesis": "b sells more.",
            "control_variant": "a",
            "alpha": Decimal("0.05"),
            **fields,
        },
    )
    with operator_scope():
        return experiments.save_experiment(experiment=experiment, goals=goals, actor=None)


def running_experiment(
    flag: FeatureFlag | None = None, *, now: datetime | None = None, **fields: Any
) -> Experiment:
    """Start an experiment, and wait until this process knows."""
    experiment = make_experiment(flag, **fields)
    with operator_scope():
        started = experiments.start_experiment(experiment=experiment, now=now)
        await_version(started.flag)
    until(lambda: known(started))
    return started


def known(experiment: Experiment) -> bool:
    """Return whether this process holds the experiment as one that runs."""
    held = flags.directory.get().experiments.get(experiment.flag.name, ())
    return any(each.id == experiment.pk for each in held)


def exposures_of(experiment: Experiment) -> list[tuple[UUID, UUID, str, bool]]:
    """Return enterprise, unit, variant and whether it is contaminated."""
    assert recorder.flush()
    with roles.connect_as_superuser() as connection:
        return connection.execute(
            "select enterprise_id, unit, variant, contaminated from flag_exposures"
            " where experiment_id = %s order by exposed_at, unit",
            [experiment.pk],
        ).fetchall()


def digest(enterprise_id: UUID, unit: str) -> UUID:
    with roles.connect_as_superuser() as connection:
        row = connection.execute(
            "select flag_unit_digest(%s, %s)", [enterprise_id, unit]
        ).fetchone()
    assert row is not None
    return row[0]
