"""What a flag is for a context, compiled when the snapshot loads; SQL has evaluate_flag().

Evaluations are made beforehand, one for each way out, so that answering allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.configs.runtime import frozen
from apps.flags.comparing import number_text
from apps.flags.conditions import Group, Matcher, compile_condition
from apps.flags.counting import UNCOUNTED, tallies
from apps.flags.exposing import RunningExperiment
from layoverhq.bucketing import BUCKETS, bucketing

MAXIMUM_NESTING = 10


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An answer: the variant with its value, OpenFeature's reason, and the rule that decided.

    `enabled` is what is_feature_enabled() says of it; `next(counter)` counts it; `experiment` is
    the one whose split it came by.
    """

    variant: str | None
    value: Any
    reason: str
    rule: str | None = None
    error_code: str = ""
    enabled: bool = False
    counter: Iterator[Any] = field(default=UNCOUNTED, compare=False, repr=False)
    experiment: RunningExperiment | None = field(default=None, compare=False, repr=False)


FLAG_NOT_FOUND = Evaluation(None, None, "ERROR", error_code="FLAG_NOT_FOUND")
PROVIDER_NOT_READY = Evaluation(None, None, "ERROR", error_code="PROVIDER_NOT_READY")

Context = Mapping[str, Any]
Step = Callable[[Context, str | None], Evaluation | None]


@dataclass(frozen=True, slots=True)
class Definition:
    """A flag as its row has it."""

    name: str
    enabled: bool
    rollout_percentage: int
    conditions: Any
    tenant_overrides: Mapping[str, Any]
    user_overrides: Mapping[str, Any]
    value_type: str
    variants: list[dict[str, Any]]
    on_variant: str
    off_variant: str
    allocations: Mapping[str, list[list[int]]]
    rules: list[dict[str, Any]]
    prerequisites: list[dict[str, Any]]
    bucketing_unit: str
    salt: str
    # the namespace's salt and the range of its buckets that is the flag's, if it has one
    namespace: tuple[str, int, int] | None
    tenant_visible: bool = False
    version: int = 0


class CompiledFlag:
    """A flag that answers."""

    def __init__(
        self,
        flag: Definition,
        groups: Mapping[str, Group],
        experiments: Sequence[RunningExperiment] = (),
    ) -> None:
        self.name = flag.name
        self._experiments = {experiment.rule: experiment for experiment in experiments}
        self._enabled = flag.enabled
        self._prerequisites = [
            (str(asked["flag"]), frozenset(asked["variants"])) for asked in flag.prerequisites
        ]
        self._values = {variant["key"]: variant["value"] for variant in flag.variants}
        self._boolean = flag.value_type == "boolean"
        self._on_variant, self._off_variant = flag.on_variant, flag.off_variant
        self._rollout_bucket = bucketing(f"{flag.salt}:rollout")
        self._variant_bucket = bucketing(f"{flag.salt}:variant")
        self._in_namespace = None if flag.namespace is None else _in_namespace(*flag.namespace)
        self.invalid = self._answer(None, "ERROR", error_code="INVALID_CONTEXT")
        self._off = self._answer(flag.off_variant, "DISABLED")
        self._unmet = self._answer(flag.off_variant, "DISABLED", "prerequisites")
        self._outside = self._answer(flag.off_variant, "SPLIT", "namespace")
        self._default = self._answer(flag.off_variant, "DEFAULT")
        self._overrides = [
            (attribute, self._overridden(overrides, rule))
            for attribute, overrides, rule in (
                ("enterprise", flag.tenant_overrides, "tenant_overrides"),
                ("user", flag.user_overrides, "user_overrides"),
            )
            if overrides
        ]
        self._unit_at, *self._unit_below = flag.bucketing_unit.split(".")
        self._steps = [
            self._step(
                groups,
                rule["conditions"],
                int(rule["rollout"]),
                rule.get("variant"),
                rule.get("allocations") or {},
                rule["id"],
            )
            for rule in flag.rules
        ]
        self._steps.append(
            self._step(
                groups,
                flag.conditions,
                flag.rollout_percentage * 100,
                flag.on_variant,
                flag.allocations,
                None,
            )
        )
        self._buckets = (
            flag.namespace is not None
            or bool(flag.allocations)
            or flag.rollout_percentage < 100
            or any(rule.get("allocations") or rule["rollout"] < BUCKETS for rule in flag.rules)
        )

    def evaluate(
        self, context: Context, flags: Mapping[str, CompiledFlag], nesting: int = 0
    ) -> Evaluation:
        """Return the answer to a context, a dict of JSON's own types."""
        if not self._enabled:
            return self._off
        if self._prerequisites and not self._met(context, flags, nesting):
            return self._unmet
        for attribute, answers in self._overrides:
            of = context.get(attribute)
            if type(of) is str and (answer := answers.get(of)) is not None:
                return answer
        unit = self.unit(context) if self._buckets else None
        if self._in_namespace is not None and not self._in_namespace(unit):
            return self._outside
        for step in self._steps:
            if (answer := step(context, unit)) is not None:
                return answer
        return self._default

    def _met(self, context: Context, flags: Mapping[str, CompiledFlag], nesting: int) -> bool:
        if nesting >= MAXIMUM_NESTING:
            return False
        for name, variants in self._prerequisites:
            flag = flags.get(name)
            if flag is None or flag.evaluate(context, flags, nesting + 1).variant not in variants:
                return False
        return True

    def unit(self, context: Context) -> str | None:
        """Return what is bucketed, or None where the context has none."""
        value: Any = context.get(self._unit_at)
        for step in self._unit_below:
            value = value.get(step) if isinstance(value, dict) else None
        if type(value) is str:
            return value
        return number_text(value) if type(value) in (int, float) else None

    def _answer(
        self,
        variant: str | None,
        reason: str,
        rule: str | None = None,
        *,
        error_code: str = "",
        experiment: RunningExperiment | None = None,
    ) -> Evaluation:
        value = self._values.get(variant) if variant is not None else None
        enabled = value is True if self._boolean else variant != self._off_variant
        return Evaluation(
            variant,
            frozen(value),
            reason,
            rule,
            error_code,
            enabled=enabled and not error_code,
            counter=tallies.of(self.name, variant, reason).counter,
            experiment=experiment,
        )

    def _overridden(self, overrides: Mapping[str, Any], rule: str) -> dict[str, Evaluation]:
        named = {True: self._on_variant, False: self._off_variant}
        answers = {}
        for of, override in overrides.items():
            if type(override) is bool:
                answers[of] = self._answer(named[override], "TARGETING_MATCH", rule)
            elif type(override) is str and override in self._values:
                answers[of] = self._answer(override, "TARGETING_MATCH", rule)
        return answers

    def _step(
        self,
        groups: Mapping[str, Group],
        conditions: Any,
        rollout: int,
        variant: str | None,
        allocations: Mapping[str, list[list[int]]],
        rule: str | None,
    ) -> Step:
        """Return what a rule answers, or None where it does not apply."""
        matches = None if conditions == {} else compile_condition(conditions, groups)
        reaches = None if rollout >= BUCKETS else self._reaching(rollout)
        if allocations:
            return self._weighed(matches, reaches, allocations, rule)
        if reaches is not None:
            reason = "SPLIT"
        else:
            reason = "STATIC" if rule is None and matches is None else "TARGETING_MATCH"
        answer = self._answer(variant, reason, rule)
        if matches is None and reaches is None:
            return lambda context, unit: answer
        if reaches is None:
            return lambda context, unit: answer if matches(context) else None  # type: ignore[misc]
        if matches is None:
            return lambda context, unit: answer if reaches(unit) else None
        return lambda context, unit: answer if matches(context) and reaches(unit) else None

    def _reaching(self, rollout: int) -> Callable[[str | None], bool]:
        bucket = self._rollout_bucket
        return lambda unit: unit is not None and bucket(unit) < rollout

    def _weighed(
        self,
        matches: Matcher | None,
        reaches: Callable[[str | None], bool] | None,
        allocations: Mapping[str, list[list[int]]],
        rule: str | None,
    ) -> Step:
        bucket, experiment = self._variant_bucket, self._experiments.get(rule)
        ranges = [
            (int(low), int(high), self._answer(variant, "SPLIT", rule, experiment=experiment))
            for variant, held in allocations.items()
            for low, high in held
        ]

        def step(context: Context, unit: str | None) -> Evaluation | None:
            if unit is None or (reaches is not None and not reaches(unit)):
                return None
            if matches is not None and not matches(context):
                return None
            held = bucket(unit)
            return next((answer for low, high, answer in ranges if low <= held < high), None)

        return step


def _in_namespace(salt: str, low: int, high: int) -> Callable[[str | None], bool]:
    bucket = bucketing(salt)
    return lambda unit: unit is not None and low <= bucket(unit) < high


class BrokenFlag(CompiledFlag):
    """A flag whose row makes no sense: it answers an error to everybody."""

    def __init__(self, name: str) -> None:
        self.name = name
        counter = tallies.of(name, None, "ERROR").counter
        self.invalid = Evaluation(None, None, "ERROR", error_code="GENERAL", counter=counter)

    def evaluate(
        self, context: Context, flags: Mapping[str, CompiledFlag], nesting: int = 0
    ) -> Evaluation:
        return self.invalid

    def unit(self, context: Context) -> str | None:
        return None
