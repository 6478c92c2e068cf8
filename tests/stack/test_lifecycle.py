"""The embedded servers, started for real in folders of their own."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

from layoverhq.stack import ROLES, Endpoints, Stack, StackProblem
from layoverhq.stack.processes import send

pytestmark = pytest.mark.stack


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stack(said: list[str]) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix='a folder\'s "stack" ') as folder:
        # As root, the servers run as a user who may enter it.
        Path(folder).chmod(0o755)
        made = Stack(Path(folder) / "var", durable=False, say=said.append)
        yield made
        made.reset()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process, which nothing of ours may touch."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def pids(stack: Stack) -> dict[str, int | None]:
    return {server.name: server.pid for server in stack.status()}


def kill(pid: int | None) -> None:
    assert pid is not None
    assert send([pid], signal.SIGKILL, timeout=10)


def write(endpoints: Endpoints) -> None:
    with psycopg.connect(endpoints.url("layoverhq_owner")) as connection:
        connection.execute("create table kept as select 42 as answer")


def kept(endpoints: Endpoints) -> int:
    with psycopg.connect(endpoints.url("layoverhq_owner")) as connection:
        row = connection.execute("select answer from kept").fetchone()
    assert row is not None
    return int(row[0])


def data_folder(stack: Stack, server: str) -> Path:
    pid = pids(stack)[server]
    return Path(os.readlink(f"/proc/{pid}/cwd"))


def test_start__empty_folder__gives_three_powerless_roles_and_private_files(stack: Stack) -> None:
    endpoints = stack.start()

    with psycopg.connect(endpoints.superuser_dsn("layoverhq")) as connection:
        roles = connection.execute(
            "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin "
            "from pg_roles where rolname = any(%s) order by rolname",
            [list(ROLES)],
        ).fetchall()
        listening = connection.execute("show listen_addresses").fetchone()
    assert roles == [(role, False, False, False, False, True) for role in sorted(ROLES)]
    assert listening == ("127.0.0.1",)
    for name in ("environment.json", "servers.json"):
        assert stat.S_IMODE((stack.directory / name).stat().st_mode) == 0o600
    with (
        psycopg.connect(endpoints.url("layoverhq_app")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("create temporary table staging (id int)")
    with (
        psycopg.connect(endpoints.url("layoverhq_operator")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("create table planted (id int)")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(replace(endpoints, passwords=dict.fromkeys(ROLES, "x")).url(ROLES[0]))
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=endpoints.redis_port).ping()
    assert endpoints.superuser_password not in repr(endpoints)


def test_start__after_a_stop__finds_the_data_and_the_same_secrets(stack: Stack) -> None:
    first = stack.start()
    write(first)
    environment = (stack.directory / "environment.json").read_text()

    assert stack.stop() == ["Valkey", "PostgreSQL"]
    assert pids(stack) == {"PostgreSQL": None, "Valkey": None}
    second = stack.start()

    assert second == first
    assert kept(second) == 42
    assert (stack.directory / "environment.json").read_text() == environment


def test_start__running_servers__are_kept(stack: Stack) -> None:
    first = stack.start()
    before = pids(stack)

    assert stack.start() == first
    assert pids(stack) == before


def test_start__by_a_link_to_its_folder__finds_its_servers_again(
    stack: Stack, tmp_path: Path
) -> None:
    stack.directory.mkdir(exist_ok=True)
    link = tmp_path / "data"
    link.symlink_to(stack.directory)
    linked = Stack(link, durable=False)
    first = linked.start()
    before = pids(linked)

    assert linked.start() == first
    assert stack.start() == first
    assert pids(linked) == before


def test_start__servers_killed__repairs_without_losing_what_was_committed(stack: Stack) -> None:
    stack.durable = True
    write(stack.start())
    before = pids(stack)
    for pid in before.values():
        kill(pid)

    endpoints = stack.start()

    assert kept(endpoints) == 42
    assert not set(pids(stack).values()) & set(before.values())


def test_start__stale_pid_files_with_a_strangers_number__leave_the_stranger_alone(
    stack: Stack, stranger: subprocess.Popen[bytes]
) -> None:
    stack.start()
    postgres, valkey = data_folder(stack, "PostgreSQL"), data_folder(stack, "Valkey")
    notes = (postgres / "postmaster.pid").read_text().splitlines()
    stack.stop()
    (postgres / "postmaster.pid").write_text("\n".join([str(stranger.pid), *notes[1:]]))
    (valkey.parent / "valkey.pid").write_text(str(stranger.pid))

    assert stack.stop() == []
    stack.start()

    assert stranger.poll() is None
    assert stranger.pid not in pids(stack).values()


def test_start__port_taken_meanwhile__takes_the_next_and_says_so(
    stack: Stack, said: list[str]
) -> None:
    first = stack.start()
    stack.stop()
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", first.postgres_port))
        taker.listen()
        said.clear()

        second = stack.start()

    assert second.postgres_port > first.postgres_port
    assert any(str(first.postgres_port) in line for line in said)
    assert f":{second.postgres_port}/" in (stack.directory / "environment.json").read_text()


def test_start__half_made_data_folder__is_made_again(stack: Stack) -> None:
    stack.start()
    data = data_folder(stack, "PostgreSQL")
    stack.stop()
    data.rename(data.with_name("data.new"))

    endpoints = stack.start()

    with psycopg.connect(endpoints.url("layoverhq_owner")) as connection:
        row = connection.execute("select to_regclass('kept')").fetchone()
    assert row == (None,)


def test_start__passwords_lost__is_one_line_that_says_what_to_do(stack: Stack) -> None:
    stack.start()
    stack.stop()
    (stack.directory / "servers.json").unlink()

    with pytest.raises(StackProblem, match="stack reset"):
        stack.start()


def test_stop__purpose__spares_servers_started_for_another(stack: Stack) -> None:
    stack.start(purpose="stack")

    assert stack.stop(purpose="up") == []
    assert None not in pids(stack).values()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as another user")
def test_start__folder_that_only_root_may_enter__works_elsewhere_and_keeps_its_mode(
    tmp_path: Path, said: list[str]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stack = Stack(closed / "var", durable=False, say=said.append)
    try:
        stack.start()
        elsewhere = data_folder(stack, "PostgreSQL")

        assert not elsewhere.is_relative_to(closed)
        assert stat.S_IMODE(elsewhere.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        stack.reset()
    assert not elsewhere.parent.parent.exists()
