"""How many a rollout reaches: counted by bucket while they are few, estimated beyond."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, F, Func, IntegerField, QuerySet, TextField, Value
from django.db.models.functions import Cast

from apps.tenants.models import Enterprise, User
from layoverhq.bucketing import BUCKETS

# Counting hashes every one of them.
COUNTED_UP_TO = 20_000
NAMED_UP_TO = 1_000
NAMES_SHOWN = 8


def reached(unit: str, salt: str, rollouts: Iterable[int]) -> dict[int, str]:
    """Return, in words, whom each rollout of hundredths of a per cent reaches of all the living."""
    wanted = {rollout for rollout in rollouts if 0 <= rollout <= BUCKETS}
    if unit not in ("user", "enterprise"):
        told = f"Nobody knows how many there are of “{unit}”: it is counted by whoever asks."
        return dict.fromkeys(wanted, told)
    users = unit == "user"
    living: QuerySet[Any] = User.objects.living() if users else Enterprise.objects.living()
    number = living.count()
    word = "user" if users else "tenant"
    if number > COUNTED_UP_TO:
        return {
            rollout: f"about {number * rollout // BUCKETS:,} of {number:,} {word}s"
            for rollout in wanted
        }
    bucket = Func(
        Value(f"{salt}:rollout"),
        Cast("id", TextField()),
        function="rollout_bucket",
        output_field=IntegerField(),
    )
    placed = living.order_by().annotate(bucket=bucket)
    counts = dict(placed.values_list("bucket").annotate(number=Count("pk")))
    names = []
    if number <= NAMED_UP_TO:
        named = placed.order_by("bucket").annotate(named=F("email" if users else "name"))
        names = list(named.values_list("bucket", "named"))
    return {
        rollout: _told(
            sum(held for each, held in counts.items() if each < rollout),
            number,
            word,
            [name for each, name in names if each < rollout],
        )
        for rollout in wanted
    }


def _told(reached: int, number: int, word: str, names: list[str]) -> str:
    told = f"{reached:,} of {number:,} {word}{'' if number == 1 else 's'} now"
    if not names or reached == number:
        return told
    more = reached - NAMES_SHOWN
    return f"{told}: {', '.join(names[:NAMES_SHOWN])}" + (f" and {more} more" if more > 0 else "")
