"""Choices for tests, entered as they are kept."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
from django.utils import timezone

from apps.flights.weights import COMPONENTS
from apps.tenants.models import Enterprise
from tests.isolation import roles

INSERT = """
insert into offer_choices (
    enterprise_id, id, unit, booked, offer_id, departure_day, origin_airport, destination_airport,
    hub, overnight, components, shown_ids, shown_hubs, shown_components, chosen_at
) values (%s, %s, %s, false, %s, %s, 'ORD', 'DEN', %s, false, %s, %s, %s, %s, %s)
"""

Components = Sequence[float | None]


def keep(
    enterprise: Enterprise,
    rows: Sequence[tuple[UUID, str | None, Components, Sequence[Components]]],
    *,
    at: datetime | None = None,
) -> None:
    """Keep choices, each by whom, at which hub, what was chosen and what was not."""
    moment = at or timezone.now()
    with roles.connect_as_superuser() as connection, connection.cursor() as cursor:
        cursor.execute(
            "select ensure_month_partitions('offer_choices', %s, %s)",
            [moment.date(), timezone.now().date()],
        )
        cursor.executemany(
            INSERT,
            [
                (
                    enterprise.pk, uuid4(), unit, uuid4(), date.today(), hub, list(chosen),
                    [uuid4() for _ in others], [None] * len(others),
                    [list(other) for other in others], moment,
                )
                for unit, hub, chosen, others in rows
            ],
        )  # fmt: skip


def make_choices(
    enterprise: Enterprise, hubs: Sequence[str | None], *, days_ago: float = 0
) -> None:
    """Keep a choice at each of the hubs."""
    plain = [0.0, 0.0, None, 1.0, 1.0, None]
    keep(
        enterprise,
        [(uuid4(), hub, plain, []) for hub in hubs],
        at=timezone.now() - timedelta(days=days_ago),
    )


def simulated(
    weights: dict[str, float],
    *,
    choices: int,
    sharpness: float = 15,
    alternatives: int = 8,
    unknown: Sequence[str] = (),
    seed: int = 7,
) -> list[tuple[UUID, str | None, list[float | None], list[list[float | None]]]]:
    """Return choices of travellers who weigh components so, with some whim."""
    generator = np.random.default_rng(seed)
    draw = random.Random(seed)
    vector = np.array([weights.get(name, 0.0) for name in COMPONENTS])
    vector = vector / max(vector.sum(), 1e-9)
    rows = []
    for _ in range(choices):
        values = generator.random((alternatives, len(COMPONENTS))).round(4)
        liking = sharpness * values @ vector + generator.gumbel(size=alternatives)
        order = np.argsort(-liking)
        told = [
            [
                None if name in unknown else float(value)
                for name, value in zip(COMPONENTS, row, strict=True)
            ]
            for row in values[order]
        ]
        rows.append((UUID(int=draw.getrandbits(128)), "DEN", told[0], told[1:]))
    return rows  # type: ignore[return-value]
