"""What a process starts with: its threads, and what it holds until it is started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from apps.configs.operations import UNSET, Proposal, draft_change_set, publish_change_set
from apps.configs.queries import RunningProcess, processes_with
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until


def publish(value: Any) -> int:
    """Publish the platform's number of threads and return its version."""
    with operator_scope():
        change_set = draft_change_set(
            title="Threads",
            reason="test",
            proposals=[Proposal("web.threads", value)],
            actor=None,
        )
        publish_change_set(change_set=change_set)
        return int(change_set.items.get().version)


@contextmanager
def published(value: int) -> Iterator[int]:
    """Let the platform have so many threads for the block; yields the version."""
    try:
        yield publish(value)
    finally:
        publish(UNSET)


def run(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=settings.BASE_DIR,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


SERVE = """
import json, os, threading
import django
from django.core.management import call_command

def execv(path, arguments):
    print(json.dumps([arguments, [thread.name for thread in threading.enumerate()]]))

os.execv = execv
django.setup()
call_command("serve")
"""


def test_serve__threads_published__starts_granian_with_them() -> None:
    with published(7):
        # The environment has no say in it any more.
        arguments, threads = json.loads(run(SERVE, WEB_THREADS="9").stdout)
    assert "--blocking-threads=7" in arguments
    # None follows changes: it would not survive the exec, and be listed as a process that runs.
    assert threads == ["MainThread"]
    arguments, _ = json.loads(run(SERVE).stdout)
    assert "--blocking-threads=4" in arguments


def listed(pid: int) -> list[RunningProcess]:
    return [each for each in processes_with("web.threads") if each.pid == pid]


WORKER = """
import sys
from layoverhq import wsgi
from layoverhq.snapshot import listener
assert listener.connected.wait(10)
print("ready", flush=True)
sys.stdin.readline()
"""


def test_web_worker__changed_after_its_start__is_listed_with_what_it_started_with() -> None:
    with published(7) as version:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with worker:
            try:
                assert worker.stdout is not None
                assert "ready\n" in iter(worker.stdout.readline, "")
            except BaseException:
                worker.kill()
                raise
            with published(8) as newer, operator_scope():
                until(lambda: listed(worker.pid))
                (found,) = listed(worker.pid)
            worker.communicate("\n")
    assert newer > version
    assert (found.kind, found.version) == ("web", version)
