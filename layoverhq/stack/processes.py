"""Processes told apart by what the kernel says of them, never by their number alone."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from layoverhq.stack.problems import StackProblem


@dataclass(frozen=True)
class Account:
    """The user under whom a server runs."""

    uid: int
    gid: int


def running_in(directory: Path, executables: Iterable[Path]) -> frozenset[int]:
    """Return the live processes that run one of the executables in exactly this folder."""
    wanted = {str(path) for path in executables}
    folder = str(directory)
    return frozenset(
        pid
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if _link(pid, "cwd") == folder and _link(pid, "exe") in wanted
    )


def _link(pid: int, name: str) -> str | None:
    try:
        target = os.readlink(f"/proc/{pid}/{name}")
    except OSError:  # gone, a zombie, or somebody else's
        return None
    # An upgrade replaces the file below a running server.
    return target.removesuffix(" (deleted)")


def is_alive(pid: int) -> bool:
    """Tell whether the process exists and is no zombie."""
    return _link(pid, "exe") is not None


def send(pids: Iterable[int], number: signal.Signals, *, timeout: float) -> bool:
    """Signal the processes and wait until all have ended; return whether they have.

    A process is signalled through a handle on it, so that a reused number hits nobody.
    """
    deadline = time.monotonic() + timeout
    poll = select.poll()
    with ExitStack() as handles:
        waiting = set()
        for pid in pids:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            handles.callback(os.close, handle)
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                continue
            poll.register(handle, select.POLLIN)
            waiting.add(handle)
        while waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for handle, _ in poll.poll(left * 1000):
                poll.unregister(handle)
                waiting.discard(handle)
    return True


# The shell ends at once and init adopts the server: nobody has to reap it, and it survives us.
DETACH = 'umask 077; log=$1; shift; "$@" </dev/null >"$log" 2>&1 & echo "$!"'


def spawn_detached(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    account: Account | None,
    inherit: int,
) -> int:
    """Start the command in a session of its own and return its process number.

    It inherits the descriptor `inherit`, and with it the lock that this holds.
    """
    shell = ["/bin/sh", "-c", DETACH, "sh", log, *command]
    spawned = run_as(account, shell, cwd=cwd, inherit=[inherit])
    if spawned.returncode != 0:
        raise StackProblem(f"cannot start {command[0]}: {spawned.stderr.strip()}")
    return int(spawned.stdout)


def run_as(
    account: Account | None,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    inherit: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end as the account, with nothing of our environment."""
    return subprocess.run(  # noqa: S603 - our own programs, no shell reads the arguments
        command,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        pass_fds=inherit,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def marked(name: str, value: str, directory: Path) -> frozenset[int]:
    """Return the live processes in this folder that were started with this variable.

    Ours alone: nobody else sets it, and other users' environments cannot be read.
    """
    entry = f"{name}={value}".encode()
    return frozenset(
        pid
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if _link(pid, "cwd") == str(directory) and entry in _environ(pid)
    )


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def unreaped_below(pid: int) -> frozenset[int]:
    """Return the children and grandchildren that have ended and that nobody has taken note of."""
    states = dict(filter(None, map(_state, filter(str.isdigit, os.listdir("/proc")))))
    children = {child for child, (parent, _) in states.items() if parent == pid}
    family = children | {child for child, (parent, _) in states.items() if parent in children}
    return frozenset(child for child in family if states[child][1] == "Z")


def _state(pid: str) -> tuple[int, tuple[int, str]] | None:
    """Return the process with its parent and state, None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name stands in parentheses and may hold anything, even these.
    state, parent = text.rpartition(")")[2].split()[:2]
    return int(pid), (int(parent), state)
