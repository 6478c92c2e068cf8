"""Flags: evaluation against five peers, in SQL, many at once over the API, and the kill switch."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from django.db import connections

from bench import stage
from bench.flights import Client, customer, server, throughput
from bench.following import delays
from bench.timing import in_turn, milliseconds, rates_in_turn
from layoverhq.stack import Endpoints

FOLLOWED = "bench.followed"
NEARLY_ALL = "bench.nearly_all"
BULK = "/ofrep/v1/evaluate/flags"
DECIDE_MANY = (stage.ROOT / "bench" / "sql" / "decide_many.sql").read_text()
USERS_IN_SQL = 20_000


def add_options(group: argparse._ArgumentGroup) -> None:
    """Declare how many are asked for, and how much is changed."""
    group.add_argument("--flag-users", type=int, default=10_000, help="who are asked for in turn")
    group.add_argument(
        "--flag-units", type=int, default=1_000_000, help="of the experiment with results"
    )
    group.add_argument("--flag-bulk", type=int, default=200, help="flags answered at once")
    group.add_argument("--flag-changes", type=int, default=500, help="for the propagation")
    group.add_argument("--flag-followers", type=int, default=2, help="processes that follow")


def filled(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """Make the flags."""
    from bench.deciding import DOCUMENT

    stage.fill_flags(endpoints, options.flag_bulk, DOCUMENT)


def evaluation(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """What one thread evaluates a second of its own CPU time, ours and the peers'."""
    from bench.deciding import CONDITIONS, HALF, WITHOUT_CONDITIONS, contenders, misfits, users

    filled(endpoints, options)
    titles = {HALF: "a rollout to 50 %", CONDITIONS: "three conditions and a rollout to 50 %"}
    with contenders(misfits()) as deciding:
        refused = not any(any(decide(CONDITIONS)) for decide in deciding.values())
    with contenders(users(options.flag_users)) as deciding:
        for flag, title in titles.items():
            asked = {
                name: partial(decide, flag)
                for name, decide in deciding.items()
                if flag == HALF or name not in WITHOUT_CONDITIONS
            }
            shares = {name: statistics.mean(decide()) for name, decide in asked.items()}
            samples = rates_in_turn(
                {name: (decide, options.flag_users) for name, decide in asked.items()},
                rounds=options.rounds,
            )
            rates = {name: statistics.median(values) for name, values in samples.items()}
            print(f"\nFlags: {title}, evaluations a CPU-second, one thread")
            for name, rate in rates.items():
                print(f"  {name:<28} {rate:12,.0f}   on for {shares[name]:.1%}")
            ours = rates.pop("flags.evaluate")
            best = max(rates, key=lambda name: rates[name])
            print(f"  flags.evaluate / {best}: {ours / rates[best]:.2f} (aim: at least 3)")
    print(f"  off for all who miss a condition: {refused}")


def in_sql(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """What evaluate_flag() takes, asked by the runtime role, statements prepared."""
    from bench.deciding import CONDITIONS, HALF, users

    filled(endpoints, options)
    asked = [json.dumps(user) for user in users(1_000)]
    with psycopg.connect(
        endpoints.url("layoverhq_app", stage.LARGE),
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(DECIDE_MANY)
        cursor.execute("prepare decide (text, jsonb) as select evaluate_flag($1, $2)")
        cursor.execute("prepare repeat (text, jsonb) as select $1, $2")

        def many(flag: str) -> float:
            row = cursor.execute(
                "explain (analyze, timing off, format json) execute decide_many (%s)", [flag]
            ).fetchone()
            assert row is not None
            return float(row[0][0]["Execution Time"]) / 1000 / USERS_IN_SQL

        def each(statement: str, flag: str, around: str) -> float:
            """Return the seconds of one of many statements that are sent together."""
            texts = [cursor.mogrify(f"execute {statement} (%s, %s)", [flag, of]) for of in asked]
            sent = "; ".join(around.replace("…", text) for text in texts)
            began = time.perf_counter()
            cursor.execute(sent)
            return (time.perf_counter() - began) / len(asked)

        def alone(flag: str, around: str) -> float:
            return each("decide", flag, around) - each("repeat", flag, around)

        print("\nFlags: evaluate_flag() in SQL, µs each")
        # It asks of the conditions only those whom the rollout reaches: half, and nearly all.
        for flag, aim in (
            (HALF, ""),
            (CONDITIONS, " (aim: at most 60)"),
            (NEARLY_ALL, " (aim: at most 60)"),
        ):
            for title, took in (
                (f"{USERS_IN_SQL:,} in one statement", partial(many, flag)),
                ("a statement each", partial(alone, flag, "…")),
                ("a transaction each", partial(alone, flag, "begin; …; commit")),
            ):
                samples = [took() for _ in range(options.rounds + 1)][1:]
                print(f"  {flag}, {title}: {statistics.median(samples) * 1e6:.1f}{aim}")


def propagation(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """From the kill switch's commit until other processes answer it, on the clock they share."""
    print(
        f"\nFlags: kill switch, commit → seen by {options.flag_followers} other processes,"
        f" {options.flag_changes} changes"
    )
    for mode, busy in (("all wait", 0), ("one is busy", 1)):
        # As it is made, it is on.
        filled(endpoints, options)
        seconds = delays(
            ["flags", FOLLOWED],
            range(2, 2 + options.flag_changes),
            kill_or_revive,
            followers=options.flag_followers,
            busy=busy,
        )
        print(
            f"  {mode:<12} p50 / p99 / max ms: {milliseconds(seconds)} / {max(seconds) * 1000:.2f}"
            " (aim: p99 at most 50)"
        )


def kill_or_revive(number: int) -> float:
    """Kill the flag for an even number, revive it for an odd one; return when COMMIT was sent."""
    from apps.flags.models import FeatureFlag
    from apps.flags.operations import kill_flag, revive_flag
    from layoverhq.tenancy import atomic, operator_scope

    with operator_scope(), atomic():
        flag = FeatureFlag.objects.get(name=FOLLOWED)
        if number % 2:
            revive_flag(flag=flag)
        else:
            kill_flag(flag=flag, reason="bench")
        return time.monotonic()


def results(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """An experiment's results, against counting its units by variant alone."""
    from apps.flags.models import Experiment
    from apps.flags.results import computed_results
    from layoverhq.tenancy import OPERATOR, operator_scope

    now = datetime.now(UTC)
    stage.fill_experiment(endpoints, options.flag_units, now - timedelta(days=30))
    with operator_scope():
        experiment = Experiment.objects.get(name="bench")

    def counted(_: None) -> None:
        with connections[OPERATOR].cursor() as cursor:
            cursor.execute(
                "select variant, count(*) from flag_exposures where started_at = %s"
                " and experiment_id = %s group by variant",
                [experiment.started_at, experiment.pk],
            )
            cursor.fetchall()

    def computed(_: None) -> None:
        with operator_scope():
            computed_results(experiment, now)

    seconds = in_turn({"counted": counted, "results": computed}, [None], rounds=options.rounds)
    median = {name: statistics.median(samples) for name, samples in seconds.items()}
    print(
        f"\nFlags: results of an experiment of {options.flag_units:,} units with two goals\n"
        f"  units by variant alone: {median['counted']:.2f} s\n"
        f"  results:                {median['results']:.2f} s,"
        f" {median['results'] / median['counted']:.1f} times as long"
    )


def bulk(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """All of a tenant's flags in one answer of OFREP, against the same bytes for nothing."""
    from bench.deciding import users

    filled(endpoints, options)
    _, token = customer()
    bodies = [
        json.dumps({"context": {"targetingKey": user.pop("user"), **user}}).encode()
        for user in users(300)
    ]
    paths = {
        "OFREP": BULK,
        "a view that knows the key": "/bench/same/known",
        "a bare view": "/bench/same/bare",
    }
    with server(workers=1) as port:
        client = Client(port, token)
        answer = client.ask(BULK, bodies[0])
        Path(os.environ["VAR_DIR"], "answer.json").write_bytes(answer)
        same = all(client.ask(path, bodies[0]) == answer for path in paths.values())
        samples = in_turn(
            {name: asking(client, path) for name, path in paths.items()},
            bodies,
            rounds=options.rounds,
        )
    count = len(json.loads(answer)["flags"])
    print(
        f"\nFlags: {count} of them in one answer of OFREP, {len(answer):,} bytes, one client"
        f" (same answers: {same})"
    )
    for name, times in samples.items():
        print(f"  {name:<28} p50 / p99 ms: {milliseconds(times)}")
    ours = statistics.median(samples["OFREP"])
    for name in list(paths)[1:]:
        print(f"  OFREP p50 / {name}: {ours / statistics.median(samples[name]):.2f}")

    rates: dict[str, list[float]] = {name: [] for name in paths}
    with server(workers=2) as port:
        for number in range(options.rounds + 1):
            for name, path in paths.items():
                rate = throughput(port, token, [(path, body) for body in bodies])
                if number:
                    rates[name].append(rate)
    print("\nThroughput of the same, eight clients on the same two cores")
    for name, values in rates.items():
        print(f"  {name:<28} {statistics.median(values):8.0f} requests/s")


def asking(client: Client, path: str) -> Callable[[bytes], Any]:
    """Return what posts a body there."""
    return lambda body: client.ask(path, body)
