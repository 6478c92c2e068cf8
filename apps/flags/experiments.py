"""What is done with experiments: drafted, started, stopped, and the winner shipped.

They run with the operator's role, and take turns with whoever changes flags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from apps.flags.allocation import weights_of
from apps.flags.definitions import document_of
from apps.flags.models import Experiment, ExperimentGoal, FeatureFlag
from apps.flags.operations import (
    WrongStatus,
    amend_flag,
    take_turns,
)
from apps.tenants.models import User
from layoverhq.errors import Conflict, FieldError, InvalidInput, StaleVersion
from layoverhq.tenancy import atomic

Status = Experiment.Status

API_EVENT = "api:"
API_PREFIX = "api/v1/"
EVENT_PATTERN = r"[a-z][a-z0-9_.-]{0,99}"
EVENT = re.compile(EVENT_PATTERN)
MAXIMUM_GOALS = 5
LONGEST_WINDOW_HOURS = 2_160
MINIMUM_ALPHA, MAXIMUM_ALPHA = Decimal("0.001"), Decimal("0.2")


class NotReady(Conflict):
    """The experiment cannot start."""

    code = "not_ready"


class FlagChanged(Conflict):
    """The flag is no longer as it was when the experiment started."""

    code = "flag_changed"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is counted: an event's name, or `api:` and the name of a route."""

    event: str
    kind: str
    window_hours: int
    is_primary: bool = False


def api_events() -> list[str]:
    """Return the routes of the API as goals may name them."""
    return sorted(f"{API_EVENT}{name}" for name in _route_names(get_resolver(), ""))


def _route_names(resolver: URLResolver, before: str) -> set[str]:
    names: set[str] = set()
    for entry in resolver.url_patterns:
        path = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            names |= _route_names(entry, path)
        elif isinstance(entry, URLPattern) and entry.name and path.startswith(API_PREFIX):
            names.add(entry.name)
    return names


def divided(flag: FeatureFlag) -> dict[str, dict[str, int]]:
    """Return what divides units of a flag: weights by the rule's id, '' for its own rollout."""
    places = {"": flag.allocations}
    places |= {rule["id"]: rule["allocations"] for rule in flag.rules if rule.get("allocations")}
    return {
        place: {variant: weight for variant, weight in weights_of(held).items() if weight}
        for place, held in places.items()
        if held
    }


def save_experiment(
    *,
    experiment: Experiment,
    goals: Sequence[Goal],
    base_version: int | None = None,
    actor: User | None,
) -> Experiment:
    """Draft an experiment, or change a draft that was read at `base_version`.

    Raises InvalidInput, WrongStatus once it has started, and StaleVersion.
    """
    with atomic():
        take_turns()
        if base_version is not None:
            standing = _locked(experiment, Status.DRAFT, verb="edited")
            if standing.version != base_version:
                raise StaleVersion("Somebody changed the experiment meanwhile: reload it.")
            experiment.version = base_version + 1
        errors = [*_faults(experiment), *_goal_faults(experiment.flag, goals)]
        if errors:
            raise InvalidInput(errors)
        if base_version is None:
            experiment.author = actor
        experiment.status = Status.DRAFT
        experiment.save(force_insert=base_version is None)
        experiment.goals.all().delete()
        ExperimentGoal.objects.bulk_create(
            ExperimentGoal(
                experiment=experiment,
                position=position,
                kind=goal.kind,
                event=goal.event,
                window_hours=goal.window_hours,
                is_primary=goal.is_primary,
            )
            for position, goal in enumerate(goals)
        )
        return experiment


def _faults(experiment: Experiment) -> list[FieldError]:
    errors = []
    if not experiment.name.strip() or len(experiment.name) > 200:
        errors.append(FieldError("name", "invalid", "Give 1 to 200 characters."))
    if not experiment.hypothesis.strip():
        detail = "Say what you expect before you see the numbers."
        errors.append(FieldError("hypothesis", "required", detail))
    if not MINIMUM_ALPHA <= experiment.alpha <= MAXIMUM_ALPHA:
        detail = f"From {MINIMUM_ALPHA} to {MAXIMUM_ALPHA}."
        errors.append(FieldError("alpha", "range", detail))
    flag = experiment.flag
    places = divided(flag)
    if experiment.rule not in places:
        what = f"its rule “{experiment.rule}”" if experiment.rule else "its own rollout"
        detail = f"{flag} does not divide units by weights in {what}."
        errors.append(FieldError("rule", "no_weights", detail))
    elif experiment.control_variant not in places[experiment.rule]:
        detail = f"Nobody gets this variant; choose from {', '.join(places[experiment.rule])}."
        errors.append(FieldError("control_variant", "unknown", detail))
    return errors


def _goal_faults(flag: FeatureFlag, goals: Sequence[Goal]) -> list[FieldError]:
    errors = []
    if not 0 < len(goals) <= MAXIMUM_GOALS:
        return [FieldError("goals", "number", f"Give 1 to {MAXIMUM_GOALS} goals.")]
    if sum(goal.is_primary for goal in goals) != 1:
        errors.append(FieldError("goals", "primary", "Exactly one goal is the primary one."))
    routes = api_events()
    seen: set[tuple[str, str]] = set()
    for place, goal in enumerate(goals):
        where = f"goals[{place}]"
        if goal.event.startswith(API_EVENT):
            if goal.event not in routes:
                detail = "The API has no such route."
                errors.append(FieldError(f"{where}.event", "unknown", detail))
            elif flag.bucketing_unit != "enterprise":
                detail = (
                    "A request tells its enterprise and nobody else: this flag divides by"
                    f" {flag.bucketing_unit}. Have the event reported instead."
                )
                errors.append(FieldError(f"{where}.event", "unit", detail))
        elif not EVENT.fullmatch(goal.event):
            detail = "Use up to 100 small letters, digits, dots, - and _."
            errors.append(FieldError(f"{where}.event", "invalid", detail))
        if (goal.event, goal.kind) in seen:
            errors.append(FieldError(f"{where}.event", "repeated", "Stands twice."))
        seen.add((goal.event, goal.kind))
        if goal.kind not in ExperimentGoal.Kind.values:
            detail = f"Choose from {', '.join(ExperimentGoal.Kind.values)}."
            errors.append(FieldError(f"{where}.kind", "invalid", detail))
        if not 1 <= goal.window_hours <= LONGEST_WINDOW_HOURS:
            detail = f"From 1 to {LONGEST_WINDOW_HOURS:,} hours."
            errors.append(FieldError(f"{where}.window_hours", "range", detail))
    return errors


def discard_experiment(*, experiment: Experiment) -> None:
    """Delete a draft. Raises WrongStatus for one that has started."""
    with atomic():
        _locked(experiment, Status.DRAFT, verb="discarded").delete()


def start_experiment(*, experiment: Experiment, now: datetime | None = None) -> Experiment:
    """Begin to note who meets which variant; what was chosen is fixed from here on.

    Raises NotReady, and InvalidInput where the flag was changed since the draft.
    """
    now = now or timezone.now()
    with atomic():
        take_turns()
        locked = _locked(experiment, Status.DRAFT, verb="started")
        flag = FeatureFlag.objects.select_for_update().get(pk=locked.flag_id)
        locked.flag = flag
        if obstacle := _obstacle(flag):
            raise NotReady(f"{flag} {obstacle}: nobody would meet a variant.")
        goals = [
            Goal(goal.event, goal.kind, goal.window_hours, goal.is_primary)
            for goal in locked.goals.all()
        ]
        if errors := [*_faults(locked), *_goal_faults(flag, goals)]:
            raise InvalidInput(errors)
        split = divided(flag)[locked.rule]
        if len(split) < 2:
            raise NotReady(f"Everybody gets {next(iter(split))}: there is nothing to compare.")
        other = Experiment.objects.filter(
            flag=flag, rule=locked.rule, status=Status.RUNNING
        ).first()
        if other:
            raise NotReady(f"“{other}” runs on the same weights: stop it first.")
        locked.status = Status.RUNNING
        locked.unit = flag.bucketing_unit
        locked.split = split
        locked.started_at = now
        locked.version += 1
        locked.save()
        return locked


def _obstacle(flag: FeatureFlag) -> str:
    if flag.is_archived:
        return "is archived"
    if flag.is_killed:
        return "is killed"
    return "" if flag.enabled else "is not enabled"


def interference(experiment: Experiment) -> str:
    """Return what was done to the flag of a running experiment that takes units away from it."""
    flag, split = experiment.flag, divided(experiment.flag).get(experiment.rule)
    if obstacle := _obstacle(flag):
        return f"{flag} {obstacle}: nobody meets a variant."
    if split is None:
        return f"{flag} no longer divides units there: nobody meets a variant."
    if flag.bucketing_unit != experiment.unit:
        return f"{flag} divides by {flag.bucketing_unit} now: nobody is noted."
    if split != experiment.split:
        return f"The weights of {flag} are others than at the start: the shares cannot fit."
    return ""


def stop_experiment(
    *, experiment: Experiment, reason: str, now: datetime | None = None
) -> Experiment:
    """End it for good; what came in stays, and the flag stays as it is."""
    with atomic():
        take_turns()
        locked = _locked(experiment, Status.RUNNING, verb="stopped")
        _end(locked, Status.STOPPED, reason, now or timezone.now())
        return locked


def ship_winner(
    *,
    experiment: Experiment,
    variant: str,
    reason: str,
    actor: User | None,
    now: datetime | None = None,
) -> Experiment:
    """Give one variant to everybody whom the experiment reached, and end it.

    A new version of the flag does it, at once, or as a draft where the flag is protected: see
    `shipped_version`. Raises FlagChanged where the weights are gone already.
    """
    now = now or timezone.now()
    with atomic():
        take_turns()
        locked = _locked(experiment, Status.RUNNING, Status.STOPPED, verb="shipped")
        if variant not in locked.split:
            detail = f"Choose from {', '.join(locked.split)}."
            raise InvalidInput.of("variant", detail, code="unknown")
        flag = FeatureFlag.objects.select_related("namespace").get(pk=locked.flag_id)
        locked.shipped_version = amend_flag(
            flag=flag,
            changes=served_to_all(document_of(flag), locked.rule, variant),
            reason=f"Winner of “{locked}”: {reason.strip()}"[:300],
            actor=actor,
        )
        locked.shipped_variant = variant
        _end(locked, Status.SHIPPED, reason, now)
        return locked


def served_to_all(definition: Mapping[str, Any], rule: str, variant: str) -> dict[str, Any]:
    """Return the definition with one variant for all whom a rule, or the own rollout, reaches.

    Whoever it does not reach keeps the off variant, and an override that says `true` keeps the
    variant that it meant.
    """
    document = dict(definition)
    if rule:
        rules = []
        for each in document["rules"]:
            if each["id"] == rule and "weights" in each:
                rest = {name: part for name, part in each.items() if name != "weights"}
                rules.append({**rest, "variant": variant})
            else:
                rules.append(each)
        if rules == document["rules"]:
            raise FlagChanged(f"The flag has no rule “{rule}” with weights any more.")
        return {**document, "rules": rules}
    if not document["weights"]:
        raise FlagChanged("The flag's own rollout has no weights any more.")
    document["weights"] = {}
    if variant == document["off_variant"]:
        # Nobody is left whom the rollout would give anything else, now or by a later step.
        return {**document, "rollout_percentage": 0, "steps": []}
    if variant != document["on_variant"]:
        for member in ("tenant_overrides", "user_overrides"):
            document[member] = {
                of: document["on_variant"] if to is True else to
                for of, to in document[member].items()
            }
        document["on_variant"] = variant
    return document


def _end(experiment: Experiment, status: str, reason: str, now: datetime) -> None:
    if len(reason.strip()) < 3:
        raise InvalidInput.of("reason", "Say why, in a few words.")
    experiment.status = status
    experiment.stopped_at = experiment.stopped_at or now
    told = [experiment.decision, reason.strip()]
    experiment.decision = "\n".join(part for part in told if part)
    experiment.version += 1
    experiment.save()


def _locked(experiment: Experiment, *expected: str, verb: str) -> Experiment:
    locked = (
        Experiment.objects.select_for_update(of=("self",))
        .select_related("flag")
        .get(pk=experiment.pk)
    )
    if locked.status not in expected:
        raise WrongStatus(
            f"“{locked}” is {locked.get_status_display().lower()}; it cannot be {verb}."
        )
    return locked
