"""Asking others over HTTP: whatever they do, it ends in time, in little memory, and is named."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import stamina

from layoverhq.remote import CONCEALED, Limits, RemoteClient, RemoteFault
from tests.flights.shop_fronts import Reply, ShopFront, says

LIMITS = Limits(connect=1, read=1, total=5, attempts=1, answer_bytes=100_000)
BRIEF = Limits(connect=1, read=0.5, total=0.5, attempts=1, answer_bytes=100_000)

Speak = Callable[[socket.socket], Any]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@contextmanager
def speaking(speak: Speak) -> Iterator[str]:
    """Let `speak` answer each connection's first request; yields the address."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                try:
                    speak(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def fault_of(url: str, limits: Limits = LIMITS, **options: Any) -> RemoteFault:
    with pytest.raises(RemoteFault) as caught, RemoteClient(url, limits, **options) as client:
        client.ask("GET", "/")
    return caught.value


@pytest.fixture
def front() -> Iterator[ShopFront]:
    with closing(ShopFront()) as opened:
        yield opened


def drip(start: bytes, each: bytes) -> Speak:
    """Send a piece every twentieth of a second, so that it is never silent for long."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(60):
            connection.sendall(each)
            time.sleep(0.05)

    return speak


@pytest.mark.parametrize(
    "speak",
    [
        drip(b"", b"H"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
        drip(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}"), b" "),
    ],
    ids=["status", "headers", "body", "after the end of gzip"],
)
def test_ask__answer_that_drips__ends_in_time(speak: Speak) -> None:
    began = time.monotonic()
    with speaking(speak) as url:
        fault = fault_of(url, BRIEF)
        passed = time.monotonic() - began
    assert fault.code == "timeout" or passed < 0.4, fault
    assert passed < 1.5


def test_ask__gzip_bomb__is_refused_before_it_is_unpacked(front: ShopFront) -> None:
    packed = gzip.compress(b" " * 30_000_000)
    front.put_up(Reply(packed, headers={"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        fault = fault_of(front.url)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fault.code == "answer_too_large"
    assert most < 5_000_000


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("gzip", gzip.compress(b'{"a": 1}', mtime=0)[:-9], "malformed_json"),
        ("gzip", b"no gzip", "malformed_json"),
        ("br", b"{}", "malformed_json"),
        ("gzip", gzip.compress(b"[" * 100_000, mtime=0), "malformed_json"),
    ],
)
def test_ask__broken_compression__is_named(
    front: ShopFront, encoding: str, body: bytes, code: str
) -> None:
    front.put_up(Reply(body, headers={"Content-Encoding": encoding}))
    assert fault_of(front.url).code == code


def test_ask__packed_answer__is_unpacked(front: ShopFront) -> None:
    packed = gzip.compress(b'{"a": "' + b"x" * 90_000 + b'"}')
    front.put_up(Reply(packed, headers={"Content-Encoding": "gzip"}))
    with RemoteClient(front.url, LIMITS) as client:
        assert client.ask("GET", "/") == {"a": "x" * 90_000}
    assert front.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7.0),
        ("9" * 400, 999_999_999.0),
        ("-1", None),
        ("٣", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 2026 23:59:59 +99999999999999", None),
        ("soon", None),
    ],
)
def test_ask__429__is_throttled_for_as_long_as_it_says(
    front: ShopFront, told: str, seconds: float | None
) -> None:
    header = {} if not told.isascii() else {"Retry-After": told}
    front.put_up(says({}, 429, **header))
    fault = fault_of(front.url)
    assert (fault.code, fault.retry_after) == ("throttled", seconds)


def test_ask__wait_beyond_the_time_for_all__is_not_waited(front: ShopFront) -> None:
    front.put_up(says({}, 503, **{"Retry-After": "9"}))
    began = time.monotonic()
    with stamina.set_testing(False):
        fault = fault_of(front.url, Limits(1, 1, 2, 5, 1000))
    assert fault.code == "server_error"
    assert len(front.requests) == 1
    assert time.monotonic() - began < 2


def test_ask__credentials_said_back__are_told_to_nobody(front: ShopFront) -> None:
    front.put_up(Reply(b"\0 the key s3cret-key is not known", 401))
    fault = fault_of(front.url, secrets=["s3cret-key", "", "t"])
    assert "s3cret" not in str(fault)
    assert fault.detail == f"It answered 401: \ufffd the key {CONCEALED} is not known"


def test_ask__redirect__is_followed_nowhere(front: ShopFront) -> None:
    with closing(ShopFront()) as elsewhere:
        front.put_up(Reply(b"", 302, {"Location": elsewhere.url}))
        fault = fault_of(front.url)
        assert elsewhere.requests == []
    assert fault.code == "unexpected_status"


def test_ask__proxy_of_the_environment__is_asked(
    front: ShopFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", front.url.replace("http://", "http://us:er@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    front.put_up(says({"by": "proxy"}))
    with RemoteClient("http://provider.example", LIMITS) as client:
        assert client.ask("GET", "/v1") == {"by": "proxy"}
    (asked,) = front.requests
    assert (asked.path, asked.headers["host"]) == ("/v1", "provider.example")
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    with RemoteClient(front.url, LIMITS) as client:
        client.ask("GET", "/v2")
    assert "proxy-authorization" not in front.requests[1].headers


@pytest.mark.parametrize("address", ["http://[", "http://a:99999999", "ftp://a"])
def test_ask__address_that_is_none__is_named(address: str) -> None:
    assert fault_of(address).code in ("invalid_address", "connection")
