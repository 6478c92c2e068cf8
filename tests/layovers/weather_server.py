"""A local Open-Meteo, with the real one's format, and with its moods."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from apps.configs.runtime import override_config

UNITS = {
    "time": "unixtime",
    "temperature_2m": "°C",
    "precipitation": "mm",
    "wind_speed_10m": "km/h",
    "cloud_cover": "%",
    "weather_code": "wmo code",
}

Answer = tuple[int, bytes]


@dataclass
class WeatherServer:
    """What it is asked, and what it answers."""

    url: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    temperature: float = 21.5
    answer: Callable[[dict[str, list[str]]], Answer] | None = None
    # Held back while it is set.
    hold: threading.Event | None = None

    def of_places(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        hours = [first + timedelta(hours=shift) for shift in range(24 * 16)]
        place = {
            "hourly_units": UNITS,
            "hourly": {
                "time": [int(hour.timestamp()) for hour in hours],
                "temperature_2m": [self.temperature] * len(hours),
                "precipitation": [0.0] * len(hours),
                "wind_speed_10m": [7.4] * len(hours),
                "cloud_cover": [30] * len(hours),
                "weather_code": [1] * len(hours),
            },
        }
        return [{"latitude": float(text), **place} for text in query["latitude"][0].split(",")]

    def usual(self, query: dict[str, list[str]]) -> Answer:
        places = self.of_places(query)
        return 200, json.dumps(places[0] if len(places) == 1 else places).encode()


@contextmanager
def weather_server() -> Iterator[WeatherServer]:
    """Serve weather, to which this process's configuration leads meanwhile."""
    told = WeatherServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            told.asked.append(query)
            if told.hold is not None:
                told.hold.wait(10)
            status, body = (told.answer or told.usual)(query)
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                # Whoever asked has gone.
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with override_config({"weather.base_url": told.url}):
            yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
