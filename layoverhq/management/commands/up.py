"""`manage.py up`: the whole platform in the foreground of one terminal."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from honcho.environ import parse_procfile

from layoverhq import environment
from layoverhq.environment import EnvironmentProblem
from layoverhq.stack import Stack, StackProblem, ensure_keys
from layoverhq.stack.files import held_lock, read_json_object
from layoverhq.stack.ports import free_ports, is_free
from layoverhq.stack.processes import marked, send, unreaped_below

PURPOSE = "up"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEFAULT_PORT = 8000
HEALTHY_SECONDS = 90
# honcho gives its processes five seconds, then kills them.
GRACE_SECONDS = 15
# Time for a process that cannot live to die, and for the others to finish their greetings.
SETTLE_SECONDS = 2
WATCH_SECONDS = 0.5
# honcho gives the first process its port, and each one after it this many more.
PORT_STEP = 100
LISTENING = ("web", "stream")

# Every process of `up` carries it, with the checkout's folder as the value.
MARK = "LAYOVERHQ_UP"


class Command(BaseCommand):
    help = "Start the servers, migrate, seed and run the Procfile until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-seed", action="store_true", help="neither seed nor load the demo network"
        )

    def handle(self, *args: Any, no_seed: bool, **options: Any) -> None:
        var = environment.var_directory()
        var.mkdir(parents=True, exist_ok=True)
        try:
            with held_lock(var / "up.lock", wait=False):
                code = Platform(var, seed=not no_seed).run()
        except BlockingIOError:
            raise CommandError(
                "it already runs in this checkout: end that with Ctrl-C first"
            ) from None
        except StackProblem as problem:
            raise CommandError(str(problem)) from problem
        if code:
            sys.exit(code)


class Stopped(Exception):
    """Somebody asked to stop."""


class Platform:
    """One run of everything, from the servers to the last process; it leaves nothing behind.

    The caller holds the lock, so any process that carries our mark is left from a run that was
    killed, and any server that was started for our purpose is ours to stop.
    """

    def __init__(self, var: Path, *, seed: bool) -> None:
        self.var = var
        self.seed = seed
        self.stack = Stack(var, say=say)
        self.embedded = _is_embedded()
        self.commands = _commands()
        self.processes = [name for name in self.commands if name != "release"]
        self.variables: dict[str, str] = {}
        self.asked_to_stop = False

    def run(self) -> int:
        """Return the exit code: 0 where somebody asked to stop."""
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask_to_stop)
        try:
            self._end_leftovers()
            self._begin()
        except Stopped:
            say("Stopping …")
            return 0
        finally:
            # A second Ctrl-C must not cut the way down short.
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            self._end_leftovers()
            if self.embedded:
                for name in self.stack.stop(purpose=PURPOSE):
                    say(f"{name} stopped.")
        return 1

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_stop = True

    def _begin(self) -> None:
        port = self.first_port()
        urls = {name: f"http://127.0.0.1:{self._port(port, name)}" for name in LISTENING}
        self.variables = {"STREAM_URL": os.environ.get("STREAM_URL") or urls["stream"]}
        if self.embedded:
            say("Starting PostgreSQL and Valkey …")
            self.stack.start(purpose=PURPOSE)
        else:
            environment.require_reachable(*environment.URLS)
            ensure_keys(self.var)
        say("Migrating and seeding …" if self.seed else "Migrating …")
        if self.seed:
            # In one process, because a start should take seconds.
            seed = "python manage.py seed_demo --release --verbosity=0"
            self._finish("seed", f"{seed} --url {urls['web']} --stream-url {urls['stream']}")
        else:
            self._finish("release", self.commands["release"])
        self.require_free(port)
        self._serve(port, urls)

    def _port(self, first: int, name: str) -> int:
        return first + PORT_STEP * self.processes.index(name)

    def first_port(self) -> int:
        """Return a port from which on honcho's are free for all who listen."""
        wanted = environment.integer("PORT", DEFAULT_PORT, 1, 65535)
        host = environment.read("HOST") or "127.0.0.1"
        for port in free_ports(wanted, host):
            if all(is_free(self._port(port, name), host) for name in LISTENING):
                if port != wanted:
                    taken = " or ".join(str(self._port(wanted, name)) for name in LISTENING)
                    told = ", ".join(f"{name} on {self._port(port, name)}" for name in LISTENING)
                    say(f"Port {taken} is taken: {told} instead.")
                return port
        raise EnvironmentProblem("PORT", f"no port from {wanted} on is free")

    def require_free(self, first: int) -> None:
        """Raise EnvironmentProblem if somebody took a port since it was chosen.

        The servers themselves would share it, and a caller be answered by either.
        """
        host = environment.read("HOST") or "127.0.0.1"
        for name in LISTENING:
            if not is_free(port := self._port(first, name), host):
                raise EnvironmentProblem("PORT", f"{port} was taken meanwhile: start again")

    def _finish(self, name: str, command: str) -> None:
        """Run the command to its end; raise CommandError where it fails."""
        with self._child(["/bin/sh", "-c", command]) as process:
            while process.poll() is None:
                self._wait(process)
        if process.returncode != 0:
            raise CommandError(f"`{command}` failed ({name}, exit code {process.returncode})")

    def _serve(self, port: int, urls: Mapping[str, str]) -> None:
        """Run the Procfile until a process ends or somebody asks to stop."""
        # The checkout's own variables come from its environment file alone, never from `.env`.
        honcho = ["-m", "honcho", "--procfile", "Procfile", "--env", os.devnull]
        command = [sys.executable, *honcho, "start", "--port", str(port), *self.processes]
        announced = False
        began = time.monotonic()
        ended: frozenset[int] = frozenset()
        with self._child(command) as process:
            while process.poll() is None:
                self._wait(process)
                # honcho notices an end by the closed output, which a killed process's own
                # children hold open; twice in a row, so that it had its chance.
                before, ended = ended, unreaped_below(process.pid)
                if before & ended:
                    break
                if announced:
                    self._repair_servers()
                    continue
                waited = time.monotonic() - began
                if waited < SETTLE_SECONDS:
                    continue
                checks = (f"{url}/healthz" for url in urls.values())
                silent = next((check for check in checks if not _answers(check)), None)
                if silent is None:
                    say(_banner(self.var, urls))
                    announced = True
                elif waited > HEALTHY_SECONDS:
                    raise CommandError(f"{silent} does not answer")
        say("A process ended by itself, so everything stops; its last words are above.")

    @contextmanager
    def _child(self, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a marked process in its own session, out of Ctrl-C's reach, and end it after."""
        process = subprocess.Popen(  # noqa: S603 - the Procfile's lines and our own
            command, cwd=environment.ROOT, env=self._environ(), start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _environ(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        return (
            os.environ
            | self.variables
            | {
                MARK: str(self.var.resolve()),
                "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
                "PYTHONUNBUFFERED": "1",
            }
        )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Give the process a moment; raise Stopped where somebody asked for it."""
        with suppress(subprocess.TimeoutExpired):
            process.wait(WATCH_SECONDS)
        if self.asked_to_stop:
            raise Stopped

    def _repair_servers(self) -> None:
        if not self.embedded or all(server.pid for server in self.stack.status()):
            return
        say("A server died: starting it again …")
        before = environment.read("DATABASE_URL"), environment.read("REDIS_URL")
        self.stack.start(purpose=PURPOSE)
        if before != (environment.read("DATABASE_URL"), environment.read("REDIS_URL")):
            raise CommandError("its port was taken meanwhile: run it again")

    def _end_leftovers(self) -> None:
        """End what carries our mark, in order if it listens and by force if not."""
        for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            left = marked(MARK, str(self.var.resolve()), environment.ROOT)
            if not left:
                return
            say(f"Ending {len(left)} process(es) that were left running …")
            send(left, number, timeout=patience)


def say(line: str) -> None:
    """Tell the terminal, which may be gone."""
    with suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _is_embedded() -> bool:
    """Tell whether the servers are ours to run; raise EnvironmentProblem where that is unclear."""
    missing = [name for name in environment.URLS if not os.environ.get(name)]
    if not missing:
        return False
    given = [name for name in environment.URLS if name not in missing]
    if given:
        raise EnvironmentProblem(missing[0], f"is not set, although {given[0]} is: set all four")
    if os.environ.get("ENVIRONMENT") == "production":
        raise EnvironmentProblem(missing[0], "is not set, and production embeds no servers")
    return True


def _commands() -> Mapping[str, str]:
    text = (environment.ROOT / "Procfile").read_text(encoding="utf-8")
    commands: Mapping[str, str] = parse_procfile(text).processes
    return commands


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _banner(var: Path, urls: Mapping[str, str]) -> str:
    now = {"url": urls["web"], "events_url": f"{urls['stream']}/api/v1/events"}
    access = {name: str(value) for name, value in read_json_object(var / "access.json").items()}
    # Without a seed the file is that of an earlier run, maybe on other ports.
    for name, address in now.items():
        if before := access.get(name):
            access = {each: value.replace(before, address) for each, value in access.items()}
    access |= now
    if storefront := access.get("storefront_url"):
        port = urls["web"].rpartition(":")[2]
        access["storefront_url"] = f"{storefront.rpartition(':')[0]}:{port}"
    lines = [
        f"{label:<10} {access[key]}"
        for label, key in (
            ("Platform", "url"),
            ("Storefront", "storefront_url"),
            ("API pages", "docs_url"),
            ("Events", "events_url"),
            ("Admin", "admin_url"),
            ("  email", "admin_email"),
            ("  password", "admin_password"),
            ("API key", "api_key"),
        )
        if key in access
    ]
    for name in ("curl", "curl_events"):
        if name in access:
            lines += ["", str(access[name])]
    rule = "─" * 72
    return "\n".join(["", rule, *lines, "", "Ctrl-C stops everything.", rule, ""])
