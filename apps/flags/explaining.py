"""Why a flag answers what it answers: the order of decision, each step with what it found.

It takes the way of evaluation.CompiledFlag once more, telling; the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apps.configs.runtime import frozen
from apps.flags.comparing import number_text
from apps.flags.conditions import KNOWN, Group, compile_condition
from apps.flags.evaluation import CompiledFlag, Context, Definition, Evaluation
from apps.flags.words import GROUPS, clause, shown
from layoverhq.bucketing import BUCKETS, rollout_bucket


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: what was asked and found. `met` is None where it only informs."""

    told: str
    met: bool | None = None
    inner: tuple[Finding, ...] = ()
    decided: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer, and the steps up to the one that decided."""

    answer: Evaluation
    path: tuple[Finding, ...]


def explain(
    flag: Definition,
    context: Context,
    flags: Mapping[str, CompiledFlag],
    groups: Mapping[str, Group],
    *,
    off_because: str = "the flag is off",
) -> Explanation:
    """Return the answer of a flag to a context, a dict of JSON's own types, and the way to it.

    `flags` answer the prerequisites, `groups` are the segments.
    """
    return _Walk(flag, context, flags, groups).explain(off_because)


class _Walk:
    def __init__(
        self,
        flag: Definition,
        context: Context,
        flags: Mapping[str, CompiledFlag],
        groups: Mapping[str, Group],
    ) -> None:
        self.flag, self.context, self.flags, self.groups = flag, context, flags, groups
        self.values = {variant["key"]: variant["value"] for variant in flag.variants}
        self.path: list[Finding] = []
        self.unit = _unit(context, flag.bucketing_unit)

    def explain(self, off_because: str) -> Explanation:
        flag = self.flag
        if not flag.enabled:
            return self._decide(f"{off_because}", flag.off_variant, "DISABLED", met=False)
        self.path.append(Finding("the flag is on", met=True))
        if flag.prerequisites:
            asked = tuple(self._prerequisites())
            told = "its prerequisites"
            if not all(finding.met for finding in asked):
                return self._decide(
                    told, flag.off_variant, "DISABLED", "prerequisites", met=False, inner=asked
                )
            self.path.append(Finding(told, met=True, inner=asked))
        for attribute, word, overrides, rule in (
            ("enterprise", "tenant", flag.tenant_overrides, "tenant_overrides"),
            ("user", "user", flag.user_overrides, "user_overrides"),
        ):
            if overrides:
                found = self._override(attribute, overrides)
                if found is not None:
                    told = f"{word} override: {shown(found)}"
                    return self._decide(told, found, "TARGETING_MATCH", rule)
                self.path.append(Finding(f"{word} override: none of {len(overrides)}", met=False))
        if flag.namespace is not None:
            told, inside = self._namespace(flag.namespace)
            if not inside:
                return self._decide(told, flag.off_variant, "SPLIT", "namespace", met=False)
            self.path.append(Finding(told, met=True))
        return self._rules()

    def _rules(self) -> Explanation:
        flag = self.flag
        for number, rule in enumerate(flag.rules, 1):
            named = f"rule {number}" + (f", “{told}”" if (told := rule.get("description")) else "")
            answer = self._step(
                named,
                rule["conditions"],
                int(rule["rollout"]),
                rule.get("variant"),
                rule.get("allocations") or {},
                rule["id"],
            )
            if answer is not None:
                return answer
        named = "everybody else" if flag.rules else "everybody"
        answer = self._step(
            named,
            flag.conditions,
            flag.rollout_percentage * 100,
            flag.on_variant,
            flag.allocations,
            None,
        )
        if answer is not None:
            return answer
        return self._decide("nothing of these: the off variant", flag.off_variant, "DEFAULT")

    def _decide(
        self,
        told: str,
        variant: str | None,
        reason: str,
        rule: str | None = None,
        *,
        met: bool | None = True,
        inner: tuple[Finding, ...] = (),
    ) -> Explanation:
        self.path.append(Finding(told, met, inner, decided=True))
        value = self.values.get(variant) if variant is not None else None
        boolean = self.flag.value_type == "boolean"
        enabled = value is True if boolean else variant != self.flag.off_variant
        answer = Evaluation(variant, frozen(value), reason, rule, enabled=enabled)
        return Explanation(answer, tuple(self.path))

    def _prerequisites(self) -> Iterator[Finding]:
        for asked in self.flag.prerequisites:
            name, wanted = asked["flag"], asked["variants"]
            needed = f"needed {' or '.join(map(shown, wanted)) or 'what it never answers'}"
            flag = self.flags.get(name)
            if flag is None:
                yield Finding(f"{name} is unknown, {needed}", met=False)
                continue
            variant = flag.evaluate(self.context, self.flags, 1).variant
            yield Finding(f"{name} answers {shown(variant)}, {needed}", met=variant in wanted)

    def _override(self, attribute: str, overrides: Mapping[str, Any]) -> str | None:
        of = self.context.get(attribute)
        override = overrides.get(of) if type(of) is str else None
        if type(override) is bool:
            return self.flag.on_variant if override else self.flag.off_variant
        return override if type(override) is str and override in self.values else None

    def _namespace(self, namespace: tuple[str, int, int]) -> tuple[str, bool]:
        salt, low, high = namespace
        if self.unit is None:
            return f"namespace: the context has no {self.flag.bucketing_unit}", False
        bucket = rollout_bucket(salt, self.unit)
        inside = low <= bucket < high
        where = "within" if inside else "outside"
        return f"namespace: bucket {bucket:,} lies {where} [{low:,}, {high:,})", inside

    def _step(
        self,
        named: str,
        conditions: Any,
        rollout: int,
        variant: str | None,
        allocations: Mapping[str, list[list[int]]],
        rule: str | None,
    ) -> Explanation | None:
        findings = [self._conditions(conditions)]
        if rollout < BUCKETS:
            findings.append(self._rollout(rollout))
        if allocations:
            told, variant = self._weighed(allocations)
            findings.append(told)
        inner = tuple(findings)
        if not all(finding.met for finding in inner):
            self.path.append(Finding(f"{named}: passed over", met=False, inner=inner))
            return None
        if allocations or rollout < BUCKETS:
            reason = "SPLIT"
        else:
            reason = "STATIC" if rule is None and conditions == {} else "TARGETING_MATCH"
        return self._decide(f"{named}: {shown(variant)}", variant, reason, rule, inner=inner)

    def _conditions(self, conditions: Any) -> Finding:
        met = compile_condition(conditions, self.groups)(self.context)
        if conditions == {}:
            return Finding("no conditions: everybody", met=True)
        rows = tuple(condition_findings(conditions, self.context, self.groups))
        return Finding("conditions met" if met else "conditions not met", met=bool(met), inner=rows)

    def _rollout(self, rollout: int) -> Finding:
        told = f"rollout to {rollout / 100:g} %"
        if self.unit is None:
            return Finding(f"{told}: the context has no {self.flag.bucketing_unit}", met=False)
        bucket = rollout_bucket(f"{self.flag.salt}:rollout", self.unit)
        reached = bucket < rollout
        side = "lies below" if reached else "does not lie below"
        return Finding(f"{told}: bucket {bucket:,} {side} {rollout:,}", met=reached)

    def _weighed(self, allocations: Mapping[str, list[list[int]]]) -> tuple[Finding, str | None]:
        if self.unit is None:
            told = f"weights: the context has no {self.flag.bucketing_unit}"
            return Finding(told, met=False), None
        bucket = rollout_bucket(f"{self.flag.salt}:variant", self.unit)
        for variant, held in allocations.items():
            for low, high in held:
                if low <= bucket < high:
                    told = f"weights: bucket {bucket:,} of [{low:,}, {high:,}) is {shown(variant)}"
                    return Finding(told, met=True), variant
        return Finding(f"weights: bucket {bucket:,} is nobody's", met=False), None


def condition_findings(
    document: Any, context: Context, groups: Mapping[str, Group]
) -> Iterator[Finding]:
    """Yield the rows of a document, each with whether the context meets it."""
    if not isinstance(document, dict):
        yield Finding(f"{shown(document)} is no condition", met=False)
        return
    for name, operand in document.items():
        met = bool(compile_condition({name: operand}, groups)(context))
        if name.startswith("$") and name not in KNOWN:
            yield Finding(f"“{name}” is no operator: nobody meets it", met=False)
        elif name in GROUPS:
            parts = operand if isinstance(operand, list) else [operand]
            inner = tuple(
                finding
                for part in parts
                for finding in _together(tuple(condition_findings(part, context, groups)))
            )
            yield Finding(GROUPS[name], met, inner)
        else:
            value = _value_at(context, name)
            yield Finding(f"{clause(name, operand)}; it is {shown(value)}", met)


def _together(rows: tuple[Finding, ...]) -> tuple[Finding, ...]:
    if len(rows) < 2:
        return rows
    return (Finding(GROUPS["$and"], all(row.met for row in rows), rows),)


def _value_at(context: Context, path: str) -> Any:
    value: Any = context
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _unit(context: Context, path: str) -> str | None:
    value = _value_at(context, path)
    if type(value) is str:
        return value
    return number_text(value) if type(value) in (int, float) else None
