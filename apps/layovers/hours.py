"""Opening hours by weekday, on the place's own clock, in the words in which people write them.

`Mo-Fr 09:00-17:00; Sa,Su 10:00-13:00,15:00-18:00`, `daily 08:00-24:00`, or `24h` for a place that
never closes. A day that is not named is closed; hours that end before they begin run over midnight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise

ALWAYS = "24h"
DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
DAY_MINUTES = 1440
LONGEST = 300

_TIMES = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")


class HoursFault(ValueError):
    """The text is no opening hours; the message says why."""


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """When a place is open: for each weekday, from Monday, its spans in minutes of that day.

    A span that runs over midnight ends past 1440. Empty `week` with `always` means no closing.
    """

    week: tuple[tuple[tuple[int, int], ...], ...]
    always: bool = False

    def spans(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the open spans between two local times without zone, in order."""
        if self.always:
            yield begin, end
            return
        # Yesterday's last span may run into today.
        day = begin.date() - timedelta(days=1)
        while day <= end.date():
            midnight = datetime.combine(day, time())
            for first, last in self.week[day.weekday()]:
                opens = max(begin, midnight + timedelta(minutes=first))
                closes = min(end, midnight + timedelta(minutes=last))
                if opens < closes:
                    yield opens, closes
            day += timedelta(days=1)


@lru_cache(maxsize=4096)
def parse_hours(text: str) -> OpeningHours:
    """Return the hours that a text says. Raises HoursFault."""
    text = text.strip()
    if text == ALWAYS:
        return OpeningHours(((),) * 7, always=True)
    if not text:
        raise HoursFault("Say when it is open, such as “Mo-Fr 09:00-17:00; Sa 10:00-16:00”.")
    if len(text) > LONGEST:
        raise HoursFault(f"At most {LONGEST} characters.")
    week: list[list[tuple[int, int]]] = [[] for _ in DAYS]
    named: set[int] = set()
    for part in text.split(";"):
        days_text, _, times_text = part.strip().partition(" ")
        days = _days(days_text)
        if twice := named & set(days):
            raise HoursFault(f"{DAYS[min(twice)]} is named twice.")
        named |= set(days)
        spans = [_span(each.strip()) for each in times_text.split(",")]
        for day in days:
            week[day] = sorted(spans)
    for day, spans in enumerate(week):
        for before, after in pairwise(spans):
            if after[0] < before[1]:
                raise HoursFault(f"The hours of {DAYS[day]} overlap.")
    return OpeningHours(tuple(tuple(spans) for spans in week))


def _days(text: str) -> list[int]:
    if text == "daily":
        return list(range(7))
    days: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise HoursFault(f"“{part[:20]}” is no day: give {', '.join(DAYS)}, a range, or daily.")
        begin = DAYS.index(first)
        # Su-Th goes on over the week's end.
        length = (DAYS.index(last) - begin) % 7 + 1 if dash else 1
        days += [(begin + shift) % 7 for shift in range(length)]
    return days


def _span(text: str) -> tuple[int, int]:
    match = _TIMES.fullmatch(text)
    if match is None:
        raise HoursFault(f"“{text[:20]}” is no span of hours: give such as 09:00-17:00.")
    begin = int(match[1]) * 60 + int(match[2])
    end = int(match[3]) * 60 + int(match[4]) if match[3] else DAY_MINUTES
    return begin, end if end > begin else end + DAY_MINUTES
