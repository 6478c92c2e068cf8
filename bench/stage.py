"""The servers, the databases and the synthetic inventory that benchmarks run on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from layoverhq.stack import Endpoints, Stack
from layoverhq.stack.bootstrap import create_roles_and_database
from layoverhq.stack.schema import drop_database, schema_digest

ROOT = Path(__file__).resolve().parent.parent
SMALL, LARGE, CONFIGS = "layoverhq", "bench_large", "bench_configs"
EXPIRED = "bench_expired"
ROUTES_A_CHUNK = 250
OFFERS_A_ROUTE = 14 * 36
KEYS_A_CHUNK = 100
FILL = (ROOT / "bench" / "sql" / "fill.sql").read_text()
FILL_CONFIGS = (ROOT / "bench" / "sql" / "fill_configs.sql").read_text()
FILL_EXPERIMENT = (ROOT / "bench" / "sql" / "fill_experiment.sql").read_text()
FILL_FLAGS = (ROOT / "bench" / "sql" / "fill_flags.sql").read_text()


def start() -> Endpoints:
    """Start the servers and migrate both databases."""
    files = ROOT / "var" / "bench" / "files"
    files.mkdir(parents=True, exist_ok=True)
    os.environ["VAR_DIR"] = str(files)
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.settings"
    endpoints = Stack(ROOT / "var" / "bench").start(purpose="bench")
    for name in (SMALL, LARGE):
        prepare(endpoints, name)
    os.environ.update(endpoints.environ(LARGE))
    return endpoints


def prepare(endpoints: Endpoints, database: str) -> None:
    """Make the database, anew if what it is made of has changed, and migrate it."""
    with psycopg.connect(endpoints.superuser_dsn(), autocommit=True) as server:
        made_of = server.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = %s",
            [database],
        ).fetchone()
        if made_of != (schema_digest(),):
            drop_database(server, database)
    create_roles_and_database(endpoints.superuser_dsn(), database, endpoints.passwords)
    subprocess.run(
        [sys.executable, "manage.py", "release", "--verbosity=0"],
        cwd=ROOT,
        env={**os.environ, **endpoints.environ(database)},
        check=True,
    )
    with psycopg.connect(endpoints.superuser_dsn(database)) as server:
        # The peers' tables have no migration of ours to grant them.
        peers = "constance_constance, waffle_flag, waffle_flag_users, waffle_flag_groups"
        server.execute(f"grant select on {peers} to layoverhq_app")
        server.execute(f"grant select, insert, update on {peers} to layoverhq_operator")
        server.execute(
            sql.SQL("comment on database {} is {}").format(
                sql.Identifier(database), sql.Literal(schema_digest())
            )
        )


def stop() -> None:
    """Stop the servers."""
    Stack(ROOT / "var" / "bench").stop()


def fill(endpoints: Endpoints, database: str, offers: int, *, expired: bool = False) -> None:
    """Bring the database to about so many synthetic offers of coming days.

    With `expired` each stands a second time, expired.
    """
    if _filled.get(database) == offers:
        return
    print(f"\nFilling {database}")
    with psycopg.connect(endpoints.superuser_dsn(database), autocommit=True) as server:
        server.execute("create table if not exists bench_fill (day date, routes bigint)")
        row = server.execute("select day, routes from bench_fill").fetchone()
        today = server.execute("select current_date").fetchone()
        assert today is not None
        wanted = offers // OFFERS_A_ROUTE
        if row is None or row[0] != today[0] or row[1] > wanted:
            # Yesterday's rows are of other days, and a larger fill cannot shrink: begin anew.
            server.execute("truncate flights, flight_layovers, bench_fill")
            server.execute("insert into bench_fill values (current_date, 0)")
            row = (today[0], 0)
        server.execute(
            "select ensure_month_partitions(p, current_date, current_date + 16)"
            " from unnest(array['flights', 'flight_layovers']) as p"
        )
        began = time.monotonic()
        if wanted > row[1]:
            firsts = range(row[1], wanted, ROUTES_A_CHUNK)
            with ThreadPoolExecutor(max_workers=2) as both:
                for _ in both.map(
                    lambda first: _fill_chunk(
                        endpoints, database, first, min(first + ROUTES_A_CHUNK, wanted), expired
                    ),
                    firsts,
                ):
                    pass
            server.execute("update bench_fill set routes = %s", [wanted])
            server.execute("vacuum analyze flights, flight_layovers")
            server.execute("checkpoint")
        count = server.execute("select count(*) from flights").fetchone()
        assert count is not None
        print(f"  {count[0]:,} offers ({time.monotonic() - began:.0f} s to fill)")
        _filled[database] = offers


_filled: dict[str, int] = {}


def _fill_chunk(endpoints: Endpoints, database: str, first: int, last: int, expired: bool) -> None:
    with psycopg.connect(endpoints.superuser_dsn(database), autocommit=True) as server:
        server.execute("set synchronous_commit = off")
        server.execute(FILL, {"first": first, "last": last, "expired": expired})


def fill_configs(endpoints: Endpoints, keys: int, overrides: int) -> None:
    """Bring a database of its own to so many synthetic keys with so many overrides each."""
    prepare(endpoints, CONFIGS)
    with psycopg.connect(endpoints.superuser_dsn(CONFIGS), autocommit=True) as server:
        server.execute("create table if not exists bench_fill (keys bigint, overrides bigint)")
        row = server.execute("select keys, overrides from bench_fill").fetchone()
        if row == (keys, overrides):
            return
        print(f"\nFilling {CONFIGS}")
        began = time.monotonic()
        server.execute("truncate bench_fill, system_configs, snapshot_changes")
        server.execute("delete from config_keys where key ^@ 'bench.'")
        server.execute(
            """
            insert into enterprises (
                name, slug, schema_name, status, subscription_plan, isolation, updated_at
            )
            select
                'Bench ' || n, 'bench-' || n, 'bench_' || n, 'active', 'free', 'pooled', now()
            from generate_series(1, %s) as n
            on conflict do nothing
            """,
            [overrides],
        )
        chunks = [
            (first, min(first + KEYS_A_CHUNK, keys)) for first in range(0, keys, KEYS_A_CHUNK)
        ]
        with ThreadPoolExecutor(max_workers=2) as both:
            for _ in both.map(lambda chunk: _fill_keys(endpoints, *chunk, overrides), chunks):
                pass
        server.execute("vacuum analyze config_keys, system_configs")
        server.execute("insert into bench_fill values (%s, %s)", [keys, overrides])
        server.execute("checkpoint")
        print(f"  {keys:,} keys × {overrides:,} overrides ({time.monotonic() - began:.0f} s)")


def _fill_keys(endpoints: Endpoints, first: int, last: int, overrides: int) -> None:
    with psycopg.connect(
        endpoints.superuser_dsn(CONFIGS), autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as server:
        server.execute("set synchronous_commit = off")
        server.execute("set session_replication_role = replica")
        server.execute(FILL_CONFIGS, {"first": first, "last": last, "overrides": overrides})


def fill_flags(endpoints: Endpoints, bulk: int, conditions: dict[str, Any]) -> None:
    """Make the flags that are evaluated, so many of them for tenants to ask for at once."""
    with psycopg.connect(endpoints.superuser_dsn(LARGE)) as server:
        server.execute("delete from feature_flags where name ^@ 'bench.'")
        server.execute(FILL_FLAGS, {"bulk": bulk, "conditions": Jsonb(conditions)})


def fill_experiment(endpoints: Endpoints, units: int, started_at: datetime) -> None:
    """Start the experiment whose results are computed, and let units meet it."""
    from apps.flags import experiments, operations
    from apps.flags.definitions import blank_definition
    from apps.flags.models import Experiment
    from layoverhq.tenancy import operator_scope

    with psycopg.connect(endpoints.superuser_dsn(LARGE)) as server:
        server.execute("set session_replication_role = replica")
        server.execute("truncate flag_exposures, tracked_events")
        server.execute("delete from flag_experiment_goals; delete from flag_experiments")
        server.execute(
            "delete from flag_versions where flag_id in (select id from feature_flags"
            " where name = 'experiment.bench')"
        )
        server.execute("delete from feature_flags where name = 'experiment.bench'")
    definition = blank_definition("string") | {
        "enabled": True,
        "rollout_percentage": 100,
        "variants": [{"key": key, "value": key} for key in ("off", "a", "b")],
        "on_variant": "a",
        "weights": {"a": 5000, "b": 5000},
    }
    with operator_scope():
        flag = operations.create_flag(
            name="experiment.bench",
            value_type="string",
            definition=definition,
            reason="bench",
            actor=None,
        )
        experiment = experiments.save_experiment(
            experiment=Experiment(
                flag=flag,
                name="bench",
                hypothesis="None.",
                control_variant="a",
                alpha=Decimal("0.05"),
            ),
            goals=[
                experiments.Goal("booked", "conversion", 24, is_primary=True),
                experiments.Goal("booked", "mean", 48),
            ],
            actor=None,
        )
        experiments.start_experiment(experiment=experiment, now=started_at)
    with psycopg.connect(endpoints.superuser_dsn(LARGE)) as server:
        for month in (started_at, started_at + timedelta(days=31)):
            for parent in ("flag_exposures", "tracked_events"):
                server.execute(
                    "select ensure_month_partitions(%s, %s::date, %s::date)", [parent, month, month]
                )
        server.execute("set session_replication_role = replica")
        server.execute(
            FILL_EXPERIMENT,
            {
                "experiment": experiment.pk,
                "started_at": started_at,
                "enterprise": uuid4(),
                "units": units,
            },
        )
        server.commit()
        server.autocommit = True
        server.execute("vacuum analyze flag_exposures, tracked_events")


def routes(endpoints: Endpoints, database: str, count: int) -> list[tuple[str, str, Any]]:
    """Return so many random routes and days that have offers; the same ones each time."""
    with psycopg.connect(endpoints.superuser_dsn(database)) as server:
        row = server.execute("select routes from bench_fill").fetchone()
        assert row is not None
        return server.execute(
            """
            with hub as (
                select array_agg(iata order by iata) as codes
                from (
                    select iata from airports where country = 'US' order by iata limit 300
                ) as chosen
            )
            select
                codes[1 + route / 299],
                codes[1 + (route / 299 + 1 + route %% 299) %% 300],
                current_date + 2 + (abs(hashint8(n * 7)) %% 13)
            from hub, generate_series(1, %s) as n,
                lateral (select abs(hashint8(n)) %% %s as route) as drawn
            """,
            [count, row[0]],
        ).fetchall()
