"""Exchange rates for tests: documents as the ECB publishes them, and a server that does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENVELOPE = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01"
    xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
    <gesmes:subject>Reference rates</gesmes:subject>
    <gesmes:Sender><gesmes:name>European Central Bank</gesmes:name></gesmes:Sender>
    <Cube>{days}</Cube>
</gesmes:Envelope>"""


def document(days: Mapping[date, Mapping[str, str]]) -> bytes:
    """Return the rates as the ECB's XML."""
    told = "".join(
        f"<Cube time='{day}'>"
        + "".join(f"<Cube currency='{code}' rate='{rate}'/>" for code, rate in rates.items())
        + "</Cube>"
        for day, rates in days.items()
    )
    return ENVELOPE.format(days=told).encode()


@dataclass
class Bank:
    """Answers in turn, the last answer for ever; `asked` has the paths."""

    answers: list[tuple[int, bytes]]
    asked: list[str] = field(default_factory=list)
    address: str = ""


@contextmanager
def bank(*answers: tuple[int, bytes]) -> Iterator[Bank]:
    """Serve the answers on a port of this machine."""
    opened = Bank(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            opened.asked.append(self.path)
            left = len(opened.answers) > 1
            status, body = opened.answers.pop(0) if left else opened.answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    opened.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield opened
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
