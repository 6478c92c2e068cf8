"""What `up` decides before it starts anything."""

import json
import socket
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from layoverhq import environment
from layoverhq.environment import EnvironmentProblem
from layoverhq.management.commands.up import Platform, _banner
from layoverhq.stack.files import held_lock
from layoverhq.stack.ports import free_ports, is_free


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setenv("ENVIRONMENT", "development")
    for name in environment.URLS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_up__another_runs_in_the_checkout__is_one_line(empty_folder: Path) -> None:
    with (
        held_lock(empty_folder / "up.lock", wait=False),
        pytest.raises(CommandError, match="already runs in this checkout"),
    ):
        call_command("up")


def test_up__some_of_the_urls__names_the_one_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@127.0.0.1/db")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1")
    monkeypatch.setenv("OWNER_DATABASE_URL", "postgres://u:p@127.0.0.1/db")

    with pytest.raises(EnvironmentProblem, match=r"^OPERATOR_DATABASE_URL: is not set"):
        call_command("up")

    assert not (empty_folder / "servers.json").exists()


def test_up__production_without_urls__embeds_nothing(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")

    with pytest.raises(EnvironmentProblem, match=r"^DATABASE_URL: is not set"):
        call_command("up")

    assert not (empty_folder / "servers.json").exists()


def test_stack__reset_without_yes__erases_nothing(empty_folder: Path) -> None:
    with pytest.raises(CommandError, match="--yes"):
        call_command("stack", "reset")


@pytest.mark.parametrize("taken", [0, 100])
def test_up__port_of_web_or_of_stream_taken__both_move_on(
    taken: int, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    first = next(port for port in free_ports(19_000) if is_free(port + 100) and is_free(port + 101))
    monkeypatch.setenv("PORT", str(first))
    with socket.socket() as other:
        other.bind(("127.0.0.1", first + taken))
        other.listen()
        chosen = Platform(empty_folder, seed=False).first_port()

    assert chosen > first
    assert is_free(chosen)
    assert is_free(chosen + 100)
    told = capfd.readouterr().out
    assert told == (
        f"Port {first} or {first + 100} is taken: "
        f"web on {chosen}, stream on {chosen + 100} instead.\n"
    )


def test_up__ports_free__are_taken_as_asked(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    first = next(port for port in free_ports(19_500) if is_free(port + 100))
    monkeypatch.setenv("PORT", str(first))

    assert Platform(empty_folder, seed=False).first_port() == first
    assert capfd.readouterr().out == ""


def test_banner__without_a_seed_on_other_ports__names_those_in_every_line(tmp_path):
    saved = {
        "url": "http://127.0.0.1:8000",
        "events_url": "http://127.0.0.1:8100/api/v1/events",
        "admin_url": "http://127.0.0.1:8000/admin/",
        "curl": "curl http://127.0.0.1:8000/api/v1/flights/search",
        "curl_events": "curl -N http://127.0.0.1:8100/api/v1/events",
    }
    (tmp_path / "access.json").write_text(json.dumps(saved))
    told = _banner(tmp_path, {"web": "http://127.0.0.1:9000", "stream": "http://127.0.0.1:9100"})
    assert "8000" not in told
    assert "8100" not in told
    assert "curl -N http://127.0.0.1:9100/api/v1/events" in told


def test_up__port_taken_since_it_was_chosen__is_one_line(empty_folder: Path) -> None:
    platform = Platform(empty_folder, seed=False)
    first = platform.first_port()
    platform.require_free(first)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first + 100))
        other.listen()
        with pytest.raises(EnvironmentProblem, match=f"^PORT: {first + 100} was taken meanwhile"):
            platform.require_free(first)
