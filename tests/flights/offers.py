"""Lines of LayoverHQ's own format for tests."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.utils import timezone


def day_ahead(days: int = 20) -> str:
    """Return a day from today as ISO 8601."""
    return (timezone.now().date() + timedelta(days=days)).isoformat()


def document(**changes: Any) -> dict[str, Any]:
    """Return an offer from SFO by DEN to JFK; None takes a member out."""
    day = day_ahead()
    made: dict[str, Any] = {
        "price": "412.50",
        "currency": "USD",
        "segments": [
            {
                "origin": "SFO",
                "destination": "DEN",
                "departs_at": f"{day}T06:00",
                "arrives_at": f"{day}T09:35",
                "carrier": "UA",
                "flight_number": "UA 100",
            },
            {
                "origin": "DEN",
                "destination": "JFK",
                "departs_at": f"{day}T18:00",
                "arrives_at": f"{day}T23:40",
                "carrier": "UA",
                "flight_number": "UA 200",
            },
        ],
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def line(**changes: Any) -> bytes:
    """Return the offer as a line."""
    return json.dumps(document(**changes)).encode() + b"\n"


def with_segment(position: int, **changes: Any) -> list[dict[str, Any]]:
    """Return the offer's segments, one of them changed."""
    segments: list[dict[str, Any]] = document()["segments"]
    segments[position] = {**segments[position], **changes}
    return segments
