"""Analyses of layovers: kept in Valkey, kept in PostgreSQL, and made."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from datetime import datetime, timedelta
from typing import Any

from bench.timing import in_turn, milliseconds
from layoverhq.stack import Endpoints

HUBS = ("ORD", "DEN", "ATL", "DFW", "JFK", "IST", "SIN", "AMS", "LHR", "MUC")
SEED = 7


def analyses(endpoints: Endpoints, options: argparse.Namespace) -> None:
    """Answer the same questions from each place."""
    from django.utils import timezone

    from apps.layovers import shared
    from apps.layovers.keeping import Asked, kept_analysis, renewed

    now = timezone.now()
    _keep_weather(now)
    asked = _questions(options.questions)
    stops = [json.loads(renewed(each, now=now).body)["plan"]["stops"] for each in asked]

    def kept(question: Asked) -> None:
        assert kept_analysis(question, now=now).state == "hit"

    def kept_without_cache(question: Asked) -> None:
        shared._away_until = float("inf")
        try:
            kept(question)
        finally:
            shared.forget_absence()

    samples = in_turn(
        {
            "made anew": lambda question: renewed(question, now=now),
            "kept, from PostgreSQL": kept_without_cache,
            "kept, from Valkey": kept,
        },
        asked,
        rounds=options.rounds,
    )
    print(
        f"\nLayover analyses: {len(asked)} questions, {sum(map(bool, stops))} with a plan, of"
        f" {sum(map(len, stops))} stops in all, one process"
    )
    for name, seconds in samples.items():
        print(f"  {name:<24} {milliseconds(seconds)} ms (p50 / p99)")
    made = statistics.median(samples["made anew"])
    for name in ("kept, from PostgreSQL", "kept, from Valkey"):
        print(f"  made anew / {name}: {made / statistics.median(samples[name]):.1f}")


def _questions(count: int) -> list[Any]:
    from django.utils import timezone

    from apps.flights.airports import airports
    from apps.layovers.keeping import Asked, weights_of
    from apps.layovers.questions import parse_values

    zones = airports.get()
    chance = random.Random(SEED)
    day = timezone.now().replace(tzinfo=None, minute=0, second=0, microsecond=0)
    asked = []
    for number in range(count):
        arrival = day + timedelta(days=2, hours=chance.randrange(24 * 8), minutes=number % 60)
        departure = arrival + timedelta(minutes=chance.randrange(240, 1200))
        values = {
            "airport": HUBS[number % len(HUBS)],
            "arrival": arrival.isoformat(timespec="minutes"),
            "departure": departure.isoformat(timespec="minutes"),
            "passport": "DE",
        }
        question = parse_values(values, zones=zones, now=timezone.now())
        asked.append(Asked(question, weights_of(None), real_time_weather=True))
    return asked


def _keep_weather(now: datetime) -> None:
    """Keep made-up weather at the hubs, so that nobody asks the service."""
    from django.db import connections
    from psycopg.types.json import Jsonb

    from apps.layovers.observing import is_due

    first = int(now.replace(minute=0, second=0, microsecond=0).timestamp())
    hours = [
        {
            "hour": first + 3600 * shift, "temperature_tenths": 180 + shift % 90,
            "precipitation_tenths": shift % 4, "wind_kmh": shift % 30, "cloud_percent": 40,
            "weather_code": 2,
        }
        for shift in range(24 * 14)
    ]  # fmt: skip
    document = [{"airport": hub, "source": "bench", "hours": hours} for hub in HUBS]
    with connections["operator"].cursor() as cursor:
        cursor.execute("select record_weather(%s)", [Jsonb(document)])
    # Until the notification has come.
    while any(is_due(hub, now=now) for hub in HUBS):
        time.sleep(0.01)
