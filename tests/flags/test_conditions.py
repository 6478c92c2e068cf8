"""What conditions mean: SQL and Python are asked alike, case by case and in thousands."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from apps.flags.conditions import (
    MAXIMUM_NESTING,
    OPERATORS,
    compile_condition,
    compile_groups,
    groups_in,
)
from tests.flags.condition_cases import CASES, SEGMENTS
from tests.flags.strategies import Meeting, documents, segments, values
from tests.isolation import roles

Segments = Mapping[str, tuple[Any, Any]]


@pytest.fixture(scope="module")
def database() -> Iterator[psycopg.Connection[Any]]:
    """A bare connection of the operator's role."""
    with roles.connect_as(roles.OPERATOR) as connection:
        yield connection


def in_python(pairs: Sequence[tuple[Any, Any]], stored: Segments) -> list[bool]:
    groups = compile_groups(stored)
    return [compile_condition(document, groups)(context) for document, context in pairs]


def in_sql(
    database: psycopg.Connection[Any], pairs: Sequence[tuple[Any, Any]], stored: Segments
) -> list[bool]:
    """Return what the database answers where these segments are, and no others."""
    with roles.undone(database):
        database.execute("delete from flag_segments")
        with database.cursor() as cursor:
            cursor.executemany(
                "insert into flag_segments (name, members, conditions, updated_at)"
                " values (%s, %s, %s, now())",
                [
                    (name, Jsonb(members), None if document is None else Jsonb(document))
                    for name, (members, document) in stored.items()
                ],
            )
        rows = database.execute(
            "select flag_condition_matches(t.document, t.context)"
            " from unnest(%s::jsonb[], %s::jsonb[]) with ordinality t(document, context, number)"
            " order by t.number",
            [[Jsonb(document) for document, _ in pairs], [Jsonb(context) for _, context in pairs]],
        ).fetchall()
    return [answer for (answer,) in rows]


@pytest.mark.parametrize("line", CASES)
def test_conditions__a_line_of_the_docs__both_sides_answer_as_it_says(database, line):
    pairs = [(document, context) for document, context, _ in CASES[line]]
    expected = [(*pair, matches) for pair, (*_, matches) in zip(pairs, CASES[line], strict=True)]
    for answers in (in_python(pairs, SEGMENTS), in_sql(database, pairs, SEGMENTS)):
        assert [(*pair, answer) for pair, answer in zip(pairs, answers, strict=True)] == expected


def test_conditions__any_documents_and_contexts__sql_and_python_answer_the_same(database):
    answers: Counter[bool] = Counter()

    @settings(max_examples=250)
    @given(
        st.lists(documents(), min_size=8, max_size=8),
        segments,
        st.randoms(use_true_random=True),
    )
    def compare(drawn: list[Any], stored: Segments, random: Random) -> None:
        meeting = Meeting(random)
        pairs = [(document, meeting.context(document)) for document in drawn for _ in range(10)]
        ours = in_python(pairs, stored)
        answers.update(ours)
        theirs = in_sql(database, pairs, stored)
        assert not [
            (pair, {"python": one, "sql": other})
            for pair, one, other in zip(pairs, ours, theirs, strict=True)
            if one is not other
        ]

    compare()
    assert answers.total() >= 20_000
    assert min(answers.values()) >= answers.total() / 10, answers


@given(document=values, context=st.dictionaries(st.sampled_from("abc"), values))
def test_conditions__any_json_for_a_document__is_answered(database, document, context):
    expected = in_python([(document, context)], {})
    assert in_sql(database, [(document, context)], {}) == expected


@pytest.mark.parametrize("context", [None, True, 1, "a", [], [{"a": 1}], [1]])
def test_conditions__a_context_that_is_no_object__has_no_attributes_in_sql(database, context):
    pairs = [({"a": 1}, context), ({"a": None}, context), ({"a.b": {"$exists": False}}, context)]
    assert in_sql(database, pairs, {}) == [False, True, True]


def test_conditions__null_for_both__are_answered_in_sql(database):
    row = database.execute(
        "select flag_condition_matches(null, '{}'), flag_condition_matches('{}', null),"
        " flag_condition_matches('{\"a\": 1}', null), flag_condition_matches(null, null)"
    ).fetchone()
    assert row == (False, True, False, False)


def chain(length: int) -> Segments:
    """Return segments of which each names the next one, the last of which holds u1."""
    links: dict[str, tuple[Any, Any]] = {
        f"s{number}": ([], {"user": {"$inGroup": f"s{number + 1}"}}) for number in range(1, length)
    }
    return {**links, f"s{length}": (["u1"], None)}


@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("length", [1, MAXIMUM_NESTING, MAXIMUM_NESTING + 1, 30])
def test_segments__in_a_chain__hold_as_far_as_it_may_reach(database, length, negated):
    operator = "$notInGroup" if negated else "$inGroup"
    pairs = [({"user": {operator: "s1"}}, {"user": "u1"})]
    expected = [(length <= MAXIMUM_NESTING) is not negated]
    assert in_python(pairs, chain(length)) == expected
    assert in_sql(database, pairs, chain(length)) == expected


def test_segments__in_a_circle_as_deep_as_documents_go__are_answered(database):
    inner: Any = {"user": {"$inGroup": "s"}}
    elements: Any = [{}]
    for _ in range(9):
        inner = {"l": {"$elemMatch": inner}}
        elements = [{"l": elements}]
    pairs = [(inner, {"user": "u1", "l": elements[0]["l"]})]
    for members, expected in (([], False), (["u1"], True)):
        stored = {"s": (members, inner)}
        asked = [({"user": {"$inGroup": "s"}}, pairs[0][1])]
        assert in_python(asked, stored) == in_sql(database, asked, stored) == [expected]


def test_groups_in__anywhere__are_named():
    document = {
        "a": {"$inGroup": "one"},
        "$or": [{"b": {"$not": {"$notInGroup": "two"}}}, {"$not": {"c": {"$inGroup": "three"}}}],
        "l": {"$elemMatch": {"d": {"$inGroup": "four"}}},
        "e": {"$eq": "five"},
        "f": {"$inGroup": 6},
    }
    assert groups_in(document) == {"one", "two", "three", "four"}
    assert groups_in(None) == set()


# --- nothing raises, whatever it is

STRANGE = [
    math.nan, math.inf, -math.inf, 10**5_000, -(10**5_000), UUID(int=1), (1,), {1}, b"a", object(),
    1j, "\ud800", "a\x00", 1.7e308, [math.nan], {"a": (1,)},
]  # fmt: skip
OPERANDS = [
    None, True, 0, -1.5, "a", "1.0.0", [], ["a", 1, None, [], {}], {}, {"a": 1}, {"$eq": 1}, "(",
    [{"$eq": 1}], 10**400, math.nan, math.inf, 1e300,
]  # fmt: skip


@pytest.mark.parametrize("operator", [*OPERATORS, "$and", "$or", "$nor", "$is"])
def test_evaluation__values_that_json_does_not_know__answers(operator):
    for operand in OPERANDS:
        matches = compile_condition({"a": {operator: operand}, "b.c": None}, {})
        for value in STRANGE:
            assert matches({"a": value}) in (True, False)
            assert matches({"a": [value], "b": value}) in (True, False)


def test_evaluation__a_number_that_is_none__is_no_number_that_documents_have():
    for document in ({"a": {"$gt": 0}}, {"a": {"$lt": 0}}, {"a": 0}, {"a": {"$in": [0, 1]}}):
        assert not compile_condition(document, {})({"a": math.nan})
    assert compile_condition({"a": {"$vne": "1"}}, {})({"a": math.nan})
    assert compile_condition({"a": {"$gt": 2**53}}, {})({"a": math.inf})


def test_evaluation__a_mapping_for_a_context__is_read():
    context = MappingProxyType({"a": 1, "b": {"c": 2}})
    assert compile_condition({"a": 1, "b.c": 2}, {})(context)


def deep_text(inside: str, times: int, before: str, after: str) -> str:
    return before * times + inside + after * times


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (deep_text('{"a": 1}', 2_500, '{"$and": [', "]}"), False),
        (deep_text('{"a": 1}', 2_500, '{"$not": ', "}"), False),
        ('{"a": ' + deep_text('{"$eq": 1}', 2_500, '{"$not": ', "}") + "}", False),
        ('{"a": ' + deep_text('{"$eq": 1}', 2_500, '{"$elemMatch": ', "}") + "}", False),
        ('{"a": ' + deep_text("1", 2_500, "[", "]") + "}", False),
        ('{"b": ' + deep_text("1", 2_500, "[", "]") + "}", True),
        ('{"b": {"$in": [' + deep_text("1", 2_500, "[", "]") + "]}}", False),
        ('{"b": {"$all": [' + deep_text("1", 2_499, "[", "]") + "]}}", True),
        ('{"a": {"$ne": ' + deep_text('{"$is": 1}', 2_500, "[", "]") + "}}", False),
    ],
)
def test_evaluation__nesting_past_all_limits__is_answered_alike(database, document, expected):
    context = '{"a": 1, "b": ' + deep_text("1", 2_500, "[", "]") + "}"
    row = database.execute(
        "select flag_condition_matches(%s::jsonb, %s::jsonb)", [document, context]
    ).fetchone()
    assert row == (expected,)
    assert compile_condition(read_deep(document), {})(read_deep(context)) is expected


def read_deep(text: str) -> Any:
    """Read JSON that is nested deeper than the recursion which evaluation may use."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * limit)
    try:
        return json.loads(text)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("document", "context"),
    [
        ({"a": {"$regex": "(a|b|ab)*c$"}}, {"a": "ab" * 500}),
        ({"a": {"$regex": "a?" * 60 + "b"}}, {"a": "a" * 1_000}),
        ({"a": {"$regex": ".*.*.*.*.*.*.*x"}}, {"a": "a" * 1_000}),
        ({"a": {"$regex": "a"}}, {"a": "b" * 1_000_000}),
        ({"a": {"$vgt": "1.0.0"}}, {"a": "1." * 500_000}),
        ({"a": {"$all": ["x", "y"]}}, {"a": ["z"] * 100_000}),
        ({"a": {"$in": ["x", [1]]}}, {"a": [[2]] * 50_000}),
        ({"a": {"$elemMatch": {"$gt": 1}}}, {"a": [0] * 20_000}),
        ({"a": 1}, {"a": [[[]]] * 100_000}),
    ],
)
def test_evaluation__what_would_take_others_long__takes_a_moment(database, document, context):
    began = time.process_time()
    assert in_python([(document, context)], {}) == [False]
    assert time.process_time() - began < 1
    database.execute("set statement_timeout = '10s'")
    assert in_sql(database, [(document, context)], {}) == [False]
    database.execute("reset statement_timeout")
