"""What a flag serves, in words and pills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.flags.definitions import instant
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flags.words import brief, shown
from layoverhq.model_admin import pill

Status = FlagVersion.Status

TONES = {
    Status.DRAFT: "",
    Status.IN_REVIEW: "warning",
    Status.APPROVED: "info",
    Status.SCHEDULED: "info",
    Status.ACTIVE: "success",
    Status.SUPERSEDED: "",
    Status.REJECTED: "",
}
EXPIRES_SOON = timedelta(days=14)


def status_pill(version: FlagVersion) -> SafeString:
    """Return a version's status as a label."""
    if version.problem:
        return pill("Stuck", "danger")
    return pill(version.get_status_display(), TONES[Status(version.status)])


def state_pills(flag: FeatureFlag) -> SafeString:
    """Return what a flag is, as labels."""
    if flag.is_killed:
        words = [("killed", "danger")]
    elif flag.is_archived:
        words = [("archived", "")]
    else:
        words = [("on", "success") if flag.enabled else ("off", "")]
    if flag.is_protected:
        words.append(("protected", "warning"))
    if flag.step_problem:
        words.append(("step stuck", "danger"))
    elif flag.next_step_at:
        words.append(("scheduled", "info"))
    return SafeString(" ".join(pill(*word) for word in words))


def rollout_bar(flag: FeatureFlag) -> SafeString:
    """Return the flag's own rollout as a bar."""
    return format_html(
        '<span class="whitespace-nowrap"><span class="flags-bar"><span style="width: {}%"></span>'
        "</span>{}&nbsp;%</span>{}",
        flag.rollout_percentage,
        flag.rollout_percentage,
        f" and {len(flag.rules)} rule{'' if len(flag.rules) == 1 else 's'}" if flag.rules else "",
    )


def expiry(flag: FeatureFlag) -> SafeString | str:
    """Return the day when a flag should be gone, marked once it is near."""
    if flag.expires_date is None:
        return "—"
    today = timezone.now().date()
    tone = "danger" if flag.expires_date < today else ""
    if not tone and flag.expires_date <= today + EXPIRES_SOON:
        tone = "warning"
    return pill(flag.expires_date.isoformat(), tone)


def served(flag: FeatureFlag, definition: Mapping[str, Any]) -> list[str]:
    """Return what everybody gets, in a sentence or two, and the rules a line each."""
    off = shown(definition["off_variant"])
    if flag.is_killed:
        return [f"Killed: everybody gets {off}, whatever the definition says."]
    if definition["is_archived"]:
        return [f"Archived: everybody gets {off}."]
    if not definition["enabled"]:
        return [f"Off: everybody gets {off}."]
    return [*_first(definition), *_rules(definition), _rest(definition, off)]


def _first(definition: Mapping[str, Any]) -> Iterator[str]:
    asked = [
        f"{each['flag']} answers {' or '.join(map(shown, each['variants']))}"
        for each in definition["prerequisites"]
    ]
    if asked:
        yield f"Only while {' and '.join(asked)}."
    numbers = [
        f"{len(definition[member])} {word}{'' if len(definition[member]) == 1 else 's'}"
        for member, word in (("tenant_overrides", "tenant"), ("user_overrides", "user"))
        if definition[member]
    ]
    if numbers:
        one = numbers in (["1 tenant"], ["1 user"])
        what = "an answer of its own" if one else "answers of their own"
        yield f"{' and '.join(numbers)} {'has' if one else 'have'} {what}."
    if definition["namespace"]:
        low, high = definition["namespace_range"] or (0, 0)
        yield f"Only {low / 100:g} to {high / 100:g} % of the namespace {definition['namespace']}."


def _rules(definition: Mapping[str, Any]) -> Iterator[str]:
    for number, rule in enumerate(definition["rules"], 1):
        what = _split(rule["weights"]) if "weights" in rule else shown(rule["variant"])
        named = f" ({rule['description']})" if rule["description"] else ""
        share = f"{rule['rollout'] / 100:g} % of " if rule["rollout"] < 10_000 else ""
        yield f"Rule {number}{named}: {what} for {share}{_whom(rule['conditions'])}."


def _rest(definition: Mapping[str, Any], off: str) -> str:
    percentage = definition["rollout_percentage"]
    weights = definition["weights"]
    on = _split(weights) if weights else shown(definition["on_variant"])
    everybody = "everybody else" if definition["rules"] else "everybody"
    if not percentage:
        return f"{everybody.capitalize()} gets {off}."
    conditions = definition["conditions"]
    whom = everybody if conditions == {} else f"those where {brief(conditions)}"
    if percentage == 100:
        told = f"{on} for {whom}"
        return f"{told[0].upper()}{told[1:]}." + ("" if conditions == {} else f" The rest: {off}.")
    return f"{on} for {percentage} % of {whom}; {off} for the rest."


def _whom(conditions: Any) -> str:
    return "everybody" if conditions == {} else f"those where {brief(conditions)}"


def _split(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{shown(key)} {weight / 100:g} %" for key, weight in weights.items())


def next_step(flag: FeatureFlag) -> str:
    """Return the step that comes next, in words."""
    if not flag.steps:
        return ""
    step = flag.steps[0]
    at = instant(step["at"])
    what = []
    if "percentage" in step:
        what.append(f"to {step['percentage']} %")
    if "enabled" in step:
        what.append("turned on" if step["enabled"] else "turned off")
    more = len(flag.steps) - 1
    later = f", and {more} more after it" if more else ""
    return f"{' and '.join(what)} at {at:%Y-%m-%d %H:%M} UTC{later}"
