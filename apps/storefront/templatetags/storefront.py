"""What the pages write out: spans of time, clocks, days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from django import template

from apps.storefront.journeys import span

register = template.Library()


@register.filter
def minutes(value: int) -> str:
    """Return minutes as people say them."""
    return span(value)


@register.filter
def clock(moment: datetime) -> str:
    """Return the time on the place's own clock."""
    return f"{moment:%H:%M}"


@register.filter
def machine(moment: datetime) -> str:
    """Return a moment as machines read it."""
    return moment.isoformat(timespec="minutes")


@register.filter
def day(moment: date) -> str:
    """Return a day as people write it: Tue 1 December."""
    return f"{moment:%a} {moment.day} {moment:%B}"


@register.filter
def short_day(moment: date) -> str:
    """Return a day where there is little room: Tue 1 Dec."""
    return f"{moment:%a} {moment.day} {moment:%b}"


@register.filter
def entry(entries: Mapping[str, Any], key: str) -> Any:
    """Return what a mapping has under a key, None where it has nothing."""
    return entries.get(key)


@register.filter
def item(items: Any, key: Any) -> Any:
    """Return what a list or a mapping has at a place."""
    return items[key]


@register.filter
def kind(step: object) -> str:
    """Return whether a step of a journey is a leg or a stop."""
    return type(step).__name__.lower()


@register.filter
def plus(value: float, other: float) -> float:
    """Return a sum, to a tenth: for drawings."""
    return round(value + other, 1)


@register.filter
def minus(value: float, other: float) -> float:
    """Return a difference, to a tenth: for drawings."""
    return round(value - other, 1)
