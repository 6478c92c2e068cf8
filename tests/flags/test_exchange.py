"""Flags as YAML: what is written, what is refused with its line, and what an import does."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apps.flags.definitions import document_of
from apps.flags.exchange import (
    ImportPlan,
    export_document,
    import_document,
    plan_import,
    read_document,
)
from apps.flags.models import FeatureFlag, FlagSegment, FlagVersion
from apps.tenants.models import Enterprise
from layoverhq.errors import InvalidInput, StaleVersion
from tests.flags.factories import (
    REASON,
    change,
    flag_name,
    fresh,
    make_flag,
    make_namespace,
    make_segment,
)
from tests.tenants.factories import make_operator

pytestmark = pytest.mark.usefixtures("operator")

HEAD = "format: layoverhq-flags\nversion: 1\n"


def written(**sections: Any) -> str:
    return HEAD + yaml.safe_dump(sections, sort_keys=False)


def plan(text: str) -> ImportPlan:
    return plan_import(read_document(text), actor=None)


def imported(text: str) -> ImportPlan:
    document = read_document(text)
    digest = plan_import(document, actor=None).digest
    return import_document(document=document, digest=digest, reason=REASON, actor=None)


def refused(text: str) -> list[tuple[str, str]]:
    """Return the fields and sentences of what is refused, when read or when planned."""
    try:
        faults = plan(text).faults
    except InvalidInput as error:
        faults = error.errors
    return [(fault.field, fault.detail) for fault in faults]


def test_export_document__everything_used__is_read_back_as_the_same(enterprise: Enterprise):
    owner = make_operator()
    segment = make_segment(members=["u1", 7, "yes", "1.0"], conditions={"plan": "business"})
    namespace = make_namespace(holdout=100, description="One at a time.")
    below = make_flag()
    flag = make_flag(
        "string",
        description="Two lines,\nand: a colon.",
        weights={"a": 2500, "b": 7500},
        conditions={"user": {"$inGroup": segment.name}, "age": {"$gte": 18.5}},
        rules=[
            {
                "id": "r1",
                "description": "on",
                "conditions": {"country": {"$in": ["NO", "no", "DE"]}},
                "rollout": 3333,
                "variant": "c",
            }
        ],
        prerequisites=[{"flag": below.name, "variants": ["on"]}],
        tenant_overrides={str(enterprise.pk): "b"},
        user_overrides={str(owner.pk): False},
        namespace=namespace.name,
        namespace_range=[0, 100],
        steps=[{"at": "2999-01-01T00:00:00+00:00", "percentage": 100}],
        owner=str(owner.pk),
        expires_date="2999-12-31",
        tags=["search", "2026-12-01"],
        tenant_visible=True,
    )
    text = export_document(flags=[flag])
    assert enterprise.slug in text
    assert owner.email in text
    assert str(enterprise.pk) not in text
    found = plan(text)
    assert found.faults == ()
    assert found.effective == []
    # Elsewhere, or after a loss, it makes the same flag.
    before = document_of(fresh(flag))
    anew = flag_name()
    imported(
        text.replace(f"{flag.name}:", f"{anew}:").replace("- 0\n    - 100", "- 100\n    - 200")
    )
    made = FeatureFlag.objects.select_related("namespace").get(name=anew)
    assert {**document_of(made), "namespace_range": [0, 100]} == before


def test_import__flags_that_stand_on_later_ones__are_made_in_an_order_that_works():
    first, second, inner, outer = (flag_name() for _ in range(4))
    text = written(
        segments={
            outer: {"conditions": {"user": {"$inGroup": inner}}},
            inner: {"members": ["u1"]},
        },
        flags={
            first: {
                "value_type": "boolean",
                "prerequisites": [{"flag": second, "variants": ["on"]}],
                "conditions": {"user": {"$inGroup": outer}},
            },
            second: {"value_type": "boolean", "enabled": True},
        },
    )
    done = imported(text)
    assert [(each.item.name, each.action) for each in done.changes] == [
        (outer, "add"),
        (inner, "add"),
        (first, "add"),
        (second, "add"),
    ]
    assert FeatureFlag.objects.get(name=second).enabled
    assert FlagSegment.objects.get(name=outer).conditions == {"user": {"$inGroup": inner}}


def test_plan_import__shows_and_leaves_nothing():
    flag, new = make_flag(rollout_percentage=10), flag_name()
    text = written(
        flags={
            flag.name: {"value_type": "boolean", "enabled": True, "rollout_percentage": 60},
            new: {"value_type": "number"},
        }
    )
    found = plan(text)
    assert [(each.item.name, each.action) for each in found.changes] == [
        (flag.name, "change"),
        (new, "add"),
    ]
    assert found.changes[0].before["rollout_percentage"] == 10
    assert found.changes[0].after["rollout_percentage"] == 60
    assert not FeatureFlag.objects.filter(name=new).exists()
    assert fresh(flag).version == 1
    assert flag.versions.count() == 1


def test_import__one_bad_flag__changes_nothing_and_names_all_faults():
    flag, new = make_flag(rollout_percentage=10), flag_name()
    text = written(
        flags={
            flag.name: {"value_type": "boolean", "enabled": True, "rollout_percentage": 60},
            new: {
                "value_type": "boolean",
                "rollout_percentage": 101,
                "conditions": {"age": {"$gt": []}},
                "tenant_overrides": {"no-such-tenant": True},
            },
        }
    )
    with pytest.raises(InvalidInput) as refusal:
        imported(text)
    assert [error.field for error in refusal.value.errors] == [
        f"flag {new}.rollout_percentage",
        f"flag {new}.conditions.age.$gt",
        f"flag {new}.tenant_overrides.no-such-tenant",
    ]
    assert fresh(flag).rollout_percentage == 10


def test_import__of_a_protected_flag__is_sent_to_review():
    flag = make_flag(is_protected=True)
    text = written(
        flags={flag.name: {"value_type": "boolean", "enabled": True, "is_protected": True}}
    )
    done = imported(text)
    assert done.changes[0].drafted
    assert not fresh(flag).enabled
    assert flag.versions.get(number=2).status == FlagVersion.Status.IN_REVIEW


def test_import__changed_since_the_dry_run__is_refused():
    flag = make_flag(rollout_percentage=10)
    document = read_document(
        written(flags={flag.name: {"value_type": "boolean", "rollout_percentage": 60}})
    )
    digest = plan_import(document, actor=None).digest
    change(flag, rollout_percentage=20)
    with pytest.raises(StaleVersion, match="dry run"):
        import_document(document=document, digest=digest, reason=REASON, actor=None)
    assert fresh(flag).rollout_percentage == 20


def test_import__nothing_new__is_refused():
    text = export_document(flags=[make_flag()])
    with pytest.raises(InvalidInput, match="Nothing in it differs"):
        imported(text)


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ("flags: [a]\n", "flags", "Line 3: holds names with values."),
        ("nonsense: {}\n", "nonsense", "Line 3: is none of segments, namespaces, flags."),
        ("flags:\n  a: 5\n", "flag a", "Line 4: holds names with values."),
        ("flags:\n  a: {colour: red}\n", "flag a.colour", "Line 4: a flag has no colour."),
        ("flags:\n  a: {}\n", "flag a.value_type", "Line 4: Choose from"),
        ("flags:\n  a: {value_type: [x]}\n", "flag a.value_type", "Line 4: Choose from"),
        ('flags:\n  "A b": {value_type: boolean}\n', "flag A b.name", "Line 4: Use up to 100"),
        (
            'flags:\n  "a\\0": {value_type: boolean}\n',
            "flag a\x00.name",
            "Line 4: Use up to 100",
        ),
        (
            "flags:\n  a: {value_type: boolean, weights: {on: 1, off: 2}}\n",
            "flag a.weights",
            "Line 4: They add up to 0.03 %",
        ),
        (
            "flags:\n  a: {value_type: boolean, prerequisites: [{flag: a, variants: [on]}]}\n",
            "flag a.prerequisites[0].flag",
            "Line 4: Is the flag itself.",
        ),
        ("segments:\n  s: {members: 5}\n", "segment s.members", "Line 4: Give a list"),
        ("segments:\n  s: {description: 5}\n", "segment s.description", "Line 4: Give a text."),
        ("namespaces:\n  n: {holdout: 10001}\n", "namespace n.holdout", "Line 4: From 0 to 100 %."),
        ("flags:\n  a: &x {}\n", "document", "Line 4: anchors"),
        ("flags: {a: {}, a: {}}\n", "document", "Line 3: “a” stands twice."),
    ],
)
def test_import__bad_document__is_refused_with_its_line(body: str, field: str, told: str):
    (detail,) = [detail for place, detail in refused(HEAD + body) if place == field]
    assert detail.startswith(told)


def test_read_document__of_another_format__says_which_is_wanted():
    assert ("format", "Line 1: has to be layoverhq-flags.") in refused(
        "format: layoverhq-config\nversion: 1\n"
    )


def test_import__a_circle_of_new_flags__is_refused():
    one, other = flag_name(), flag_name()
    text = written(
        flags={
            one: {"value_type": "boolean", "prerequisites": [{"flag": other, "variants": ["on"]}]},
            other: {"value_type": "boolean", "prerequisites": [{"flag": one, "variants": ["on"]}]},
        }
    )
    assert {field for field, _ in refused(text)} == {
        f"flag {one}.prerequisites[0].flag",
        f"flag {other}.prerequisites[0].flag",
    }


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_read_document__any_text__is_read_or_refused(text: str | bytes):
    with suppress(InvalidInput):
        assert read_document(text) == []
