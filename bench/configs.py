"""Configuration: reads against django-constance, propagation, and what a snapshot costs."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

from bench import stage
from bench.following import delays
from bench.timing import milliseconds, rates_in_turn
from layoverhq.stack import Endpoints

TENANTS = 100
FOLLOWED = "bench.followed"


def add_options(group: argparse._ArgumentGroup) -> None:
    """Declare how much is changed, and how much a snapshot holds."""
    group.add_argument("--config-changes", type=int, default=500, help="for the propagation")
    group.add_argument("--config-followers", type=int, default=2, help="processes that follow")
    group.add_argument("--config-keys", type=int, default=10_000, help="in the snapshot")
    group.add_argument("--config-overrides", type=int, default=1_000, help="of each key")


def reads(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """What one thread reads a second of its own CPU time, ours and django-constance's."""
    from apps.configs.runtime import override_config
    from bench.reading import KEYS, constance_with, of_constance, of_platform, of_tenant
    from layoverhq.tenancy import TenantRef, operator_scope

    tenants = [TenantRef(uuid4()) for _ in range(TENANTS)]
    # A request's reference is another object than what the snapshot holds.
    asking = [TenantRef(UUID(str(tenant.id))) for tenant in tenants]
    with operator_scope():
        memory = constance_with("constance.backends.memory.MemoryBackend")
        database = constance_with("constance.backends.database.DatabaseBackend")
        cached = constance_with("constance.backends.database.DatabaseBackend", cache="default")
    with ExitStack() as overriding:
        for tenant in tenants[::2]:
            values = {"layover.min_duration": 60, "algorithm.weather_weight": 0.5}
            overriding.enter_context(override_config(values, tenant=tenant))
        answers = [of_constance(config) for config in (memory, database, cached)]
        same = all(answer == of_platform() == of_tenant(asking[1]) for answer in answers)
        samples = rates_in_turn(
            {
                "configs.get, platform": (of_platform, KEYS),
                "configs.get, tenants": (
                    lambda: [of_tenant(tenant) for tenant in asking],
                    KEYS * len(asking),
                ),
                "constance, memory": (lambda: of_constance(memory), KEYS),
                "constance, database": (lambda: of_constance(database), KEYS),
                "constance, database, cached": (lambda: of_constance(cached), KEYS),
            },
            rounds=options.rounds,
        )
    print(f"\nConfiguration: reads a CPU-second, one thread (same answers: {same})")
    rates = {name: statistics.median(values) for name, values in samples.items()}
    for name, rate in rates.items():
        print(f"  {name:<28} {rate:12,.0f}")
    for ours in ("configs.get, platform", "configs.get, tenants"):
        for peer, aim in (
            ("constance, memory", " (aim: at least 2)"),
            ("constance, database", ""),
            ("constance, database, cached", ""),
        ):
            print(f"  {ours} / {peer}: {rates[ours] / rates[peer]:,.1f}{aim}")


def propagation(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """From a change's commit until other processes answer it, on the clock they share."""
    declare_followed()
    print(
        f"\nConfiguration: commit → seen by {options.config_followers} other processes,"
        f" {options.config_changes} changes"
    )
    for mode, busy in (("all wait", 0), ("one is busy", 1)):
        # Values that no earlier run has left behind.
        first = time.time_ns() // 1_000_000
        seconds = delays(
            ["configs", FOLLOWED],
            range(first, first + options.config_changes),
            change_followed,
            followers=options.config_followers,
            busy=busy,
        )
        print(
            f"  {mode:<12} p50 / p99 / max ms: {milliseconds(seconds)} / {max(seconds) * 1000:.2f}"
            " (aim: p99 at most 50)"
        )


def declare_followed() -> None:
    """Declare the key that is changed, unless it stands."""
    from apps.configs.models import ConfigKey
    from apps.configs.operations import save_declaration
    from layoverhq.tenancy import operator_scope

    with operator_scope():
        if not ConfigKey.objects.filter(pk=FOLLOWED).exists():
            save_declaration(
                key=ConfigKey(
                    key=FOLLOWED,
                    value_type="number",
                    category_id="runtime",
                    description="Changed by the benchmark of propagation.",
                )
            )


def change_followed(value: int) -> float:
    """Publish a value as an operator does; return when its COMMIT was sent."""
    from apps.configs.operations import Proposal, draft_change_set, publish_change_set
    from layoverhq.tenancy import atomic, operator_scope

    with operator_scope():
        drafted = draft_change_set(
            title="Bench", reason="bench", proposals=[Proposal(FOLLOWED, value)], actor=None
        )
        with atomic():
            publish_change_set(change_set=drafted)
            return time.monotonic()


def snapshot(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """What it takes a process to hold very many values, and to swap them for newer ones."""
    keys, overrides = options.config_keys, options.config_overrides
    stage.fill_configs(endpoints, keys, overrides)
    print(f"\nConfiguration: a snapshot of {keys:,} keys × {overrides:,} overrides", flush=True)
    environ: dict[str, Any] = {**os.environ, **endpoints.environ(stage.CONFIGS)}
    subprocess.run(
        [sys.executable, "-m", "bench.holder", "--rounds", str(options.rounds)],
        cwd=stage.ROOT,
        env=environ,
        check=True,
    )
