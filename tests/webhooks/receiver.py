"""A receiver of webhooks on this machine: answers as told, and keeps what it got."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


@dataclass
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.got.append(Received(self.path, headers, body))
        self.receiver.answer(self)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@dataclass
class Receiver:
    """What it was sent, and how it answers."""

    answer: Answer
    got: list[Received] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?tenant=1"


def saying(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return an answer of this status."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Many workers call at once.
    request_queue_size = 128


@contextmanager
def receiving(answer: Answer) -> Iterator[Receiver]:
    """Run a receiver for the block."""
    receiver = Receiver(answer)
    handler = type("BoundHandler", (Handler,), {"receiver": receiver})
    server = _Server(("127.0.0.1", 0), handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
