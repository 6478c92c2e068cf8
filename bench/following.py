"""How long it takes until processes that follow see a change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from bench import stage


def delays(
    followed: Sequence[str],
    values: range,
    change: Callable[[int], float],
    *,
    followers: int,
    busy: int,
) -> list[float]:
    """Return, for each change, the seconds until the last process answered it; so many are busy.

    `followed` is the kind and the name that a follower is given; `change` commits a value and
    returns when COMMIT was sent.
    """
    command = [
        sys.executable, "-m", "bench.follower", *followed, str(values.start), str(values.stop)
    ]  # fmt: skip
    processes = [
        subprocess.Popen(
            [*command, *(["--busy"] if number < busy else [])],
            cwd=stage.ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(followers)
    ]
    try:
        for process in processes:
            line_of(process)
        measured = []
        for value in values:
            committed = change(value)
            measured.append(max(float(line_of(process)) for process in processes) - committed)
        return measured
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the process's next line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process that should tell ended: {process.wait()}")
    return line
