"""Which patterns there may be, and that PostgreSQL finds the same matches of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.flags.patterns import MAXIMUM_STEPS, compiled_pattern, pattern_fault
from tests.flags.strategies import Meeting, patterns, strange_patterns
from tests.isolation import roles


@pytest.fixture(scope="module")
def database() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as(roles.OPERATOR) as connection:
        yield connection


def usable_in_sql(database: psycopg.Connection[Any], asked: list[str]) -> list[bool]:
    rows = database.execute(
        "select flag_pattern_usable(t.pattern)"
        " from unnest(%s::text[]) with ordinality t(pattern, number) order by t.number",
        [asked],
    ).fetchall()
    return [usable for (usable,) in rows]


USABLE = [
    "a", "abc", ".", "^$", "a|b", "(a)", "(a|bc)+", "a*b+c?", "a{2}", "a{2,}", "a{2,5}", "a{0,255}",
    "[a-z]", "[^a-z]", "[a-zA-Z0-9_.-]", "[-a]", "[a-]", "[-]", "[^-]", r"[\]\[\^\\-]", "[а-яё]",
    r"\.", r"\\", r"\(\)", r"\_", r"\-", "^^a$$", "(^|,)a(,|$)", "((a*)b)", "((((((((((a))))))))))",
    "a" * 200, "a b", "a,b", "a:b", "é", "\n", "a{100}b{155}", "[*+?(){}|$.]", "0-9", "z-a", "a#b",
    "[z][a]", "[a-c-]",
]  # fmt: skip
REFUSED = {
    "": "has 1 to 200",
    "a" * 201: "has 1 to 200",
    "*": "before *",
    "a**": "before *",
    "a*?": "before ?",
    "a++": "before +",
    "a{2}?": "before ?",
    "|a": "empty",
    "a|": "empty",
    "(|a)": "empty",
    "()": "empty",
    "(a": "not closed",
    "a)": "not opened",
    "(?:a)": "before ?",
    "(?i)a": "before ?",
    "(?=a)": "before ?",
    "***:a": "before *",
    "^*": "is repeated",
    "$+": "is repeated",
    "(a*)*": "is repeated",
    "(a{2})+": "is repeated",
    "((a+)b)?": "is repeated",
    "(^a)+": "is repeated",
    "(a)(b?)*": "is repeated",
    "(ab){2}": "single character",
    "a{3,2}": "Counts rise",
    "a{256}": "Counts rise",
    "a{128}b{0,128}": "Counts rise",
    "a{1000}": r"Write \{",
    "a{,2}": r"Write \{",
    "a{x}": r"Write \{",
    "{": r"Write \{",
    "}": r"Write \}",
    "]": r"Write \]",
    r"\d": "backslash",
    r"\w+": "backslash",
    r"\bword": "backslash",
    r"(a)\1": "backslash",
    r"\x41": "backslash",
    r"\é": "backslash",
    "a\\": "backslash",
    "[a": "A class",
    "[]": "A class",
    "[]a]": "A class",
    "[^]": "A class",
    "[^^]": "A class",
    "[[:alpha:]]": "A class",
    "[[.a.]]": "A class",
    "[a[b]": "A class",
    r"[\d]": "A class",
    "[--]": "A class",
    "[a-c-e]": "A class",
    "[A-z]": "A class",
    "[9-A]": "A class",
    "[a-é]": "A class",
    "[ -~]": "A class",
    "[z-a]": "backwards",
    "[b-a]": "backwards",
    "[я-а]": "backwards",
    "[0-9z-a]": "backwards",
    "(a)" * 11: "at most 10 groups",
    "(" * 11 + "a" + ")" * 11: "at most 10 groups",
}


@pytest.mark.parametrize("pattern", USABLE)
def test_pattern__of_the_subset__is_taken_by_both(database, pattern):
    assert pattern_fault(pattern) is None
    assert usable_in_sql(database, [pattern]) == [True]


@pytest.mark.parametrize("pattern", REFUSED)
def test_pattern__of_another_dialect__is_refused_by_both_and_told_why(database, pattern):
    assert REFUSED[pattern] in (pattern_fault(pattern) or "")
    assert usable_in_sql(database, [pattern]) == [False]


@pytest.mark.parametrize("operand", [None, 1, True, ["a"], {"a": 1}])
def test_pattern__that_is_no_text__is_refused(operand):
    assert pattern_fault(operand) == "A pattern is a text."


def test_patterns__any_text_for_one__sql_and_python_take_the_same(database):
    verdicts: Counter[bool] = Counter()

    @settings(max_examples=150)
    @given(st.lists(strange_patterns, min_size=20, max_size=30))
    def compare(asked: list[str]) -> None:
        ours = [pattern_fault(pattern) is None for pattern in asked]
        verdicts.update(ours)
        theirs = usable_in_sql(database, asked)
        assert not [
            (pattern, {"python": one, "sql": other})
            for pattern, one, other in zip(asked, ours, theirs, strict=True)
            if one is not other
        ]

    compare()
    assert min(verdicts.values()) >= verdicts.total() / 10, verdicts


def test_patterns__any_pattern_and_text__sql_and_python_find_the_same(database):
    found: Counter[bool] = Counter()

    @settings(max_examples=150)
    @given(st.lists(patterns, min_size=10, max_size=10), st.randoms(use_true_random=True))
    def compare(asked: list[str], random: Random) -> None:
        meeting = Meeting(random)
        pairs = [
            (pattern, meeting.text(pattern))
            for pattern in asked
            if pattern_fault(pattern) is None
            for _ in range(8)
        ]
        ours = [compiled_pattern(pattern).search(text) for pattern, text in pairs]
        found.update(ours)
        rows = database.execute(
            "select t.text ~ t.pattern from unnest(%s::text[], %s::text[])"
            " with ordinality t(pattern, text, number) order by t.number",
            [[pattern for pattern, _ in pairs], [text for _, text in pairs]],
        ).fetchall()
        assert not [
            (pair, {"python": one, "sql": other})
            for pair, one, (other,) in zip(pairs, ours, rows, strict=True)
            if one is not other
        ]

    compare()
    assert min(found.values()) >= found.total() / 10, found


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a|aa|aaa)*b", "a" * 1_000),
        ("a?" * 99 + "b", "a" * 1_000),
        (".*" * 99 + "x", "a" * 1_000),
        ("[ab]*a[ab]{200}c", "ab" * 500),
        ("[ab]*a[ab]{200}c", "".join(Random(4).choices("ab", k=1_000))),
    ],
)
def test_search__what_holds_backtracking_up__takes_a_moment(pattern, text):
    machine = compiled_pattern(pattern)
    began = time.process_time()
    assert not machine.search(text)
    assert time.process_time() - began < 1


def test_search__of_many_texts__remembers_a_bounded_part():
    machine = compiled_pattern("[ab]*a[ab]{60}$")
    random = Random(4)
    for _ in range(30):
        text = "".join(random.choices("ab", k=200))
        assert machine.search(text) is (text[-61] == "a")
        assert machine._steps <= MAXIMUM_STEPS
        assert len(machine._states) <= MAXIMUM_STEPS + 1


def test_search__many_characters__are_told_apart():
    machine = compiled_pattern("^[^a-zé-ü😀]$")
    assert all(machine.search(chr(code)) for code in range(0x4E00, 0x4E00 + 3_000))
    assert not any(machine.search(character) for character in "amzéñü😀")
    assert not machine.search("ab")
    assert not machine.search("")
