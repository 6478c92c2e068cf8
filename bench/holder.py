"""A process that holds a large configuration, and tells what that costs it."""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import django
import psycopg

SET = 1_000
READ_KEYS = 100


def main() -> None:
    """Load, swap after changes of several sizes, and print what each took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    django.setup()
    from layoverhq.snapshot import connect

    before = memory("VmRSS")
    # Its own connection and no listener: what is timed is the swap alone.
    with connect() as connection:
        wall, cpu = time.perf_counter(), time.process_time()
        swap(connection)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f"  loaded in {wall:.1f} s, {cpu:.1f} s of them its own CPU time; memory"
            f" {before:,} → {memory('VmRSS'):,} MiB, at most {memory('VmHWM'):,}",
            flush=True,
        )
        measure(connection, options.rounds)


def measure(connection: psycopg.Connection[Any], rounds: int) -> None:
    """Print what swaps take, smallest first."""
    from apps.configs.models import ConfigKey
    from apps.configs.operations import Proposal
    from apps.configs.runtime import configs
    from apps.tenants.models import Enterprise
    from layoverhq.tenancy import operator_scope

    with operator_scope():
        numbers = list(
            ConfigKey.objects.filter(pk__startswith="bench.", value_type="number").values_list(
                "pk", flat=True
            )[:SET]
        )
        tenants = list(Enterprise.objects.filter(slug__startswith="bench-"))
        holding = [tenant for tenant in tenants if overridden(numbers[0], tenant)]
    fresh = iter(range(10**6, 10**9))

    def one() -> None:
        publish([Proposal(numbers[0], next(fresh), holding[0])])

    def whole_key() -> None:
        publish([Proposal(numbers[1], next(fresh), tenant) for tenant in holding])

    def change_set() -> None:
        publish([Proposal(key, next(fresh)) for key in numbers])

    told("one override", connection, one, rounds)
    told(f"all {len(holding):,} overrides of a key", connection, whole_key, rounds)
    told(f"{len(numbers):,} keys in one change set", connection, change_set, rounds)
    read = list(configs.directory.get().entries)[:READ_KEYS]
    for tenant in holding:
        for key in read:
            configs.get(key, tenant)
    told(f"one override, {len(holding) * len(read):,} values read", connection, one, rounds)
    told("everything anew", connection, forget_changes, 1)
    print(f"  memory {memory('VmRSS'):,} MiB, at most {memory('VmHWM'):,}")


def told(
    what: str, connection: psycopg.Connection[Any], change: Callable[[], None], rounds: int
) -> None:
    """Print how long swaps after a change take, and how long one keeps other threads waiting."""
    seconds = []
    for _ in range(rounds):
        change()
        began = time.perf_counter()
        swap(connection)
        seconds.append(time.perf_counter() - began)
    change()
    with Reader() as reader:
        swap(connection)
    print(
        f"  swap, {what:<37} {statistics.median(seconds) * 1000:8,.1f} ms;"
        f" other threads wait {reader.longest * 1000:6,.1f} ms of CPU time at most",
        flush=True,
    )


class Reader(threading.Thread):
    """Reads without a pause, and notes the longest time between two answers.

    In CPU time of the process, so that other processes do not count.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self._ending = threading.Event()

    def run(self) -> None:
        from apps.configs.runtime import configs

        last = time.process_time()
        while not self._ending.is_set():
            configs.get("layover.min_duration")
            now = time.process_time()
            self.longest = max(self.longest, now - last)
            last = now

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._ending.set()
        self.join()


def swap(connection: psycopg.Connection[Any]) -> None:
    """Bring what is held to the newest version."""
    from apps.configs.runtime import configs

    row = connection.execute("select version from snapshot_versions where name = 'configs'")
    newest = row.fetchone()
    configs.directory.refresh(connection, at_least=newest["version"] if newest else 0)


def publish(proposals: list[Any]) -> None:
    """Publish values as an operator does."""
    from apps.configs.operations import draft_change_set, publish_change_set
    from layoverhq.tenancy import operator_scope

    with operator_scope():
        publish_change_set(
            change_set=draft_change_set(
                title="Bench", reason="bench", proposals=proposals, actor=None
            )
        )


def forget_changes() -> None:
    """Raise a version of which no list of changes tells what happened."""
    with psycopg.connect(os.environ["OWNER_DATABASE_URL"]) as owner:
        owner.execute("select raise_snapshot('configs', whole => true)")


def overridden(key: str, tenant: Any) -> bool:
    """Return whether the tenant has a value of its own."""
    from apps.configs.runtime import configs

    return tenant.pk in configs.directory.get().entries[key].overrides


def memory(field: str) -> int:
    """Return what /proc tells of this process, in MiB."""
    with open("/proc/self/status", encoding="ascii") as status:
        facts = dict(line.split(":", 1) for line in status)
    return int(facts[field].split()[0]) // 1024


if __name__ == "__main__":
    main()
