"""What is refused of a definition, and where; and that what is saved is what is obeyed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.flags.definitions import (
    MAXIMUM_OVERRIDES,
    Neighbour,
    Surroundings,
    definition_faults,
    document_of,
    put_definition,
)
from apps.flags.models import FeatureFlag
from tests.flags.factories import WEIGHED, definition

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
KNOWN, UNKNOWN = "019ab2f0-0000-7000-8000-000000000001", "019ab2f0-0000-7000-8000-0000000000ff"
RULE = {"id": "r1", "description": "", "conditions": {}, "rollout": 10000, "variant": "on"}


def neighbour(**fields: Any) -> Neighbour:
    usual = {"is_protected": False, "is_archived": False, "prerequisites": frozenset()}
    return Neighbour(**{"variants": frozenset({"on", "off"}), **usual, **fields})


AROUND = Surroundings(
    flags={
        "below": neighbour(),
        "guarded": neighbour(is_protected=True),
        "gone": neighbour(is_archived=True),
        "circular": neighbour(prerequisites=frozenset({"mine"})),
        **{
            f"row{place}": neighbour(prerequisites=frozenset({f"row{place + 1}"}))
            for place in range(10)
        },
        "row10": neighbour(),
    },
    dependents=[],
    segments=frozenset({"staff"}),
    holdouts={"search": 500, "empty": 0},
    taken={"search": [(0, 2000, "other")]},
    unknown=lambda kind, ids: ids - {UUID(KNOWN)},
    operators=frozenset({KNOWN}),
)


def faults(
    document: Any, value_type: str = "boolean", around: Surroundings = AROUND, **options: Any
) -> list[tuple[str, str]]:
    found = definition_faults(
        document, name="mine", value_type=value_type, around=around, now=NOW, **options
    )
    return [(fault.field, fault.code) for fault in found]


STEP = {"at": "2026-12-01T09:00:00+00:00", "percentage": 5}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"enabled": "yes"}, ("enabled", "type")),
        ({"tenant_visible": 1}, ("tenant_visible", "type")),
        ({"description": None}, ("description", "type")),
        ({"description": "a\x00"}, ("description", "unicode")),
        ({"description": "\ud800"}, ("description", "unicode")),
        ({"rollout_percentage": 101}, ("rollout_percentage", "range")),
        ({"rollout_percentage": -1}, ("rollout_percentage", "range")),
        ({"rollout_percentage": 50.5}, ("rollout_percentage", "range")),
        ({"rollout_percentage": True}, ("rollout_percentage", "range")),
        ({"weights": {"on": 5000, "off": 4999}}, ("weights", "sum")),
        ({"weights": {"on": 10001, "off": -1}}, ("weights.on", "range")),
        ({"weights": {"third": 10000}}, ("weights.third", "unknown")),
        ({"weights": []}, ("weights", "type")),
        ({"conditions": {"a": {"$regex": "(a+)+$"}}}, ("conditions.a.$regex", "regex")),
        ({"conditions": {"a": {}}}, ("conditions.a", "empty")),
        ({"conditions": {"user": {"$inGroup": "nobody"}}}, ("conditions", "unknown_segment")),
        ({"conditions": []}, ("conditions", "type")),
        ({"rules": {}}, ("rules", "type")),
        ({"rules": [RULE, RULE]}, ("rules[1].id", "repeated")),
        ({"rules": [{**RULE, "id": "namespace"}]}, ("rules[0].id", "invalid")),
        ({"rules": [{**RULE, "rollout": 10001}]}, ("rules[0].rollout", "range")),
        ({"rules": [{**RULE, "variant": "third"}]}, ("rules[0].variant", "unknown")),
        ({"rules": [{**RULE, "variant": []}]}, ("rules[0].variant", "unknown")),
        ({"rules": [{**RULE, "weights": {"on": 10000}}]}, ("rules[0]", "type")),
        (
            {"rules": [{**RULE, "conditions": {"age": {"$gt": []}}}]},
            ("rules[0].conditions.age.$gt", "type"),
        ),
        ({"prerequisites": "below"}, ("prerequisites", "type")),
        (
            {"prerequisites": [{"flag": "mine", "variants": ["on"]}]},
            ("prerequisites[0].flag", "cycle"),
        ),
        (
            {"prerequisites": [{"flag": "nowhere", "variants": ["on"]}]},
            ("prerequisites[0].flag", "unknown"),
        ),
        (
            {"prerequisites": [{"flag": [], "variants": ["on"]}]},
            ("prerequisites[0].flag", "unknown"),
        ),
        (
            {"prerequisites": [{"flag": "gone", "variants": ["on"]}]},
            ("prerequisites[0].flag", "archived"),
        ),
        (
            {"prerequisites": [{"flag": "below", "variants": ["third"]}]},
            ("prerequisites[0].variants[0]", "unknown"),
        ),
        (
            {"prerequisites": [{"flag": "below", "variants": []}]},
            ("prerequisites[0].variants", "type"),
        ),
        (
            {"prerequisites": [{"flag": "circular", "variants": ["on"]}]},
            ("prerequisites", "cycle"),
        ),
        ({"prerequisites": [{"flag": "row0", "variants": ["on"]}]}, ("prerequisites", "depth")),
        (
            {"is_protected": True, "prerequisites": [{"flag": "below", "variants": ["on"]}]},
            ("prerequisites[0].flag", "unprotected"),
        ),
        ({"tenant_overrides": {"acme": True}}, ("tenant_overrides.acme", "invalid")),
        ({"tenant_overrides": {UNKNOWN: True}}, (f"tenant_overrides.{UNKNOWN}", "unknown")),
        ({"user_overrides": {KNOWN.upper(): True}}, (f"user_overrides.{KNOWN.upper()}", "invalid")),
        ({"user_overrides": {KNOWN: "third"}}, (f"user_overrides.{KNOWN}", "unknown")),
        ({"user_overrides": {KNOWN: None}}, (f"user_overrides.{KNOWN}", "unknown")),
        ({"user_overrides": []}, ("user_overrides", "type")),
        ({"variants": []}, ("variants", "type")),
        ({"variants": [{"key": "on", "value": True}] * 2}, ("variants[1].key", "repeated")),
        (
            {"variants": [{"key": "on", "value": 1}, {"key": "off", "value": False}]},
            ("variants[0].value", "type"),
        ),
        ({"on_variant": "third"}, ("on_variant", "unknown")),
        ({"on_variant": []}, ("on_variant", "unknown")),
        ({"off_variant": "on"}, ("off_variant", "same")),
        ({"bucketing_unit": "a..b"}, ("bucketing_unit", "invalid")),
        ({"bucketing_unit": None}, ("bucketing_unit", "invalid")),
        ({"namespace": "nowhere", "namespace_range": [0, 1]}, ("namespace", "unknown")),
        ({"namespace": "empty"}, ("namespace_range", "range")),
        ({"namespace": "empty", "namespace_range": [5, 5]}, ("namespace_range", "range")),
        ({"namespace": "empty", "namespace_range": [0, 10001]}, ("namespace_range", "range")),
        ({"namespace": "search", "namespace_range": [1999, 3000]}, ("namespace_range", "overlap")),
        ({"namespace": "search", "namespace_range": [2000, 9501]}, ("namespace_range", "holdout")),
        ({"namespace_range": [0, 1]}, ("namespace", "required")),
        ({"steps": [{"at": STEP["at"]}]}, ("steps[0]", "type")),
        ({"steps": [{**STEP, "at": "tomorrow"}]}, ("steps[0].at", "invalid")),
        ({"steps": [{**STEP, "at": "2026-12-01T09:00:00"}]}, ("steps[0].at", "invalid")),
        ({"steps": [{**STEP, "at": "2026-11-25T11:59:00Z"}]}, ("steps[0].at", "past")),
        ({"steps": [STEP, STEP]}, ("steps[1].at", "order")),
        ({"steps": [{**STEP, "percentage": 101}]}, ("steps[0].percentage", "range")),
        ({"steps": [{**STEP, "enabled": 1}]}, ("steps[0].enabled", "type")),
        ({"owner": UNKNOWN}, ("owner", "unknown")),
        ({"owner": []}, ("owner", "unknown")),
        ({"expires_date": "31.12.2026"}, ("expires_date", "invalid")),
        ({"expires_date": 20261231}, ("expires_date", "invalid")),
        ({"tags": ["a", "a"]}, ("tags[1]", "repeated")),
        ({"tags": [" a"]}, ("tags[0]", "invalid")),
        ({"tags": "a"}, ("tags", "type")),
        ({"nonsense": 1}, ("nonsense", "unknown")),
    ],
)
def test_definition__bad__is_refused_at_its_place(changes: dict[str, Any], wanted: tuple[str, str]):
    assert wanted in faults(definition(**changes))


def test_definition__lacking_members__names_each():
    assert faults({"enabled": True})[0] == ("description", "required")
    assert faults([]) == [("definition", "type")]


def test_definition__a_megabyte__is_refused():
    assert [code for _, code in faults(definition(conditions={"a": "x" * 1_000_001}))] == [
        "too_large"
    ]


def test_definition__nested_without_end__is_refused():
    deep: Any = 1
    for _ in range(5000):
        deep = {"$not": deep}
    found = faults(definition(conditions=deep))
    assert [code for _, code in found] == ["depth"]


def test_definition__too_many_overrides__points_to_segments():
    many = {str(UUID(int=number)): True for number in range(MAXIMUM_OVERRIDES + 1)}
    assert ("user_overrides", "too_many") in faults(definition(user_overrides=many))


def test_definition__values_of_each_type__are_taken():
    assert faults(definition("string", variants=WEIGHED, on_variant="a"), "string") == []
    assert faults(definition("number"), "number") == []
    assert faults(definition("json"), "json") == []


def test_definition__what_stands__is_not_asked_for_anew():
    standing = definition(
        tenant_overrides={UNKNOWN: True},
        steps=[{"at": "2026-11-25T11:00:00Z", "percentage": 5}],
    )
    assert faults({**standing, "tags": ["new"]}, standing=standing) == []


def test_definition__ground_of_others__is_not_pulled_away():
    around = Surroundings(
        flags={},
        dependents=[("above", True, frozenset({"on"}))],
        segments=frozenset(),
        holdouts={},
        taken={},
        unknown=AROUND.unknown,
        operators=frozenset(),
    )
    assert faults(definition(), around=around) == [("is_protected", "in_use")]
    assert ("is_archived", "in_use") in faults(
        definition(is_archived=True, is_protected=True), around=around
    )
    renamed = [{"key": "yes", "value": True}, {"key": "off", "value": False}]
    document = definition(is_protected=True, variants=renamed, on_variant="yes")
    assert faults(document, around=around) == [("variants", "in_use")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 20000) | st.text(max_size=4) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(definition())), JSON, max_size=4))
def test_definition__anything_at_all__is_refused_or_obeyed_as_it_says(changes: dict[str, Any]):
    document = definition(**changes)
    if faults(document):
        return
    if document["namespace"] is not None:
        return
    flag = FeatureFlag(name="mine", salt="mine")
    put_definition(flag, document)
    written = document_of(flag)
    assert written == document
