"""One embedded server each: PostgreSQL and Valkey, from nothing to ready and back."""

import json
import os
import secrets
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from layoverhq.stack.binaries import Binaries
from layoverhq.stack.files import held_lock
from layoverhq.stack.ports import free_ports, is_free
from layoverhq.stack.problems import StackProblem
from layoverhq.stack.processes import (
    Account,
    is_alive,
    run_as,
    running_in,
    send,
    spawn_detached,
)

HOST = "127.0.0.1"
SUPERUSER = "postgres"

# Recovery after a crash replays up to max_wal_size, so readiness may take its time.
READY_SECONDS = 180
STOP_SECONDS = 60
POLL_SECONDS = 0.02
# A stranger on the port refuses too, until our server has found the port taken and ended.
REFUSAL_SECONDS = 1

Say = Callable[[str], None]


class PasswordRefused(StackProblem):
    """A server of ours was made with another password than the one that is on record."""


class Server(ABC):
    """A server that lives in one private folder, its cell.

    The server and all its children inherit the kernel's lock on `<cell>/lock`, so a lock that can
    be taken proves that nothing of it runs. A process is ours if it runs our program in our
    folder; a process number in a file is at most a hint to the first among those.
    """

    name: ClassVar[str]
    first_port: ClassVar[int]
    stop_signals: ClassVar[tuple[signal.Signals, ...]]
    orphan_signal: ClassVar[signal.Signals]

    def __init__(
        self,
        cell: Path,
        *,
        programs: list[Binaries],
        account: Account | None,
        password: str,
        durable: bool,
        say: Say,
    ) -> None:
        self.cell = cell
        self.account = account
        self.password = password
        self.durable = durable
        self.say = say
        self.binaries = programs[0]
        self.executables = [self.executable(binaries) for binaries in programs]

    @staticmethod
    @abstractmethod
    def executable(binaries: Binaries) -> Path:
        """Return the server's own program."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder in which the server runs."""

    @abstractmethod
    def noted_pid(self) -> int | None:
        """Return the process number that the server wrote down, which may be anybody's."""

    @abstractmethod
    def noted_port(self) -> int | None:
        """Return the port that the running server wrote down."""

    @abstractmethod
    def prepare(self) -> None:
        """Make or repair the files; nothing of the server runs meanwhile."""

    @abstractmethod
    def configure(self, port: int) -> list[str | Path]:
        """Write the configuration and return the command that starts the server."""

    @abstractmethod
    def is_ready(self, port: int) -> bool:
        """Tell by protocol whether our server answers there; raise PasswordRefused."""

    @abstractmethod
    def complaint(self) -> str:
        """Return the server's last words about why it does not run."""

    def pid(self) -> int | None:
        """Return the running server's process number, None where it does not run."""
        noted = self.noted_pid()
        return noted if noted in self._processes() else None

    def start(self, preferred: int) -> int:
        """Return the port on which the server is ready; keep the one that runs already."""
        adopted = self._adopted()
        if adopted is not None:
            return adopted
        self._end_orphans()
        self._make_cell()
        try:
            with held_lock(self.cell / "lock", wait=False) as lock:
                return self._launched(preferred, lock)
        except BlockingIOError as problem:
            raise StackProblem(
                f"{self.cell} is in use by a process that cannot be seen from here"
            ) from problem

    def stop(self) -> bool:
        """Stop the server in order and return whether it ran; raise StackProblem if it stays."""
        pid = self.pid()
        if pid is not None and not any(
            send([pid], number, timeout=STOP_SECONDS) for number in self.stop_signals
        ):
            raise StackProblem(f"{self.name} (process {pid}) does not stop")
        self._end_orphans()
        return pid is not None

    def _processes(self) -> frozenset[int]:
        return running_in(self.folder, self.executables)

    def _adopted(self) -> int | None:
        pid = self.pid()
        if pid is None:
            return None
        port = self.noted_port()
        with suppress(PasswordRefused):
            if port is not None and self._becomes_ready(port, pid):
                return port
        self.stop()
        return None

    def _end_orphans(self) -> None:
        """End what a killed server left behind: it keeps the data in use, and serves nobody."""
        for number, patience in ((self.orphan_signal, 10), (signal.SIGKILL, 10)):
            if send(self._processes(), number, timeout=patience):
                return

    def _make_cell(self) -> None:
        self.cell.mkdir(mode=0o700, exist_ok=True)
        if self.account is not None:
            os.chown(self.cell, self.account.uid, self.account.gid)

    def _launched(self, preferred: int, lock: int) -> int:
        self.prepare()
        for port in free_ports(preferred):
            if port != preferred:
                self.say(f"Port {preferred} is taken: {self.name} listens on {port} instead.")
            pid = spawn_detached(
                self.configure(port),
                cwd=self.cell,
                log=self.cell / "start.log",
                account=self.account,
                inherit=lock,
            )
            if self._becomes_ready(port, pid):
                return port
            if is_free(port):
                raise StackProblem(f"{self.name} does not start: {self.complaint()}")
        raise StackProblem(f"{self.name} finds no free port from {preferred} on")

    def _becomes_ready(self, port: int, pid: int) -> bool:
        """Wait while the process lives; raise StackProblem when it takes too long."""
        began = time.monotonic()
        told = False
        while is_alive(pid):
            waited = time.monotonic() - began
            try:
                if self.is_ready(port):
                    return True
            except PasswordRefused:
                if waited > REFUSAL_SECONDS:
                    raise
            if waited > READY_SECONDS:
                raise StackProblem(f"{self.name} is not ready after {READY_SECONDS} seconds")
            if waited > 5 and not told:
                told = True
                self.say(f"{self.name} is still starting (it repairs its data after a crash) …")
            time.sleep(POLL_SECONDS)
        return False

    def _lost(self) -> str:
        return (
            f"{self.name} in {self.cell} refuses the password on record: restore servers.json, "
            "or erase the data with `manage.py stack reset --yes`"
        )

    def private_file(self, name: str, content: str) -> Path:
        """Write a file into the cell that only the server's user can read."""
        path = self.cell / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if self.account is not None:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)
            file.write(content)
        return path


class Postgres(Server):
    """PostgreSQL on the loopback address only, SCRAM passwords only, no Unix socket."""

    name = "PostgreSQL"
    first_port = 5433
    stop_signals = (signal.SIGINT, signal.SIGQUIT)
    orphan_signal = signal.SIGQUIT

    @staticmethod
    def executable(binaries: Binaries) -> Path:
        return binaries.postgres

    @property
    def folder(self) -> Path:
        return self.cell / "data"

    def noted_pid(self) -> int | None:
        return self._noted(0)

    def noted_port(self) -> int | None:
        return self._noted(3)

    def _noted(self, line: int) -> int | None:
        try:
            return int((self.folder / "postmaster.pid").read_text().splitlines()[line])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def prepare(self) -> None:
        # PostgreSQL would take any live process with that number for a server of its own.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        if not self.folder.exists():
            self._initialise()
        found = (self.folder / "PG_VERSION").read_text().strip()
        if found != "18":
            raise StackProblem(
                f"{self.folder} was written by PostgreSQL {found}, and this is 18: move it away"
            )

    def _initialise(self) -> None:
        """Make the data folder; a half-made one never has its name."""
        fresh = self.cell / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password = self.private_file("initial-password", self.password + "\n")
        try:
            made = run_as(
                self.account,
                [
                    self.binaries.initdb,
                    f"--pgdata={fresh}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--locale=C.UTF-8",
                    *(() if self.durable else ("--no-sync",)),
                ],
                cwd=self.cell,
            )
        finally:
            password.unlink()
        if made.returncode != 0:
            raise StackProblem(f"initdb failed: {last_line(made.stderr)}")
        fresh.rename(self.folder)

    def configure(self, port: int) -> list[str | Path]:
        access = self.private_file("pg_hba.conf", f"host all all {HOST}/32 scram-sha-256\n")
        settings = {
            "listen_addresses": HOST,
            "port": port,
            "unix_socket_directories": "",
            "hba_file": access,
            "max_connections": 200,
            "password_encryption": "scram-sha-256",
            "shared_buffers": "256MB",
            "work_mem": "16MB",
            "maintenance_work_mem": "256MB",
            "effective_cache_size": "1GB",
            "random_page_cost": 1.1,
            "jit": "off",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "wal_compression": "on",
            "max_wal_size": "4GB",
            "min_wal_size": "512MB",
            "checkpoint_timeout": "15min",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "on",
            "log_directory": self.cell / "log",
            "log_filename": "postgres-%a.log",
            "log_truncate_on_rotation": "on",
            "log_rotation_age": "1d",
            "log_rotation_size": 0,
            "log_lock_waits": "on",
            "log_checkpoints": "off",
        }
        if (self.binaries.postgres.parents[1] / "lib/pg_stat_statements.so").exists():
            settings["shared_preload_libraries"] = "pg_stat_statements"
            settings["track_io_timing"] = "on"
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        lines = (f"{name} = '{quoted(value)}'\n" for name, value in settings.items())
        config = self.private_file("postgres.conf", "".join(lines))
        return [self.binaries.postgres, "-D", self.folder, f"--config-file={config}"]

    def is_ready(self, port: int) -> bool:
        try:
            with psycopg.connect(
                host=HOST,
                port=port,
                user=SUPERUSER,
                password=self.password,
                dbname="postgres",
                connect_timeout=5,
                sslmode="disable",
            ):
                return True
        except psycopg.OperationalError as problem:
            if "password authentication failed" in str(problem):
                raise PasswordRefused(self._lost()) from problem
            return False

    def complaint(self) -> str:
        logs = [self.cell / "start.log", *(self.cell / "log").glob("postgres-*.log")]
        return complaint_in(max(logs, key=lambda path: path.stat().st_mtime), "FATAL")


class Valkey(Server):
    """Valkey on the loopback address only, with a password and an append-only file."""

    name = "Valkey"
    first_port = 6390
    stop_signals = (signal.SIGTERM,)
    orphan_signal = signal.SIGTERM

    @staticmethod
    def executable(binaries: Binaries) -> Path:
        return binaries.valkey

    @property
    def folder(self) -> Path:
        return self.cell / "data"

    def noted_pid(self) -> int | None:
        try:
            return int((self.cell / "valkey.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def noted_port(self) -> int | None:
        try:
            return int((self.cell / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def prepare(self) -> None:
        (self.cell / "valkey.pid").unlink(missing_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.account is not None:
            os.chown(self.folder, self.account.uid, self.account.gid)

    def configure(self, port: int) -> list[str | Path]:
        self.private_file("port", str(port))
        settings = {
            "bind": HOST,
            "port": port,
            "requirepass": self.password,
            "dir": self.folder,
            "pidfile": self.cell / "valkey.pid",
            "daemonize": "no",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": "",
            # A broker that evicts loses tasks.
            "maxmemory-policy": "noeviction",
            "maxclients": 1000,
        }
        # Within double quotes, Valkey reads JSON's escapes of quote and backslash.
        lines = (
            f"{name} {json.dumps(str(value), ensure_ascii=False)}\n"
            for name, value in settings.items()
        )
        return [self.binaries.valkey, self.private_file("valkey.conf", "".join(lines))]

    def is_ready(self, port: int) -> bool:
        client = redis.Redis(
            host=HOST,
            port=port,
            password=self.password,
            socket_timeout=5,
            # Our own loop asks again, and sooner.
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(client.ping())
        except redis.AuthenticationError as problem:
            raise PasswordRefused(self._lost()) from problem
        except redis.RedisError:
            return False
        finally:
            client.close()

    def complaint(self) -> str:
        return complaint_in(self.cell / "start.log", "")


def new_password() -> str:
    """Return a password that needs no quoting in a URL or a configuration file."""
    return secrets.token_urlsafe(32)


def quoted(value: object) -> str:
    """Return the text between the quotes of a postgresql.conf value."""
    return str(value).replace("\\", "\\\\").replace("'", "''")


def last_line(text: str) -> str:
    """Return the text's last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def complaint_in(log: Path, mark: str) -> str:
    """Return the last line of the log that holds the mark, and where the log is."""
    text = log.read_text(encoding="utf-8", errors="replace")
    marked = "\n".join(line for line in text.splitlines() if mark in line)
    return f"{last_line(marked or text)} (see {log})"
