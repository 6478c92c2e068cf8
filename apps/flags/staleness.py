"""Flags that the code may be rid of, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.flags.counts import last_evaluated
from apps.flags.models import Experiment, FeatureFlag

QUIET = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class StaleFlag:
    """A flag with what speaks for removing it."""

    flag: FeatureFlag
    reasons: tuple[str, ...]
    last_evaluated_at: datetime | None


def stale_flags(now: datetime) -> list[StaleFlag]:
    """Return the flags that are decided, unread or past their date; the archived left out.

    A flag that others stand on is read with them, which is not counted; one whose rollout is yet
    to step, or that an experiment uses, is not decided.
    """
    flags = list(FeatureFlag.objects.filter(is_archived=False).order_by("name"))
    stood_on = {each["flag"] for flag in flags for each in flag.prerequisites}
    examined = set(
        Experiment.objects.filter(status=Experiment.Status.RUNNING).values_list(
            "flag_id", flat=True
        )
    )
    read = last_evaluated(since=now - timedelta(days=400))
    found = []
    for flag in flags:
        reasons = []
        if flag.expires_date is not None and flag.expires_date < now.date():
            reasons.append(f"It was to be gone by {flag.expires_date:%d %B %Y}.")
        if flag.pk not in examined and (decided := _decided(flag, now)):
            reasons.append(decided)
        if flag.name not in stood_on and (unread := _unread(flag, read, now)):
            reasons.append(unread)
        if reasons:
            found.append(StaleFlag(flag, tuple(reasons), read.get(flag.name)))
    return found


def _decided(flag: FeatureFlag, now: datetime) -> str:
    """Return that everybody has had the same answer for long, or nothing."""
    if flag.steps or flag.updated_at > now - QUIET:
        return ""
    days = (now - flag.updated_at).days
    if not flag.enabled or flag.is_killed:
        how = "killed" if flag.is_killed else "off"
        return f"It has been {how} for everybody, unchanged, for {days} days."
    variant = only_variant(flag)
    if variant is None:
        return ""
    return f"Everybody has got “{variant}”, unchanged, for {days} days."


def only_variant(flag: FeatureFlag) -> str | None:
    """Return the variant that an enabled flag gives to everybody, or None where it depends."""
    if flag.prerequisites or flag.namespace_id is not None:
        return None
    answers = {_override(flag, to) for to in flag.tenant_overrides.values()}
    answers |= {_override(flag, to) for to in flag.user_overrides.values()}
    for rule in flag.rules:
        if rule["rollout"] == 0:
            continue
        answers |= set(_given(rule.get("allocations") or {}, rule.get("variant")))
    if flag.rollout_percentage > 0:
        answers |= set(_given(flag.allocations, flag.on_variant))
    whole = flag.rollout_percentage == 100 and flag.conditions == {} and not flag.allocations
    if not whole:
        answers.add(flag.off_variant)
    return answers.pop() if len(answers) == 1 else None


def _given(allocations: Mapping[str, Any], variant: str | None) -> list[str]:
    if allocations:
        return [each for each, ranges in allocations.items() if ranges]
    return [variant] if variant is not None else []


def _override(flag: FeatureFlag, to: Any) -> str:
    if isinstance(to, bool):
        return flag.on_variant if to else flag.off_variant
    return str(to)


def _unread(flag: FeatureFlag, read: Mapping[str, datetime], now: datetime) -> str:
    last = read.get(flag.name)
    if last is not None and last > now - QUIET:
        return ""
    if last is None and flag.created_at > now - QUIET:
        return ""
    since = "since it was made" if last is None else f"for {(now - last).days} days"
    return f"Nobody has asked for it {since}."
