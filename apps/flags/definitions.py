"""The definition of a flag: what people edit, what a version keeps, and what is refused of it.

A definition is a JSON object with the members that `BLANK` lists. Weights are hundredths of a per
cent by variant, adding up to 10,000; a flag's row has the ranges of buckets that they come to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from apps.flags.allocation import Ranges, allocate, weights_of
from apps.flags.chains import chain_fault, most_visits
from apps.flags.comparing import EXACT, is_number
from apps.flags.condition_faults import condition_faults, unstorable
from apps.flags.conditions import groups_in
from apps.flags.evaluation import MAXIMUM_NESTING
from apps.flags.models import BASIS_POINTS, NAME_PATTERN, FeatureFlag, FlagNamespace
from layoverhq.bucketing import BUCKETS
from layoverhq.errors import FieldError

ValueType = FeatureFlag.ValueType

MAXIMUM_OVERRIDES = 10_000
MAXIMUM_RULES = 100
MAXIMUM_VARIANTS = 50
MAXIMUM_PREREQUISITES = 20
MAXIMUM_VISITS = 200
MAXIMUM_STEPS = 50
MAXIMUM_TAGS = 20
MAXIMUM_TEXT = 10_000
MAXIMUM_BYTES = 1_000_000
MAXIMUM_FAULTS = 100

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
UNIT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
NAME = re.compile(NAME_PATTERN)
# What an evaluation calls the other ways out.
RESERVED_RULES = frozenset({"prerequisites", "tenant_overrides", "user_overrides", "namespace"})

BLANK: Mapping[str, Any] = {
    "description": "",
    "enabled": False,
    "rollout_percentage": 0,
    "weights": {},
    "conditions": {},
    "rules": [],
    "prerequisites": [],
    "tenant_overrides": {},
    "user_overrides": {},
    "variants": [],
    "on_variant": "on",
    "off_variant": "off",
    "bucketing_unit": "user",
    "namespace": None,
    "namespace_range": None,
    "steps": [],
    "is_protected": False,
    "is_archived": False,
    "tenant_visible": False,
    "owner": None,
    "expires_date": None,
    "tags": [],
}
VALUES: Mapping[str, tuple[Any, Any]] = {
    ValueType.BOOLEAN: (True, False),
    ValueType.STRING: ("on", ""),
    ValueType.NUMBER: (1, 0),
    ValueType.JSON: ({}, None),
}


def blank_definition(value_type: str) -> dict[str, Any]:
    """Return the definition that a new flag begins with."""
    on, off = VALUES[value_type]
    variants = [{"key": "on", "value": on}, {"key": "off", "value": off}]
    return {**deepcopy(dict(BLANK)), "variants": variants}


def document_of(flag: FeatureFlag) -> dict[str, Any]:
    """Return the definition of a flag's row as it stands."""
    same = (name for name in BLANK if name in FLAG_FIELDS)
    document = {name: deepcopy(getattr(flag, name)) for name in same}
    ranged = flag.namespace_low is not None
    document |= {
        "description": flag.description or "",
        "weights": weights_of(flag.allocations),
        "rules": [_written(rule) for rule in flag.rules],
        "namespace": flag.namespace.name if flag.namespace else None,
        "namespace_range": [flag.namespace_low, flag.namespace_high] if ranged else None,
        "owner": str(flag.owner_id) if flag.owner_id else None,
        "expires_date": flag.expires_date.isoformat() if flag.expires_date else None,
    }
    return {name: document[name] for name in BLANK}


FLAG_FIELDS = frozenset(BLANK) - {
    "description",
    "weights",
    "rules",
    "namespace",
    "namespace_range",
    "owner",
    "expires_date",
}


def _written(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule with weights where its row has ranges."""
    written = {name: deepcopy(rule[name]) for name in rule if name != "allocations"}
    if rule.get("allocations"):
        written["weights"] = weights_of(rule["allocations"])
    return written


def put_definition(flag: FeatureFlag, definition: Mapping[str, Any]) -> None:
    """Write a definition that can be saved into a flag's row, which is left unsaved."""
    rules = {rule["id"]: _held(rule.get("variant", ""), rule) for rule in flag.rules}
    held = _held(flag.on_variant, {"allocations": flag.allocations})
    same_step = definition["steps"][:1] == flag.steps[:1]
    for name in FLAG_FIELDS:
        setattr(flag, name, deepcopy(definition[name]))
    flag.description = definition["description"]
    flag.allocations = allocate(definition["weights"], held) if definition["weights"] else {}
    flag.rules = [_ruled(rule, rules.get(rule["id"], {})) for rule in definition["rules"]]
    name = definition["namespace"]
    flag.namespace = FlagNamespace.objects.filter(name=name).first() if name else None
    flag.namespace_low, flag.namespace_high = definition["namespace_range"] or (None, None)
    flag.owner_id = UUID(definition["owner"]) if definition["owner"] else None
    expires = definition["expires_date"]
    flag.expires_date = date.fromisoformat(expires) if expires else None
    flag.next_step_at = instant(definition["steps"][0]["at"]) if definition["steps"] else None
    # A step that could not be taken waits until somebody looks at it.
    flag.step_problem = flag.step_problem if same_step else ""


def _held(variant: str, rule: Mapping[str, Any]) -> dict[str, Ranges]:
    """Return who holds which buckets now, where one variant may hold them all."""
    return dict(rule.get("allocations") or {variant: [[0, BUCKETS]]})


def _ruled(rule: Mapping[str, Any], held: Mapping[str, Ranges]) -> dict[str, Any]:
    """Return a rule as its flag's row has it: ranges where people gave weights."""
    ruled = {name: deepcopy(rule[name]) for name in rule if name != "weights"}
    if "weights" in rule:
        ruled["allocations"] = allocate(rule["weights"], held)
    return ruled


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another flag, as far as a definition may refer to it."""

    variants: frozenset[str]
    is_protected: bool
    is_archived: bool
    prerequisites: frozenset[str]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a flag: other flags, segments, namespaces, people and tenants.

    `taken` are the ranges that other flags have of each namespace, with the flag's name; `unknown`
    returns those of some ids that no living enterprise ("tenant") or user has, and `operators` are
    the ids that may own a flag.
    """

    flags: Mapping[str, Neighbour]
    # of the flags that stand on this one: name, whether it is protected, the variants asked for
    dependents: Sequence[tuple[str, bool, frozenset[str]]]
    segments: frozenset[str]
    holdouts: Mapping[str, int]
    taken: Mapping[str, list[tuple[int, int, str]]]
    unknown: Callable[[str, set[UUID]], set[UUID]]
    operators: frozenset[str]


def definition_faults(
    document: Any,
    *,
    name: str,
    value_type: str,
    around: Surroundings,
    standing: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> list[FieldError]:
    """Return all that keeps a definition from being saved, each with its place.

    What `standing`, the definition that is obeyed, has already of overrides, of steps and as its
    owner is not asked for anew: an enterprise or a colleague may have left since. `now` defaults to
    the present.
    """
    if not isinstance(document, dict):
        return [FieldError("definition", "type", "Give an object.")]
    if document.keys() != BLANK.keys():
        return [
            *(
                _fault(each, "unknown", "Is no member of a definition.")
                for each in document
                if each not in BLANK
            ),
            *(_fault(each, "required", "Is missing.") for each in BLANK if each not in document),
        ]
    if too_large := _size_fault(document):
        return [too_large]
    check = _Check(document, name, value_type, around, standing or BLANK, now or datetime.now(UTC))
    return list(check.faults())[:MAXIMUM_FAULTS]


def _fault(place: Any, code: str, detail: str) -> FieldError:
    return FieldError(str(place)[:255], code, detail)


def _size_fault(document: dict[str, Any]) -> FieldError | None:
    if faults := unstorable(document, "definition", MAXIMUM_BYTES):
        first = faults[0]
        return _fault(first.field.removeprefix("definition."), first.code, first.detail)
    return None


def is_whole(value: Any, low: int, high: int) -> bool:
    """Return whether a value is an integer of a range, both ends included."""
    return type(value) is int and low <= value <= high


@dataclass(frozen=True, slots=True)
class _Check:
    document: dict[str, Any]
    name: str
    value_type: str
    around: Surroundings
    standing: Mapping[str, Any]
    now: datetime
    keys: list[str] = field(default_factory=list)

    def faults(self) -> Iterator[FieldError]:
        yield from self.plain()
        yield from self.variants()
        yield from self.rollout()
        yield from self.conditions(self.document["conditions"], "conditions")
        yield from self.rules()
        yield from self.prerequisites()
        yield from self.dependents()
        yield from self.overrides("tenant_overrides", "tenant")
        yield from self.overrides("user_overrides", "user")
        yield from self.namespace()
        yield from self.steps()

    # --- what stands by itself

    def plain(self) -> Iterator[FieldError]:
        given = self.document
        for name in ("enabled", "is_protected", "is_archived", "tenant_visible"):
            if type(given[name]) is not bool:
                yield _fault(name, "type", "Give true or false.")
        if not isinstance(given["description"], str) or len(given["description"]) > MAXIMUM_TEXT:
            yield _fault(
                "description", "type", f"Give a text of up to {MAXIMUM_TEXT:,} characters."
            )
        unit = given["bucketing_unit"]
        if not isinstance(unit, str) or len(unit) > 100 or not UNIT.fullmatch(unit):
            detail = "Give the name of an attribute: user, enterprise, device.id."
            yield _fault("bucketing_unit", "invalid", detail)
        owner = given["owner"]
        known = {*self.around.operators, self.standing["owner"]}
        if owner is not None and not (isinstance(owner, str) and owner in known):
            yield _fault("owner", "unknown", "There is no such operator.")
        if given["expires_date"] is not None and not _is_date(given["expires_date"]):
            yield _fault("expires_date", "invalid", "Give a date such as 2027-03-31.")
        yield from self.tags()

    def tags(self) -> Iterator[FieldError]:
        tags = self.document["tags"]
        if not isinstance(tags, list) or len(tags) > MAXIMUM_TAGS:
            yield _fault("tags", "type", f"Give a list of up to {MAXIMUM_TAGS} texts.")
            return
        for place, tag in enumerate(tags):
            if not isinstance(tag, str) or not 0 < len(tag) <= 50 or tag != tag.strip():
                yield _fault(f"tags[{place}]", "invalid", "Give 1 to 50 characters.")
            elif "," in tag:
                yield _fault(f"tags[{place}]", "invalid", "Commas stand between tags.")
            elif tag in tags[:place]:
                yield _fault(f"tags[{place}]", "repeated", "Stands twice.")

    # --- variants and their weights

    def variants(self) -> Iterator[FieldError]:
        variants = self.document["variants"]
        if not isinstance(variants, list) or not 2 <= len(variants) <= MAXIMUM_VARIANTS:
            yield _fault("variants", "type", f"Give 2 to {MAXIMUM_VARIANTS} variants.")
            return
        for place, variant in enumerate(variants):
            where = f"variants[{place}]"
            if not isinstance(variant, dict) or variant.keys() != {"key", "value"}:
                yield _fault(where, "type", "Give an object of key and value.")
                continue
            key = variant["key"]
            if not isinstance(key, str) or not KEY.fullmatch(key):
                yield _fault(
                    f"{where}.key", "invalid", "Use up to 100 letters, digits, dots, - and _."
                )
            elif key in self.keys:
                yield _fault(f"{where}.key", "repeated", "Stands twice.")
            else:
                self.keys.append(key)
            if detail := self.value_fault(variant["value"]):
                yield _fault(f"{where}.value", "type", detail)
        for name in ("on_variant", "off_variant"):
            if self.document[name] not in self.keys:
                yield _fault(name, "unknown", "Is none of the variants.")
        if self.document["on_variant"] == self.document["off_variant"]:
            yield _fault("off_variant", "same", "Is the on variant.")

    def value_fault(self, value: Any) -> str:
        if self.value_type == ValueType.BOOLEAN:
            return "" if type(value) is bool else "Give true or false."
        if self.value_type == ValueType.STRING:
            right = isinstance(value, str) and len(value) <= MAXIMUM_TEXT
            return "" if right else f"Give a text of up to {MAXIMUM_TEXT:,} characters."
        if self.value_type == ValueType.NUMBER:
            return "" if is_number(value) and abs(value) <= EXACT else "Give a number up to 2^53."
        return ""

    def weights(self, weights: Any, where: str) -> Iterator[FieldError]:
        if not isinstance(weights, dict):
            yield _fault(where, "type", "Give weights by variant.")
            return
        right = True
        for key, weight in weights.items():
            if key not in self.keys:
                right = False
                yield _fault(f"{where}.{key}", "unknown", "Is none of the variants.")
            elif not is_whole(weight, 0, BASIS_POINTS):
                right = False
                yield _fault(f"{where}.{key}", "range", "From 0 to 100 %.")
        if right and (total := sum(weights.values())) != BASIS_POINTS:
            yield _fault(where, "sum", f"They add up to {total / 100:g} %, not to 100 %.")

    def rollout(self) -> Iterator[FieldError]:
        if not is_whole(self.document["rollout_percentage"], 0, 100):
            yield _fault("rollout_percentage", "range", "From 0 to 100, in whole per cent.")
        if self.document["weights"] != {}:
            yield from self.weights(self.document["weights"], "weights")

    # --- rules

    def conditions(self, conditions: Any, where: str) -> Iterator[FieldError]:
        faults = condition_faults(conditions, where)
        yield from faults
        if not faults:
            for name in sorted(groups_in(conditions) - self.around.segments):
                yield _fault(where, "unknown_segment", f"There is no segment {name}.")

    def rules(self) -> Iterator[FieldError]:
        rules = self.document["rules"]
        if not isinstance(rules, list) or len(rules) > MAXIMUM_RULES:
            yield _fault("rules", "type", f"Give a list of up to {MAXIMUM_RULES} rules.")
            return
        seen: set[str] = set()
        for place, rule in enumerate(rules):
            yield from self.rule(rule, f"rules[{place}]", seen)

    def rule(self, rule: Any, where: str, seen: set[str]) -> Iterator[FieldError]:
        common = {"id", "description", "conditions", "rollout"}
        if not isinstance(rule, dict) or rule.keys() not in (
            common | {"variant"},
            common | {"weights"},
        ):
            detail = "Give id, description, conditions, rollout, and either variant or weights."
            yield _fault(where, "type", detail)
            return
        key = rule["id"]
        if not isinstance(key, str) or not KEY.fullmatch(key) or key in RESERVED_RULES:
            yield _fault(f"{where}.id", "invalid", "Use up to 100 letters, digits, dots, - and _.")
        elif key in seen:
            yield _fault(f"{where}.id", "repeated", "Stands twice.")
        else:
            seen.add(key)
        if not isinstance(rule["description"], str) or len(rule["description"]) > MAXIMUM_TEXT:
            yield _fault(f"{where}.description", "type", "Give a text.")
        if not is_whole(rule["rollout"], 0, BASIS_POINTS):
            yield _fault(f"{where}.rollout", "range", "From 0 to 100 %.")
        yield from self.conditions(rule["conditions"], f"{where}.conditions")
        if "weights" in rule:
            yield from self.weights(rule["weights"], f"{where}.weights")
        elif rule["variant"] not in self.keys:
            yield _fault(f"{where}.variant", "unknown", "Is none of the variants.")

    # --- what refers to others

    def prerequisites(self) -> Iterator[FieldError]:
        given = self.document["prerequisites"]
        if not isinstance(given, list) or len(given) > MAXIMUM_PREREQUISITES:
            detail = f"Give a list of up to {MAXIMUM_PREREQUISITES} flags."
            yield _fault("prerequisites", "type", detail)
            return
        named: set[str] = set()
        for place, each in enumerate(given):
            where = f"prerequisites[{place}]"
            if not isinstance(each, dict) or each.keys() != {"flag", "variants"}:
                yield _fault(where, "type", "Give an object of flag and variants.")
                continue
            flag = each["flag"]
            neighbour = self.around.flags.get(flag) if isinstance(flag, str) else None
            if flag == self.name:
                yield _fault(f"{where}.flag", "cycle", "Is the flag itself.")
            elif neighbour is None:
                yield _fault(f"{where}.flag", "unknown", "There is no such flag.")
            else:
                yield from self.prerequisite(where, flag, neighbour, each["variants"], named)
                named.add(flag)
        yield from self.chains(named)

    def prerequisite(
        self, where: str, flag: str, neighbour: Neighbour, variants: Any, named: set[str]
    ) -> Iterator[FieldError]:
        if flag in named:
            yield _fault(f"{where}.flag", "repeated", "Stands twice.")
        if neighbour.is_archived:
            yield _fault(f"{where}.flag", "archived", f"{flag} is archived.")
        if self.document["is_protected"] is True and not neighbour.is_protected:
            detail = f"{flag} is not protected: whoever changed it would change this flag."
            yield _fault(f"{where}.flag", "unprotected", detail)
        if not isinstance(variants, list) or not variants:
            yield _fault(f"{where}.variants", "type", "Name the variants that it has to answer.")
            return
        for number, key in enumerate(variants):
            if not isinstance(key, str) or key not in neighbour.variants:
                detail = f"{flag} has no such variant."
                yield _fault(f"{where}.variants[{number}]", "unknown", detail)

    def chains(self, named: set[str]) -> Iterator[FieldError]:
        """Refuse circles, and rows that an evaluation would not follow to their end."""
        uses = {flag: each.prerequisites for flag, each in self.around.flags.items()}
        chained = {**uses, self.name: named}
        told = {
            "cycle": "They lead back to this flag.",
            "depth": f"At most {MAXIMUM_NESTING} in a row.",
        }
        fault = chain_fault(self.name, chained, MAXIMUM_NESTING + 1)
        if fault:
            yield _fault("prerequisites", fault, told[fault])
        elif named and most_visits(self.name, chained, MAXIMUM_NESTING) > MAXIMUM_VISITS:
            detail = f"An evaluation would ask for over {MAXIMUM_VISITS} flags, one by another."
            yield _fault("prerequisites", "too_many", detail)

    def dependents(self) -> Iterator[FieldError]:
        """Refuse what would pull the ground from under flags that stand on this one."""
        for flag, is_protected, variants in self.around.dependents:
            if self.document["is_archived"]:
                yield _fault("is_archived", "in_use", f"{flag} stands on it.")
            if is_protected and not self.document["is_protected"]:
                yield _fault("is_protected", "in_use", f"{flag}, which is protected, stands on it.")
            for variant in sorted(variants - set(self.keys)):
                yield _fault("variants", "in_use", f"{flag} asks for the variant {variant}.")

    def overrides(self, member: str, kind: str) -> Iterator[FieldError]:
        given = self.document[member]
        if not isinstance(given, dict):
            yield _fault(member, "type", "Give variants by id.")
            return
        if len(given) > MAXIMUM_OVERRIDES:
            detail = f"At most {MAXIMUM_OVERRIDES:,}; more belong into a segment."
            yield _fault(member, "too_many", detail)
            return
        asked: set[UUID] = set()
        for of, to in given.items():
            if not _is_id(of):
                yield _fault(f"{member}.{of}", "invalid", "Is no id in its usual form.")
            elif of not in self.standing[member]:
                asked.add(UUID(of))
            if type(to) is not bool and (not isinstance(to, str) or to not in self.keys):
                yield _fault(
                    f"{member}.{of}", "unknown", "Give true, false or one of the variants."
                )
        for of_id in sorted(self.around.unknown(kind, asked)) if asked else ():
            word = "enterprise" if kind == "tenant" else "user"
            yield _fault(f"{member}.{of_id}", "unknown", f"There is no such {word}.")

    def namespace(self) -> Iterator[FieldError]:
        name, given = self.document["namespace"], self.document["namespace_range"]
        if name is None:
            if given is not None:
                yield _fault("namespace", "required", "Say of which namespace the range is.")
            return
        if not isinstance(name, str) or name not in self.around.holdouts:
            yield _fault("namespace", "unknown", "There is no such namespace.")
            return
        if (
            not isinstance(given, list)
            or len(given) != 2
            or not all(is_whole(end, 0, BASIS_POINTS) for end in given)
            or given[0] >= given[1]
        ):
            yield _fault("namespace_range", "range", "Give where it begins and ends, 0 to 100 %.")
            return
        end = BASIS_POINTS - self.around.holdouts[name]
        if given[1] > end:
            detail = f"From {end / 100:g} % on, {name} is held out."
            yield _fault("namespace_range", "holdout", detail)
        if self.document["is_archived"]:
            return
        for low, high, flag in self.around.taken.get(name, ()):
            if given[0] < high and low < given[1]:
                detail = f"{flag} has {low / 100:g} to {high / 100:g} %."
                yield _fault("namespace_range", "overlap", detail)

    def steps(self) -> Iterator[FieldError]:
        given = self.document["steps"]
        if not isinstance(given, list) or len(given) > MAXIMUM_STEPS:
            yield _fault("steps", "type", f"Give a list of up to {MAXIMUM_STEPS} steps.")
            return
        before: datetime | None = None
        for place, step in enumerate(given):
            where = f"steps[{place}]"
            if not isinstance(step, dict) or not {"at"} < step.keys() <= {
                "at",
                "percentage",
                "enabled",
            }:
                yield _fault(where, "type", "Give a time, and a percentage or whether it is on.")
                continue
            at = instant(step["at"])
            if at is None:
                yield _fault(f"{where}.at", "invalid", "Give a time such as 2026-12-01T09:00:00Z.")
            elif at <= self.now and step not in self.standing["steps"]:
                yield _fault(f"{where}.at", "past", "Lies in the past.")
            elif before is not None and at <= before:
                yield _fault(f"{where}.at", "order", "Is not after the step before it.")
            before = at or before
            if "percentage" in step and not is_whole(step["percentage"], 0, 100):
                yield _fault(f"{where}.percentage", "range", "From 0 to 100, in whole per cent.")
            if "enabled" in step and type(step["enabled"]) is not bool:
                yield _fault(f"{where}.enabled", "type", "Give true or false.")


def instant(text: Any) -> datetime | None:
    """Return a time with an offset, in UTC; None where the text is none."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _is_date(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_id(text: Any) -> bool:
    try:
        return isinstance(text, str) and str(UUID(text)) == text
    except ValueError:
        return False


def same_definition(one: Any, other: Any) -> bool:
    """Return whether two definitions say the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
