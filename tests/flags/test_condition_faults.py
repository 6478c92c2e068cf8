"""What a document of conditions may not say: refused with the place that is wrong."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given

from apps.flags.condition_faults import MAXIMUM_BYTES, MAXIMUM_FAULTS, condition_faults
from apps.flags.conditions import KNOWN
from tests.flags.condition_cases import deep, negated
from tests.flags.strategies import documents, values

FITTING: list[Any] = [
    {},
    {"plan": "premium"},
    {"plan": None, "age": 1.5, "beta": True, "tags": ["a", {"b": [None]}], "device": {"os": "ios"}},
    {"device.os.version": {"$vgte": "2.10.0"}},
    {"a": {"$eq": {}, "$ne": []}},
    {"a": {"$lt": 1, "$lte": "b", "$gt": -(2**53), "$gte": ""}},
    {"a": {"$in": [], "$nin": [1, None], "$ini": ["A"], "$nini": ["b"]}},
    {"a": {"$all": [1], "$alli": ["A"], "$size": 2.0}},
    {"a": {"$size": {"$gt": 1, "$not": {"$in": [3, 4]}}}},
    {"a": {"$elemMatch": {"$gt": 1, "$not": {"$eq": 3}}}},
    {"a": {"$elemMatch": {"b.c": 1, "$or": [{"d": {"$exists": True}}]}}},
    {"a": {"$elemMatch": {"$nor": [{"b": 1}]}}},
    {"a": {"$exists": False, "$type": "null"}},
    {"a": {"$regex": "^[a-z]+$", "$regexi": r"\.(com|org)"}},
    {"a": {"$inGroup": "beta_testers", "$notInGroup": "a.b-c"}},
    {"a": {"$veq": 1, "$vne": "v1", "$vlt": "1.0.0-rc.1", "$vgt": 1.5}},
    {"a": {"$not": {"$not": {"$gt": 1}}}},
    {"$and": [], "$or": [{}], "$nor": [{"a": 1}], "$not": {"b": 2}},
    {"price in $": 1, "a$": "$x"},
    {"ключ": "значение", "😀": "e\u0301"},
    deep(10),
    negated(9),
    {"a": {"$in": [[[[[[[[[[1]]]]]]]]]]}},
    {f"a{number}": number for number in range(200)},
    {"a": "x" * (MAXIMUM_BYTES - 100)},
    {"a" * 255: 1},
]

# Documents with one fault: where it stands, its code, and a part of what is said.
FAULTY: list[tuple[Any, str, str, str]] = [
    (None, "", "type", "an object"),
    ([], "", "type", "an object"),
    ("a", "", "type", "an object"),
    (1, "", "type", "an object"),
    ({"": 1}, ".", "name", "has a name"),
    ({"a..b": 1}, ".a..b", "name", "each side of a dot"),
    ({".a": 1}, "..a", "name", "each side"),
    ({"a.": 1}, ".a.", "name", "each side"),
    ({"a" * 256: 1}, "…", "name", "at most 255"),
    ({"a": {}}, ".a", "empty", "one at least"),
    ({"a": {"$eq": 1, "b": 1}}, ".a", "mixture", "stand together"),
    ({"a": {"b": {"$eq": 1}}}, ".a.b", "mixture", "no names that begin with $"),
    ({"a": [{"$eq": 1}]}, ".a[0]", "mixture", "no names"),
    ({"a": {"$in": [1, {"b": {"$c": 1}}]}}, ".a.$in[1].b", "mixture", "no names"),
    ({"a": {"$eq": {"$eq": 1}}}, ".a.$eq", "mixture", "no names"),
    ({"a": {"$is": 1}}, ".a.$is", "unknown_operator", "“$is” is no operator"),
    ({"$xor": []}, ".$xor", "unknown_operator", "no operator"),
    ({"a": {"$": 1}}, ".a.$", "unknown_operator", "no operator"),
    ({"a": {"$Eq": 1}}, ".a.$Eq", "unknown_operator", "no operator"),
    ({"$in": [1]}, ".$in", "misplaced", "below an attribute"),
    ({"a": {"$and": []}}, ".a.$and", "misplaced", "beside attributes"),
    ({"a": {"$lt": None}}, ".a.$lt", "type", "number or a text"),
    ({"a": {"$lte": True}}, ".a.$lte", "type", "number or a text"),
    ({"a": {"$gt": [1]}}, ".a.$gt", "type", "number or a text"),
    ({"a": {"$gte": {"b": 1}}}, ".a.$gte", "type", "number or a text"),
    ({"a": {"$in": "x"}}, ".a.$in", "type", "a list"),
    ({"a": {"$nin": None}}, ".a.$nin", "type", "a list"),
    ({"a": {"$ini": {"b": 1}}}, ".a.$ini", "type", "a list"),
    ({"a": {"$nini": 1}}, ".a.$nini", "type", "a list"),
    ({"a": {"$all": True}}, ".a.$all", "type", "a list"),
    ({"a": {"$alli": "x"}}, ".a.$alli", "type", "a list"),
    ({"a": {"$size": "1"}}, ".a.$size", "type", "whole number"),
    ({"a": {"$size": -1}}, ".a.$size", "type", "whole number"),
    ({"a": {"$size": 1.5}}, ".a.$size", "type", "whole number"),
    ({"a": {"$size": True}}, ".a.$size", "type", "whole number"),
    ({"a": {"$size": None}}, ".a.$size", "type", "whole number"),
    ({"a": {"$size": {}}}, ".a.$size", "empty", "one at least"),
    ({"a": {"$size": {"$type": "number"}}}, ".a.$size", "type", "compare with numbers"),
    ({"a": {"$size": {"$not": {"$eq": "1"}}}}, ".a.$size", "type", "compare with numbers"),
    ({"a": {"$size": {"b": 1}}}, ".a.$size", "mixture", "no name with a $"),
    ({"a": {"$elemMatch": {}}}, ".a.$elemMatch", "type", "takes operators"),
    ({"a": {"$elemMatch": 1}}, ".a.$elemMatch", "type", "takes operators"),
    ({"a": {"$elemMatch": {"$is": 1}}}, ".a.$elemMatch.$is", "unknown_operator", "no operator"),
    ({"a": {"$elemMatch": {"b": 1, "$gt": 1}}}, ".a.$elemMatch.$gt", "misplaced", "below"),
    ({"a": {"$elemMatch": {"$not": {"b": 1}}}}, ".a.$elemMatch.$not", "mixture", "no name"),
    ({"a": {"$exists": 1}}, ".a.$exists", "type", "true or false"),
    ({"a": {"$exists": None}}, ".a.$exists", "type", "true or false"),
    ({"a": {"$type": "text"}}, ".a.$type", "type", "one of string"),
    ({"a": {"$type": ["string"]}}, ".a.$type", "type", "one of string"),
    ({"a": {"$regex": r"\d"}}, ".a.$regex", "regex", "[0-9]"),
    ({"a": {"$regex": 1}}, ".a.$regex", "regex", "a text"),
    ({"a": {"$regexi": "(a+)+"}}, ".a.$regexi", "regex", "repeat"),
    ({"a": {"$regexi": "(?i)a"}}, ".a.$regexi", "regex", "before ?"),
    ({"a": {"$inGroup": "Testers"}}, ".a.$inGroup", "group", "name of a segment"),
    ({"a": {"$inGroup": ""}}, ".a.$inGroup", "group", "name of a segment"),
    ({"a": {"$inGroup": "a\n"}}, ".a.$inGroup", "group", "name of a segment"),
    ({"a": {"$inGroup": "a" * 256}}, ".a.$inGroup", "group", "name of a segment"),
    ({"a": {"$notInGroup": ["a"]}}, ".a.$notInGroup", "group", "name of a segment"),
    ({"a": {"$veq": None}}, ".a.$veq", "version", "a version"),
    ({"a": {"$vne": True}}, ".a.$vne", "version", "a version"),
    ({"a": {"$vlt": ""}}, ".a.$vlt", "version", "a version"),
    ({"a": {"$vgt": "1" * 101}}, ".a.$vgt", "version", "100 characters"),
    ({"a": {"$vgte": ["1"]}}, ".a.$vgte", "version", "a version"),
    ({"a": {"$not": 1}}, ".a.$not", "empty", "object of operators"),
    ({"a": {"$not": {}}}, ".a.$not", "empty", "one at least"),
    ({"a": {"$not": {"b": 1}}}, ".a.$not", "mixture", "no name"),
    ({"$not": 1}, ".$not", "type", "an object"),
    ({"$and": {}}, ".$and", "type", "a list of conditions"),
    ({"$or": None}, ".$or", "type", "a list of conditions"),
    ({"$nor": [{}, 1]}, ".$nor[1]", "type", "an object"),
    ({"$or": [{}, {"a": {"$lt": None}}]}, ".$or[1].a.$lt", "type", "number or a text"),
    ({"a": 2**53 + 1}, ".a", "number", "2^53"),
    ({"a": {"$lt": -1e17}}, ".a.$lt", "number", "2^53"),
    ({"a": {"$in": [1, 1e300]}}, ".a.$in[1]", "number", "2^53"),
    ({"a": math.inf}, ".a", "number", "2^53"),
    ({"a": math.nan}, ".a", "number", "2^53"),
    ({"a": "\x00"}, ".a", "unicode", "NUL"),
    ({"a": {"b\x00": 1}}, ".a", "unicode", "NUL"),
    ({"a\x00": 1}, "", "unicode", "NUL"),
    ({"a": {"$in": ["b", "\ud800"]}}, ".a.$in[1]", "unicode", "surrogate"),
    ({"a\udc00": 1}, "", "unicode", "surrogate"),
    ({"a": (1,)}, ".a", "type", "JSON does not know"),
    (deep(11), ".$and[0]" * 10, "depth", "At most 10"),
    (negated(10), ".a" + ".$not" * 10, "depth", "At most 10"),
    ({"a": [[[[[[[[[[[1]]]]]]]]]]]}, ".a", "depth", "At most 10"),
    ({f"a{number}": 1 for number in range(201)}, "", "too_many", "are 201"),
    ({"a": "x" * MAXIMUM_BYTES}, "", "too_large", "65,536 bytes"),
    ({"a": {"$in": ["é" * 100] * 400}}, "", "too_large", "65,536 bytes"),
    # PostgreSQL writes it with 326 characters.
    ({"a": {"$in": [5e-324] * 250}}, "", "too_large", "65,536 bytes"),
    ({"a": {"$in": [[]] * 40_000}}, "", "too_large", "65,536 bytes"),
]


@pytest.mark.parametrize("document", FITTING, ids=range(len(FITTING)))
def test_document__that_may_be_saved__has_no_fault(document):
    assert condition_faults(document) == []


@pytest.mark.parametrize(("document", "place", "code", "said"), FAULTY, ids=range(len(FAULTY)))
def test_document__with_a_fault__is_refused_where_it_stands(document, place, code, said):
    (fault,) = condition_faults(document, "rules[0].conditions")
    assert (fault.field, fault.code) == (f"rules[0].conditions{place}", code)
    assert said in fault.detail


def test_document__with_several_faults__has_each_named():
    document = {"a": {"$is": 1, "$lt": None}, "$or": [{"b": {}}, {"c": {"$regex": "("}}]}
    assert [(fault.field, fault.code) for fault in condition_faults(document)] == [
        ("conditions.a.$is", "unknown_operator"),
        ("conditions.a.$lt", "type"),
        ("conditions.$or[0].b", "empty"),
        ("conditions.$or[1].c.$regex", "regex"),
    ]


@pytest.mark.parametrize(
    "document",
    [
        {f"a{number}": {} for number in range(1_000)},
        {"a": {"$in": ["\x00"] * 5_000}},
        {"a" * 30_000: {"$in": [math.nan] * 10_000}},
        {"a": ["x" * 60_000] * 20},
        {"a": list(range(1_000_000))},
        {str(number): {} for number in range(100_000)},
    ],
    ids=range(6),
)
def test_document__with_faults_by_the_thousand__is_refused_soon(document):
    began = time.process_time()
    faults = condition_faults(document)
    assert time.process_time() - began < 1
    assert 1 <= len(faults) <= MAXIMUM_FAULTS
    assert sum(len(fault.field) + len(fault.detail) for fault in faults) < 50_000


@pytest.mark.parametrize(
    "around", ['{"$and": [%s]}', '{"$not": %s}', '{"a": {"$not": %s}}', "[%s]"]
)
def test_document__nested_by_the_hundred__is_refused(around):
    text = "1"
    for _ in range(300):
        text = around % text
    (fault,) = condition_faults(json.loads(text))
    assert fault.code in ("depth", "type")


def names_in(document: Any) -> set[str]:
    if isinstance(document, dict):
        return document.keys() | set().union(*map(names_in, document.values()), set())
    return set().union(*map(names_in, document)) if isinstance(document, list) else set()


@given(documents() | values)
def test_document__whatever_it_is__is_judged_and_what_evaluation_would_not_know_refused(document):
    faults = condition_faults(document)
    assert all(fault.field.startswith("conditions") and fault.detail for fault in faults)
    if {name for name in names_in(document) if name.startswith("$")} - KNOWN:
        assert faults
