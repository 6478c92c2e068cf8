"""What can be a value, and what can be a schema: refused in words that never repeat the value."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from apps.configs.values import (
    MAXIMUM_BYTES,
    MAXIMUM_DEPTH,
    MAXIMUM_NUMBER,
    check_value,
    fault_of,
    parse_json,
    schema_fault,
    sealed,
)
from layoverhq.errors import InvalidInput
from tests.configs.factories import declaration
from tests.isolation import roles

FITTING = {
    "string": "text",
    "number": 30,
    "boolean": True,
    "json": {"a": [1, {"b": None}]},
    "array": [1, "two", {"three": 3}],
}


def code_of(value_type: str, value: Any, schema: dict[str, Any] | None = None) -> str | None:
    fault = fault_of(declaration(value_type, schema), value)
    return fault.code if fault else None


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value_type", FITTING)
@pytest.mark.parametrize("of_type", FITTING)
def test_value__of_each_type__fits_its_own_only(value_type, of_type):
    fault = code_of(value_type, FITTING[of_type])
    assert fault == (None if value_type == of_type else "type")


@pytest.mark.parametrize("value_type", FITTING)
def test_value__null__is_no_value(value_type):
    assert code_of(value_type, None) == "null"


@pytest.mark.parametrize("value", [0, -1, 0.5, 1e-7, MAXIMUM_NUMBER, -MAXIMUM_NUMBER, 30.0])
def test_number__that_json_holds__fits(value):
    assert code_of("number", value) is None


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, MAXIMUM_NUMBER + 1, -MAXIMUM_NUMBER - 1, 10**400, 1e17, 1e308],
)
@pytest.mark.parametrize(
    "wrap",
    [lambda n: n, lambda n: [1, n], lambda n: {"a": {"b": [[n]]}}],
    ids=["bare", "list", "deep"],
)
def test_number__that_not_every_reader_holds__refused_at_any_depth(value, wrap):
    wrapped = wrap(value)
    value_type = {list: "array", dict: "json"}.get(type(wrapped), "number")
    assert code_of(value_type, wrapped) == "number"


@pytest.mark.parametrize("bad", ["\ud800", "a\ud83d", "\udc00\ud800", "\x00", "a\x00b"])
def test_text__that_postgresql_cannot_store__refused_at_any_depth(bad):
    assert code_of("string", bad) == "unicode"
    assert code_of("array", ["good", [bad]]) == "unicode"
    assert code_of("json", {"a": {"b": bad}}) == "unicode"
    assert code_of("json", {"a": {bad: 1}}) == "unicode"


@pytest.mark.parametrize("text", ["", "ünïcödé", "😀", "\U0010ffff", "\x01\x7f\u2028", "'\"\\"])
def test_text__of_any_real_character__fits(text):
    assert code_of("string", text) is None
    assert code_of("json", {text: text}) is None


def test_value__of_a_megabyte__refused():
    million = "x" * 1_000_000
    assert code_of("string", million) == "too_large"
    assert code_of("array", [million]) == "too_large"
    assert code_of("json", {million: 1}) == "too_large"
    assert code_of("array", [1] * 500_000) == "too_large"


@pytest.mark.parametrize("letter", ["x", "ä", "😀"])
def test_value__at_the_limit_of_bytes__fits_and_one_more_is_refused(letter):
    width = len(letter.encode())
    most = (MAXIMUM_BYTES - 2) // width
    assert code_of("string", letter * most) is None
    assert code_of("string", letter * (most + 1)) == "too_large"


def test_value__short_here_and_long_in_postgresql__refused():
    # jsonb spells 5e-324 out in 326 characters: past the table's limit the write would break.
    assert code_of("array", [5e-324] * 500) is None
    assert code_of("array", [5e-324] * 30_000) == "too_large"
    # An ordinary fraction counts once.
    fitting = [0.1234567890123456] * (200_000 // 20)
    assert code_of("array", fitting) is None


@given(st.floats(-MAXIMUM_NUMBER, MAXIMUM_NUMBER))
def test_value__that_passes__is_within_the_tables_limit(number):
    many = [number] * (MAXIMUM_BYTES // (len(repr(number)) + 2))
    if code_of("array", many) is None:
        with roles.connect_as(roles.APP) as connection:
            row = connection.execute(
                "select octet_length(%s::jsonb::text) <= 400000", [json.dumps(many)]
            ).fetchone()
        assert row == (True,)


def test_value__nested_to_the_limit__fits_and_one_deeper_is_refused():
    assert code_of("array", nested(MAXIMUM_DEPTH)) is None
    assert code_of("array", nested(MAXIMUM_DEPTH + 1)) == "depth"
    assert code_of("json", {"a": nested(100_000)}) == "depth"


@pytest.mark.parametrize("stranger", [{1, 2}, date(2026, 1, 1), b"bytes", (1, 2), object()])
def test_value__that_json_does_not_know__refused(stranger):
    # YAML reads such: 2026-01-01 is a date.
    assert code_of("array", [stranger]) == "type"
    assert code_of("json", {"a": {"b": stranger}}) == "type"


@pytest.mark.parametrize("name", [1, None, True, (1, 2), date(2026, 1, 1)])
def test_value__named_by_what_is_no_text__refused(name):
    assert code_of("json", {"a": {name: 1}}) == "type"


@pytest.mark.parametrize(
    ("value_type", "schema", "value", "said"),
    [
        ("number", {"minimum": 1}, 0, "At least 1."),
        ("number", {"maximum": 1}, 2, "At most 1."),
        ("number", {"exclusiveMinimum": 1}, 1, "More than 1."),
        ("number", {"exclusiveMaximum": 1}, 1, "Less than 1."),
        ("number", {"multipleOf": 5}, 7, "A multiple of 5."),
        ("number", {"type": "integer"}, 1.5, "Must be of type integer."),
        ("string", {"enum": ["gold", "silver"]}, "tin", "One of gold, silver."),
        ("string", {"pattern": "^[a-z]+$"}, "A", "Must match ^[a-z]+$."),
        ("string", {"minLength": 2}, "A", "At least 2 characters."),
        ("string", {"maxLength": 2}, "AAA", "At most 2 characters."),
        ("string", {"const": "gold"}, "tin", "Breaks the schema's “const”."),
        ("array", {"minItems": 1}, [], "At least 1 items."),
        ("array", {"maxItems": 1}, [1, 2], "At most 1 items."),
        ("array", {"uniqueItems": True}, [1, 1], "The items must differ."),
        ("array", {"items": {"type": "string"}}, ["a", 1], "At [1]: Must be of type string."),
        ("json", {"required": ["a", "b"]}, {}, "Needs a, b."),
        ("json", {"additionalProperties": False}, {"a": 1}, "Has a name that the schema does not know."),  # noqa: E501
        (
            "json",
            {"properties": {"limits": {"items": {"properties": {"of": {"maximum": 3}}}}}},
            {"limits": [{"of": 1}, {"of": 4}]},
            "At limits[1].of: At most 3.",
        ),
        (
            "json",
            {"additionalProperties": {"additionalProperties": {"type": "string"}}},
            {"private": {"name": 1}},
            "At ….…: Must be of type string.",
        ),
    ],
)  # fmt: skip
def test_schema__breached__says_the_limit_and_where(value_type, schema, value, said):
    assert schema_fault(schema) is None
    fault = fault_of(declaration(value_type, schema), value)
    assert fault is not None
    assert (fault.code, fault.detail) == ("schema", said)


def test_check_value__refused__names_the_field_and_the_code():
    with pytest.raises(InvalidInput) as refusal:
        check_value(declaration("number", {"maximum": 3}), 4, "test.key for Acme")
    (error,) = refusal.value.errors
    assert (error.field, error.code, error.detail) == ("test.key for Acme", "schema", "At most 3.")


@pytest.mark.parametrize(
    ("schema", "value", "kind"),
    [({"type": "integer"}, 30.0, int), ({"type": "number"}, 30.0, float), ({}, 30, int)],
)
def test_check_value__number__is_an_integer_where_the_schema_asks(schema, value, kind):
    checked = check_value(declaration("number", schema), value, "value")
    assert (checked, type(checked)) == (value, kind)


# --- secrets


def refusal_of(attempt: Callable[[], Any]) -> InvalidInput | None:
    try:
        attempt()
    except InvalidInput as refusal:
        return refusal
    return None


MARK = "hush-"
NUMBER_MARK = 7_316_251

marked_texts = st.text(max_size=8).map(lambda text: MARK + text)
marked_values = st.recursive(
    marked_texts | st.sampled_from([NUMBER_MARK, NUMBER_MARK + 0.25, math.nan, 2**60, None, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(marked_texts, inner, max_size=3),
    max_leaves=6,
)
BREACHED: list[dict[str, Any]] = [
    {},
    {"type": "null"},
    {"minLength": 1000}, {"maxLength": 1}, {"pattern": "^x$"}, {"const": 1}, {"enum": ["a", 2]},
    {"minimum": 9e6}, {"maximum": 3}, {"multipleOf": 0.7},
    {"exclusiveMinimum": 9e6}, {"exclusiveMaximum": 3},
    {"minItems": 100}, {"maxItems": 0}, {"uniqueItems": True}, {"items": {"type": "null"}},
    {"prefixItems": [{"type": "null"}]}, {"items": {"items": False}},
    {"required": ["z"]}, {"minProperties": 100}, {"maxProperties": 0},
    {"additionalProperties": False}, {"additionalProperties": {"type": "null"}},
    {"additionalProperties": {"additionalProperties": {"type": "null"}}},
    {"patternProperties": {".": {"type": "null"}}}, {"propertyNames": {"maxLength": 1}},
    {"properties": {"z": {"type": "null"}}, "additionalProperties": {"items": {"type": "null"}}},
    {"not": {}}, {"anyOf": [{"type": "null"}, {"maxLength": 1}]},
    {"oneOf": [{"type": "null"}, {"maxItems": 0}]},
    {"allOf": [{"additionalProperties": {"type": "null"}}, {"type": "null"}]},
]  # fmt: skip


@given(st.sampled_from(list(FITTING)), st.sampled_from(BREACHED), marked_values)
def test_fault__of_any_secret__never_repeats_a_part_of_it(value_type, schema, value):
    declared = declaration(value_type, schema, is_secret=True)
    refusal = refusal_of(lambda: check_value(declared, value, "test.key"))
    told = f"{refusal} {refusal and refusal.errors!r} {refusal!r}"
    assert MARK not in told
    assert str(NUMBER_MARK) not in told
    # Nor does a traceback show more.
    assert refusal is None or (refusal.__cause__, refusal.__context__) == (None, None)


@given(marked_values)
def test_sealed__with_no_key_to_seal_by__says_nothing_of_the_secret(value):
    declared = declaration("json", is_secret=True)
    with override_settings(ENCRYPTION_KEYS=[]), pytest.raises(InvalidInput) as refusal:
        sealed(declared, {"a": value}, None, "test.key")
    assert refusal.value.errors[0].code == "cannot_seal"
    assert MARK not in str(refusal.value)


@given(st.text(max_size=40), st.text(max_size=3))
def test_parse_json__refused__never_repeats_the_text(text, broken):
    written = f'{{"{MARK}": "{text}", "again": {broken}'
    refusal = refusal_of(lambda: parse_json(written, "value"))
    told = str(refusal)
    assert MARK not in told
    assert not [word for word in re.findall(r"\w{6,}", text) if word in told]


# --- what people type


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "json"),
        ("nope", "json"),
        ("{", "json"),
        ("[1,]", "json"),
        ("{'a': 1}", "json"),
        ('"a" "b"', "json"),
        ("NaN", "json"),
        ("[Infinity]", "json"),
        ('{"a": -Infinity}', "json"),
        ('{"a": 1, "a": 2}', "json"),
        ('[{"b": {"a": 1, "c": 2, "a": 1}}]', "json"),
        ('"\x01"', "json"),
        ("[" * 100_000, "depth"),
        ('{"a":' * 100_000, "depth"),
        ("1" * 5_000, "number"),
        ("[-" + "9" * 30 + "]", "number"),
        (" " * 2_000_000, "too_large"),
    ],
)
def test_parse_json__that_is_none__refused_at_the_field(text, code):
    with pytest.raises(InvalidInput) as refusal:
        parse_json(text, "value")
    assert [(error.field, error.code) for error in refusal.value.errors] == [("value", code)]


@pytest.mark.parametrize(
    ("text", "value", "code"),
    [
        ('"\\ud800"', "\ud800", "unicode"),
        ('"\\u0000"', "\x00", "unicode"),
        ('"\ud800"', "\ud800", "unicode"),
        ("1e999", math.inf, "number"),
        ("9007199254740993", 9007199254740993, "number"),
    ],
)
def test_parse_json__what_json_allows_and_we_do_not__is_refused_as_a_value(text, value, code):
    assert parse_json(text, "value") == value
    assert code_of("number" if code == "number" else "string", value) == code


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAXIMUM_NUMBER, MAXIMUM_NUMBER)
    | st.floats(-1e15, 1e15)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_parse_json__of_any_json__is_what_was_written(value):
    assert parse_json(json.dumps(value), "value") == value


@given(json_values)
def test_value__that_passes__is_what_postgresql_gives_back(value):
    if fault_of(declaration("json"), {"v": value}):
        return
    with roles.connect_as(roles.APP) as connection:
        row = connection.execute("select %s::jsonb", [json.dumps({"v": value})]).fetchone()
    assert row == ({"v": value},)


# --- schemas


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "integer", "minimum": 1, "maximum": 10, "x-unit": "minutes"},
        {"enum": ["a", 1, None, {"b": []}]},
        {"type": ["string", "null"], "pattern": "^[A-Z]{3}$", "title": "IATA", "examples": ["JFK"]},
        {"properties": {"a": {"items": {"anyOf": [{"type": "string"}, True]}}}, "required": ["a"]},
        {"patternProperties": {"^x_": {"type": "number"}}, "additionalProperties": False},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"pattern": r"^(?:[a-z]+\.)?[a-z]+$"},
        {"pattern": r"^\(+[(+]+\)*$"},
    ],
)
def test_schema__good__is_taken(schema):
    assert schema_fault(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        None, True, False, 3, "x", [], [{}],
        {"type": "blah"}, {"type": []}, {"type": 3},
        {"minimum": "x"}, {"minLength": -1}, {"multipleOf": 0}, {"uniqueItems": "yes"},
        {"enum": 5}, {"required": "a"}, {"required": [1]}, {"title": 5},
        {"allOf": 5}, {"allOf": []}, {"anyOf": {"a": 1}}, {"oneOf": [5]}, {"not": 5},
        {"items": 3}, {"items": [{}]}, {"prefixItems": {}}, {"properties": [1]},
        {"properties": {"a": 1}}, {"patternProperties": "x"}, {"patternProperties": {"(": {}}},
        {"additionalProperties": "no"}, {"propertyNames": []},
        {"$ref": "#/x"}, {"$ref": "https://example.com/x"}, {"$defs": {}}, {"$id": "x"},
        {"$dynamicRef": "#x"}, {"format": "email"}, {"if": {}}, {"unevaluatedItems": False},
        {"minimun": 1}, {"properties": {"a": {"$ref": "#"}}}, {"allOf": [{"format": "date"}]},
        {"pattern": "("}, {"pattern": "[a"}, {"pattern": "*"}, {"pattern": 5},
        {"properties": {"a": {"pattern": "(?<"}}},
        {"enum": ["\ud800"]}, {"title": "\x00"}, {"const": math.nan}, {"maximum": 2**60},
        {"description": "x" * 20_000},
    ],
)  # fmt: skip
def test_schema__bad__refused_without_a_crash(schema):
    fault = schema_fault(schema)
    assert fault is not None
    assert fault.code in {"schema", "unicode", "number", "too_large"}


def test_schema__nested_deeply__refused():
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(8):
        schema = {"items": schema}
    assert schema_fault(schema) is None
    schema = {"items": schema}
    fault = schema_fault(schema)
    assert fault is not None
    assert fault.code == "depth"
    for _ in range(100):
        schema = {"not": schema}
    fault = schema_fault(schema)
    assert fault is not None
    assert fault.code == "depth"


@given(json_values)
def test_schema__any_json__is_judged_without_a_crash(schema):
    schema_fault(schema)


@given(
    st.dictionaries(
        st.sampled_from(["type", "items", "properties", "allOf", "pattern", "enum"]), json_values
    )
)
def test_schema__any_content_of_its_keywords__is_judged_without_a_crash(schema):
    if schema_fault(schema) is None:
        fault_of(declaration("string", schema), "text")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$", r"((a+))+$", r"(a*)*$", r"(a|a)*$", r"(a|aa)+$", r"(?:a+){3,}$", r"(a{1,9})+$",
        r"(?:(?:x)(a+))*$", r"(a?){40}a{40}$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(\(a+\))+",
        r"([a-z]+)*", r"(?P<name>a+b?)+", r"(x(y(z+)))*",
    ],
)  # fmt: skip
def test_pattern__that_repeats_a_repetition__refused(pattern):
    fault = schema_fault({"pattern": pattern})
    assert fault is not None
    assert "repeats" in fault.detail
    assert schema_fault({"patternProperties": {pattern: {}}}) is not None
    assert schema_fault({"items": {"properties": {"a": {"pattern": pattern}}}}) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z]+$", r"(ab)+", r"(a+)?b", r"([*+]b)+", r"(\+\*)+", r"(?:abc){2}", r"a+b+c*",
        r"(a|b)c+", r"[(]+[+)]*", r"[]+*]+([^]+*])*", r"^[A-Z](-[A-Z])*x?$",
    ],
)  # fmt: skip
def test_pattern__that_repeats_plainly__is_taken(pattern):
    assert schema_fault({"pattern": pattern}) is None


def test_pattern__planted_past_the_checks__is_refused_before_it_matches():
    # Thirty characters would take this one minutes.
    before = time.monotonic()
    assert code_of("string", "a" * 30 + "b", {"pattern": r"^(a+)+$"}) == "schema"
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#/nowhere"}, {"$ref": "http://127.0.0.1:1/x"}, {"pattern": "("}, {"minimum": "x"}],
)
def test_schema__planted_past_the_checks__faults_the_value_and_raises_nothing(schema):
    assert code_of("string", "text", schema) == "schema"
