"""A provider of the test's own: an HTTP server on this machine that says what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

JSON = "application/json"


@dataclass(frozen=True)
class Reply:
    """An answer. `cut` leaves that many bytes of it unsent; `hangs` sends nothing for ever."""

    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON})
    cut: int = 0
    hangs: bool = False


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


def says(document: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(document).encode(), status, {"Content-Type": JSON, **headers})


class ShopFront:
    """Answers requests by what was put up, the last of it for ever; keeps what was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._replies: list[Reply | Callable[[Request], Reply]] = [says({})]
        self._lock = threading.Lock()
        # Whoever hangs does so until the test is over.
        self._closing = threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                request = Request(
                    self.command,
                    parts.path,
                    query,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                reply = front._next(request)
                if reply.hangs:
                    front._closing.wait()
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                try:
                    self.wfile.write(reply.body[: len(reply.body) - reply.cut])
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                if reply.cut:
                    self.close_connection = True

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put_up(self, *replies: Reply | Callable[[Request], Reply]) -> None:
        self._replies = list(replies)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return reply(request) if callable(reply) else reply


class Journeys:
    """Offers of one route and day, as each provider writes them."""

    def __init__(self, day: date) -> None:
        self.day = day

    def clock(self, hours: float, zone: str) -> tuple[str, str]:
        """Return a time of the day's, so many hours after midnight, local and in UTC."""
        local = datetime(self.day.year, self.day.month, self.day.day) + timedelta(hours=hours)
        utc = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)
        return local.isoformat(), utc.isoformat()

    def legs(self) -> list[tuple[str, str, tuple[str, str], tuple[str, str], str, int]]:
        """SFO to DEN in the morning, and on to JFK after eight hours and more."""
        pacific, mountain, eastern = "America/Los_Angeles", "America/Denver", "America/New_York"
        return [
            ("SFO", "DEN", self.clock(6, pacific), self.clock(9.5, mountain), "UA", 100),
            ("DEN", "JFK", self.clock(18, mountain), self.clock(23.5, eastern), "UA", 200),
        ]

    def amadeus(self, price: str = "412.50", currency: str = "USD", fare: str = "K") -> Any:
        return {
            "id": "1",
            "lastTicketingDate": "2020-01-01",
            "itineraries": [
                {
                    "segments": [
                        {
                            "id": str(number),
                            "departure": {"iataCode": origin, "at": departs[0]},
                            "arrival": {"iataCode": destination, "at": arrives[0]},
                            "carrierCode": carrier,
                            "number": str(number),
                        }
                        for origin, destination, departs, arrives, carrier, number in self.legs()
                    ]
                }
            ],
            "price": {"currency": currency, "total": price, "grandTotal": price},
            "validatingAirlineCodes": ["UA"],
            "travelerPricings": [
                {
                    "fareDetailsBySegment": [
                        {"segmentId": str(leg[5]), "cabin": "ECONOMY", "fareBasis": fare}
                        for leg in self.legs()
                    ]
                }
            ],
        }

    def duffel(self, price: str = "412.50", currency: str = "USD", fare: str = "K") -> Any:
        return {
            "id": "off_1",
            "total_amount": price,
            "total_currency": currency,
            "expires_at": f"{self.day.isoformat()}T00:00:00Z",
            "owner": {"iata_code": "UA"},
            "slices": [
                {
                    "segments": [
                        {
                            "origin": {"iata_code": origin},
                            "destination": {"iata_code": destination},
                            "departing_at": departs[0],
                            "arriving_at": arrives[0],
                            "marketing_carrier": {"iata_code": carrier},
                            "marketing_carrier_flight_number": str(number),
                            "passengers": [{"cabin_class": "economy", "fare_basis_code": fare}],
                        }
                        for origin, destination, departs, arrives, carrier, number in self.legs()
                    ]
                }
            ],
        }

    def kiwi(self, price: float = 412.5, fare: str = "K") -> Any:
        return {
            "id": "0f3d",
            "price": price,
            "route": [
                {
                    "flyFrom": origin,
                    "flyTo": destination,
                    "local_departure": f"{departs[0]}.000Z",
                    "utc_departure": f"{departs[1]}.000Z",
                    "local_arrival": f"{arrives[0]}.000Z",
                    "utc_arrival": f"{arrives[1]}.000Z",
                    "airline": carrier,
                    "flight_no": number,
                    "fare_category": "M",
                    "fare_basis": fare,
                    "return": 0,
                    "vi_connection": position == 1,
                    "bags_recheck_required": position == 1,
                }
                for position, (origin, destination, departs, arrives, carrier, number) in enumerate(
                    self.legs()
                )
            ],
        }

    def answer(self, kind: str, *offers: Any) -> Any:
        """Return a provider's whole answer with these offers."""
        if kind == "duffel":
            return {"data": {"id": "orq_1", "offers": list(offers)}}
        if kind == "kiwi":
            return {"search_id": "s", "currency": "USD", "data": list(offers)}
        return {"meta": {"count": len(offers)}, "data": list(offers)}
