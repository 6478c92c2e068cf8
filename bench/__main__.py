"""Print the benchmarks."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Callable

from bench import (
    analyses,
    composing,
    configs,
    flags,
    flights,
    imports,
    layovers,
    scoring,
    stage,
)
from layoverhq.stack import Endpoints

PARTS: dict[str, Callable[[Endpoints, argparse.Namespace], None]] = {
    "flights.search": flights.search,
    "flights.isolation": flights.row_level_security,
    "flights.score": scoring.score,
    "flights.loading": flights.loading,
    "flights.sizes": flights.sizes,
    "flights.imports": imports.imports,
    "composing.day": composing.day,
    "composing.stored": composing.stored,
    "layovers.place": layovers.by_place,
    "layovers.expired": layovers.expired,
    "layovers.popular": layovers.popular,
    "layovers.analyses": analyses.analyses,
    "configs.reads": configs.reads,
    "configs.propagation": configs.propagation,
    "configs.snapshot": configs.snapshot,
    "flags.evaluation": flags.evaluation,
    "flags.sql": flags.in_sql,
    "flags.propagation": flags.propagation,
    "flags.bulk": flags.bulk,
    "flags.results": flags.results,
}


def main() -> None:
    """Run what was asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="part",
        type=chosen,
        help="what to run, all if none is named: a group, such as flights, or one of"
        f" {', '.join(PARTS)}",
    )
    parser.add_argument("--rounds", type=int, default=5)
    flights.add_options(parser.add_argument_group("flights"))
    imports.add_options(parser.add_argument_group("imports"))
    configs.add_options(parser.add_argument_group("configs"))
    flags.add_options(parser.add_argument_group("flags"))
    options = parser.parse_args()
    asked = {name for names in options.parts for name in names} or set(PARTS)

    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}")
    endpoints = stage.start()
    try:
        import django

        django.setup()
        for name, run in PARTS.items():
            if name in asked:
                run(endpoints, options)
    finally:
        from layoverhq.snapshot import listener

        listener.stop()
        stage.stop()


def chosen(word: str) -> list[str]:
    """Return the parts that a word names: one of them, or all of a group."""
    names = [name for name in PARTS if name == word or name.startswith(f"{word}.")]
    if not names:
        raise argparse.ArgumentTypeError(f"there is no part “{word}”")
    return names


def machine() -> str:
    """Return what the figures are measured on, and how much it has to do besides."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()};"
        f" load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
