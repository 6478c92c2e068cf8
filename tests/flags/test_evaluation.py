"""SQL and Python answer alike, whatever the flag and the context."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.flags.evaluation import Evaluation
from apps.flags.runtime import flags
from apps.tenants.models import Enterprise
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants.factories import unique

USERS = [str(uuid4()) for _ in range(12)]
TENANTS = [str(uuid4()) for _ in range(4)]
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from([*USERS, 7, 7.0, 1.5, None, True, [], {}, ""]),
        "enterprise": st.sampled_from([*TENANTS, None, 3]),
        "plan": st.sampled_from(["free", "business", None, 1]),
        "country": st.sampled_from(["DE", "US", "de"]),
        "device": st.sampled_from([{"os": "ios", "id": "d1"}, {"os": 1}, "x", None]),
        "age": st.sampled_from([17, 18, 18.5, "18"]),
    },
)
CONDITIONS = st.sampled_from(
    [
        {},
        {"plan": "business"},
        {"country": {"$in": ["DE", "US"]}},
        {"age": {"$gte": 18}},
        {"device.os": "ios"},
        {"$or": [{"plan": "free"}, {"country": "US"}]},
        {"plan": {"$nonsense": 1}},
        {"plan": "business", "country": "DE", "age": {"$gte": 18}},
    ]
)
PERCENT = st.sampled_from([0, 1, 50, 99, 100])
POINTS = st.sampled_from([0, 1, 2500, 5000, 9999, 10000])
KEYS = ["on", "off", "third"]


@st.composite
def allocations(draw: Any) -> dict[str, list[list[int]]]:
    cuts = sorted({0, 10000, *draw(st.lists(st.integers(1, 9999), max_size=4))})
    held: dict[str, list[list[int]]] = {}
    for low, high in pairwise(cuts):
        held.setdefault(draw(st.sampled_from(KEYS)), []).append([low, high])
    return held


@st.composite
def rules(draw: Any) -> list[dict[str, Any]]:
    made = []
    for number in range(draw(st.integers(0, 3))):
        rule = {
            "id": f"r{number}",
            "description": "",
            "conditions": draw(CONDITIONS),
            "rollout": draw(POINTS),
        }
        if draw(st.booleans()):
            rule["variant"] = draw(st.sampled_from(KEYS))
        else:
            rule["allocations"] = draw(allocations())
        made.append(rule)
    return made


OVERRIDES = st.sampled_from([True, False, "third", "unknown", None, 1])
FLAGS = st.fixed_dictionaries(
    {
        "enabled": st.sampled_from([True, True, True, False]),
        "is_killed": st.sampled_from([False, False, False, True]),
        "is_archived": st.sampled_from([False, False, False, True]),
        "rollout_percentage": PERCENT,
        "conditions": CONDITIONS,
        "tenant_overrides": st.dictionaries(st.sampled_from(TENANTS), OVERRIDES, max_size=2),
        "user_overrides": st.dictionaries(st.sampled_from(USERS), OVERRIDES, max_size=3),
        "value_type": st.sampled_from(["boolean", "json"]),
        "allocations": st.one_of(st.just({}), allocations()),
        "rules": rules(),
        "bucketing_unit": st.sampled_from(["user", "enterprise", "device.id", "age"]),
        "salt": st.sampled_from(["a", "b"]),
        "namespaced": st.sampled_from([None, (0, 10000), (2000, 6000), (9000, 10000)]),
        "needs": st.sampled_from([None, ["on"], ["off"], ["on", "third"]]),
    }
)
VARIANTS = [
    {"key": "on", "value": True},
    {"key": "off", "value": False},
    {"key": "third", "value": {"a": [1, "x"]}},
]


def told(answer: Evaluation) -> dict[str, Any]:
    told = {
        "variant": answer.variant,
        "value": json.loads(json.dumps(plain(answer.value))),
        "reason": answer.reason,
        "rule": answer.rule,
    }
    return {**told, "error_code": answer.error_code} if answer.error_code else told


def plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


INSERT = """
    insert into feature_flags (
        name, enabled, is_killed, is_archived, rollout_percentage, conditions, tenant_overrides,
        user_overrides, value_type, variants, allocations, rules, prerequisites, bucketing_unit,
        salt, namespace_id, namespace_low, namespace_high
    )
    select
        r ->> 'name', (r ->> 'enabled')::boolean, (r ->> 'is_killed')::boolean,
        (r ->> 'is_archived')::boolean, (r ->> 'rollout_percentage')::integer, r -> 'conditions',
        r -> 'tenant_overrides', r -> 'user_overrides', r ->> 'value_type', r -> 'variants',
        r -> 'allocations', r -> 'rules', r -> 'prerequisites', r ->> 'bucketing_unit',
        r ->> 'salt', case when r ->> 'low' is not null then %s::uuid end,
        (r ->> 'low')::integer, (r ->> 'high')::integer
    from jsonb_array_elements(%s::jsonb) as r
"""


@pytest.fixture(scope="module")
def namespace() -> UUID:
    with roles.connect_as(roles.OPERATOR) as operator:
        row = operator.execute(
            "insert into flag_namespaces (name, salt, holdout) values (%s, 'n', 1000) returning id",
            [unique("ns")],
        ).fetchone()
    assert row is not None
    return row[0]


@settings(max_examples=40)
@given(
    made=st.lists(FLAGS, min_size=5, max_size=25),
    contexts=st.lists(CONTEXTS, min_size=20, max_size=30),
)
def test_evaluate__any_flag_and_context__sql_and_python_agree(
    namespace: UUID, made: list[dict[str, Any]], contexts: list[dict[str, Any]]
) -> None:
    stem = unique("flag")
    rows = []
    for number, flag in enumerate(made):
        low_high = flag.pop("namespaced")
        needs = flag.pop("needs")
        flag["name"] = f"{stem}-{number}"
        flag["variants"] = VARIANTS
        flag["prerequisites"] = (
            [{"flag": f"{stem}-{number - 1}", "variants": needs}] if needs else []
        )
        if low_high:
            flag["low"], flag["high"] = low_high
        rows.append(flag)
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(INSERT, [namespace, json.dumps(rows)])
    last = rows[-1]["name"]
    until(lambda: last in flags.directory.get().flags)
    pairs = [(flag["name"], context) for flag in rows for context in contexts]
    with roles.connect_as(roles.APP) as app:
        answers = app.execute(
            "select evaluate_flag(name, context) from unnest(%s::text[], %s::jsonb[])"
            " with ordinality as asked (name, context, position) order by position",
            [[name for name, _ in pairs], [json.dumps(context) for _, context in pairs]],
        ).fetchall()
    for (name, context), (answer,) in zip(pairs, answers, strict=True):
        assert told(flags.evaluate(name, context)) == answer, (name, context)


def test_is_feature_enabled__the_guides_flags__as_seeded(enterprise: Enterprise) -> None:
    with roles.connect_as(roles.APP) as app:
        row = app.execute(
            "select is_feature_enabled('enhanced_search', %(user)s, %(tenant)s),"
            " is_feature_enabled('advanced_analytics', %(user)s),"
            " is_feature_enabled('white_label_v2', %(user)s),"
            " is_feature_enabled('nowhere', %(user)s),"
            " is_feature_enabled('real_time_weather')",
            {"user": uuid4(), "tenant": enterprise.pk},
        ).fetchone()
        users = [uuid4() for _ in range(2000)]
        asked = app.execute(
            "select u, is_feature_enabled('real_time_weather', u) from unnest(%s::uuid[]) as u",
            [users],
        ).fetchall()
    assert row == (True, False, False, False, False)
    # Three standard deviations around a half.
    assert 933 <= sum(on for _, on in asked) <= 1067
    for user, on in asked:
        assert flags.enabled("real_time_weather", {"user": str(user)}) == on


def test_evaluate__unknown_flag_or_no_context__is_an_error_and_raises_nothing() -> None:
    assert flags.evaluate("nowhere", {}).error_code == "FLAG_NOT_FOUND"
    for context in (None, [], "x", 1):
        assert flags.evaluate("enhanced_search", context).error_code == "INVALID_CONTEXT"  # type: ignore[arg-type]
        assert not flags.enabled("enhanced_search", context)  # type: ignore[arg-type]


def test_evaluate__unit_that_is_no_character__is_bucketed_and_raises_nothing() -> None:
    answers = {flags.evaluate("real_time_weather", {"user": f"{n}\ud800"}) for n in range(100)}
    assert {answer.reason for answer in answers} == {"SPLIT", "DEFAULT"}


def test_flag_tables__runtime_role__reads_none_of_them(app_role: Any) -> None:
    for table in ("feature_flags", "flag_segments", "flag_namespaces"):
        row = app_role.execute(
            "select has_table_privilege('layoverhq_app', %s, 'select')", [table]
        ).fetchone()
        assert row == (False,)
