"""What was counted of evaluations: by variant over time, and when a flag was last asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import connections

from layoverhq.tenancy import current_alias

COUNTS = """
select date_trunc(%(step)s, hour, 'UTC') as at, variant, sum(hits)::bigint
from flag_evaluations
where flag = %(flag)s and hour >= date_trunc('hour', %(since)s::timestamptz, 'UTC')
    and hour < %(until)s
group by at, variant
order by at, variant
"""

REASONS = """
select variant, reason, sum(hits)::bigint
from flag_evaluations
where flag = %(flag)s and hour >= date_trunc('hour', %(since)s::timestamptz, 'UTC')
    and hour < %(until)s
group by variant, reason
order by 3 desc, variant, reason
"""

LAST = "select flag, max(last_at) from flag_evaluations where hour >= %(since)s group by flag"
SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Count:
    """Evaluations of an hour or a day that answered a variant ('' where the answer had none)."""

    at: datetime
    variant: str
    hits: int


def evaluation_counts(
    flag: str, *, since: datetime, until: datetime, step: Literal["hour", "day"]
) -> list[Count]:
    """Return a flag's evaluations by variant and hour or day (UTC), in order of time."""
    rows = _rows(COUNTS, {"flag": flag, "since": since, "until": until, "step": step})
    return [Count(*row) for row in rows]


def evaluation_reasons(
    flag: str, *, since: datetime, until: datetime
) -> list[tuple[str, str, int]]:
    """Return variant, reason and number of a flag's evaluations, the most frequent first."""
    return [tuple(row) for row in _rows(REASONS, {"flag": flag, "since": since, "until": until})]


def last_evaluated(*, since: datetime) -> Mapping[str, datetime]:
    """Return when each flag was last evaluated, of those that were since an instant."""
    return dict(_rows(LAST, {"since": since}))


def chart(counts: list[Count], *, since: datetime, until: datetime, step: str) -> dict[str, Any]:
    """Return labels and one list of numbers a variant, with the times without any."""
    span = SPANS[step]
    first = since.replace(minute=0, second=0, microsecond=0)
    if step == "day":
        first = first.replace(hour=0)
    times = []
    while first < until:
        times.append(first)
        first += span
    by_variant: dict[str, dict[datetime, int]] = {}
    for count in counts:
        by_variant.setdefault(count.variant, {})[count.at] = count.hits
    form = "%d %b" if step == "day" else "%d %b %H:%M"
    return {
        "labels": [f"{at:{form}}" for at in times],
        "datasets": [
            {"label": variant or "(error)", "data": [held.get(at, 0) for at in times]}
            for variant, held in sorted(by_variant.items())
        ],
    }


def _rows(query: str, parameters: Mapping[str, Any]) -> list[Any]:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())
