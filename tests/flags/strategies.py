"""Documents of conditions for Hypothesis, and contexts that all but meet them.

Kinds are mixed on purpose. A context that knows nothing of the document rarely matches, and a wrong
answer to it shows rarely: so contexts are made of the document's operands, with a twist.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import strategies as st

from apps.flags.conditions import OPERATORS

Strategy = st.SearchStrategy[Any]

PLACES = ("a", "a", "b", "c", "b.a", "b.c.a", "user", "", "a.")
NAMES = ("a", "b", "c", "0", "", "user", "$b", "é")
SEGMENT_NAMES = ("s1", "s2", "s3", "s4")

TEXTS = (
    "", "a", "A", "b", "ab", "aB", "B", "1", "10", "9", "true", "null", "é", "É", "e\u0301",
    "😀", "\uffff", "\u212a", "ß", "𐐀", "𐐨", " ", "a\nb", "u1", "$in", '"', "\\", '{"$is": 1}',
)  # fmt: skip
VERSIONS = (
    "1", "1.0", "1.0.0", "v1.0.0", "1.0.0+b.1", "1.0.0-rc.1", "1.0.0-rc.10", "1.10.0", "1.9.0",
    "2", "2.0", "10.0.0", "123456.0.0", "1..2", "-", ".", "v", "vv1", "1.0.0-", "01.0.0", "٣",
    "x" * 101,
)  # fmt: skip
NUMBERS = (
    0, -0.0, 1, 1.0, -1, 2, 2.0, 0.1, 0.3, 0.1 + 0.2, 1.5, 10, 9, 1e15, 10**15, 1e-7, 2**53,
    float(2**53), -(2**53), 5e-324,
)  # fmt: skip
# Beyond what a document may hold; contexts hold anything.
LARGE = (2**53 + 1, 2.0**53 + 2, 1e22, 10**22, 1e23, 10**23, 1.7e308, -1e23, 10**30)

texts: Strategy = (
    st.sampled_from(TEXTS)
    | st.sampled_from(VERSIONS)
    | st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
        | st.sampled_from("aAbB1.$é"),
        max_size=4,
    )
)
numbers: Strategy = (
    st.sampled_from(NUMBERS)
    | st.sampled_from(LARGE)
    | st.integers(-3, 3)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
# Few, so that two draws are often the same.
common: Strategy = st.sampled_from(("a", "A", "b", "1", 0, 1, 1.0, 2, True, False, None, "é"))
scalars: Strategy = st.one_of(common, common, common, st.booleans(), st.none(), texts, numbers)


def _around(inner: Strategy) -> Strategy:
    lists = st.lists(inner, max_size=3)
    return lists | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)


values: Strategy = scalars | st.recursive(scalars, _around, max_leaves=4)
lists: Strategy = st.lists(values, min_size=1, max_size=3)
short_texts: Strategy = st.text(st.sampled_from("aAbB1é😀.- "), max_size=6)
UNITS = ("u1", "u2", 1, 1.0, 2.5, "A", None, True, ["u1"], 2**60)

one_characters = st.sampled_from(
    ("a", "A", "b", "B", "1", "é", "😀", "-", " ", ".", r"\.", r"\+", r"\(", r"\\", "[ab]", "[^a]",
     "[A-B]", "[a-c1-9]", "[^A-Z]", r"[\].-]", "[é-ü]", "[-a]")
)  # fmt: skip
counts = st.sampled_from(("{0}", "{1}", "{2}", "{1,}", "{0,1}", "{1,3}", "{2,40}"))
stars = st.sampled_from(("*", "+", "?"))


def _groups(inner: Strategy) -> Strategy:
    alternatives = st.lists(inner, min_size=1, max_size=3).map("|".join)
    return alternatives.map(lambda text: f"({text})")


repeated = st.builds(str.__add__, one_characters, stars | counts)
plain_groups = _groups(st.lists(one_characters, min_size=1, max_size=2).map("".join))
pieces: Strategy = (
    one_characters
    | repeated
    | st.builds(str.__add__, plain_groups, stars | st.just(""))
    | _groups(
        st.lists(repeated | one_characters | st.sampled_from("^$"), min_size=1, max_size=3).map(
            "".join
        )
    )
    | st.sampled_from("^$")
)
patterns: Strategy = st.lists(pieces, min_size=1, max_size=2).map("".join)
# What somebody might write who knows other dialects, or nobody would.
strange_patterns: Strategy = st.lists(
    pieces
    | st.sampled_from(
        (r"\d", r"\b", r"\1", r"\A", "(?:a)", "(?i)", "(?=a)", "*?", "++", "***", "[[:alpha:]]",
         "[b-a]", "[a-", "[]", "[^]", "[^^]", "[--]", "[a-c-e]", "[9-A]", "{", "}", "{,2}", "{3,1}",
         "{256}", "{200}", "{1,255}", "()", "(|a)", "|", "(", ")", "((a))", "((a)*b)", "\n", "]",
         "(a*)+", "(^a)*", "^*", r"[\d]", r"\é", "\\")
    ),
    max_size=4,
).map("".join) | st.text(st.sampled_from(r"ab()[]{}|*+?^$\-.,12é"), max_size=8)  # fmt: skip


# What an operator takes; `$not`, `$size` and `$elemMatch` take what has operators inside.
operands: dict[str, Strategy] = {
    **dict.fromkeys(("$eq", "$ne"), values),
    **dict.fromkeys(("$lt", "$lte", "$gt", "$gte"), numbers | texts),
    **dict.fromkeys(("$in", "$nin", "$all", "$alli"), lists | st.just([])),
    **dict.fromkeys(("$ini", "$nini"), lists | st.lists(short_texts, max_size=4)),
    "$exists": st.booleans(),
    "$type": st.sampled_from(("string", "number", "boolean", "array", "object", "null")),
    **dict.fromkeys(("$regex", "$regexi"), patterns),
    **dict.fromkeys(("$inGroup", "$notInGroup"), st.sampled_from(SEGMENT_NAMES)),
    **dict.fromkeys(
        ("$veq", "$vne", "$vlt", "$vlte", "$vgt", "$vgte"), st.sampled_from(VERSIONS) | numbers
    ),
}
ONE_IN_TEN = (False,) * 9 + (True,)
ONE_IN_FORTY = (False,) * 39 + (True,)


@st.composite
def operators(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Draw operators below an attribute; now and then an operand that is none, or a mixture."""
    drawn: dict[str, Any] = {}
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        name = draw(st.sampled_from([name for name in OPERATORS if depth or name in operands]))
        if draw(st.sampled_from(ONE_IN_TEN)):
            operand = values
        elif name == "$not":
            operand = operators(depth - 1)
        elif name == "$size":
            operand = st.sampled_from((0, 1, 2.0, 3)) | operators(depth - 1)
        elif name == "$elemMatch":
            operand = operators(depth - 1) | documents(depth - 1)
        else:
            operand = operands[name]
        drawn[name] = draw(operand)
    if draw(st.sampled_from(ONE_IN_FORTY)):
        drawn[draw(st.sampled_from(("b", "$is", "$and", "$or")))] = draw(values)
    return drawn


@st.composite
def documents(draw: st.DrawFn, depth: int = 2) -> Any:
    """Draw a document; now and then with what is none inside."""
    document: dict[str, Any] = {}
    clauses, logic = draw(st.sampled_from(((1, 0), (1, 0), (1, 0), (2, 0), (0, 1), (1, 1))))
    for _ in range(clauses):
        place = draw(st.sampled_from(PLACES))
        document[place] = draw(values if draw(st.sampled_from(ONE_IN_TEN)) else operators(depth))
    for _ in range(logic if depth else 0):
        name = draw(st.sampled_from(("$and", "$or", "$nor", "$not")))
        if draw(st.sampled_from(ONE_IN_TEN)):
            document[name] = draw(values)
        elif name == "$not":
            document[name] = draw(documents(depth - 1))
        else:
            document[name] = draw(st.lists(documents(depth - 1), max_size=3))
    if draw(st.sampled_from(ONE_IN_FORTY)):
        document[draw(st.sampled_from(("$is", "$in", "$xor")))] = draw(values)
    return document


def _mostly(usual: Strategy) -> Strategy:
    """Draw any value once in ten times: a union would weigh each of its branches alike."""
    return st.sampled_from(ONE_IN_TEN).flatmap(lambda odd: values if odd else usual)


segments: Strategy = st.dictionaries(
    st.sampled_from(SEGMENT_NAMES),
    st.tuples(
        _mostly(st.lists(st.sampled_from(UNITS), min_size=1, max_size=5)),
        _mostly(st.none() | documents()),
    ),
    min_size=3,
)


class Meeting:
    """Makes contexts that meet a document, or just fail to."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def context(self, document: Any) -> dict[str, Any]:
        context: dict[str, Any] = {"user": self.random.choice(UNITS)}
        for place, operand in self.clauses(document):
            *way, last = place.split(".")
            around = context
            for step in way:
                inner = around.get(step)
                around[step] = around = inner if isinstance(inner, dict) else {}
            if self.random.random() < 0.9:
                around[last] = self.near(operand)
        return context

    def clauses(self, document: Any) -> Iterator[tuple[str, Any]]:
        """Yield the attributes that a document names, with what stands for them."""
        for name, operand in document.items() if isinstance(document, dict) else ():
            if name.startswith("$"):
                for inner in operand if isinstance(operand, list) else [operand]:
                    yield from self.clauses(inner)
            else:
                yield name, operand

    def near(self, operand: Any) -> Any:
        """Return a value that meets a value or operators, or nearly."""
        names = [name for name in operand if name in OPERATORS] if isinstance(operand, dict) else ()
        if not names or self.random.random() < 0.1:
            return self.twisted(operand)
        name = self.random.choice(names)
        return self.near_operator(name, operand[name])

    def near_operator(self, name: str, operand: Any) -> Any:
        one_of = isinstance(operand, list) and operand
        if name in ("$in", "$nin", "$ini", "$nini") and one_of:
            found = self.twisted(self.random.choice(operand))
            return [self.noise(), found] if self.random.random() < 0.3 else found
        if name in ("$all", "$alli") and one_of:
            held = [self.twisted(item) if self.random.random() < 0.3 else item for item in operand]
            return [*reversed(held), self.noise()]
        if name == "$size":
            length = self.near(operand)
            usable = isinstance(length, int | float) and 0 <= length < 5
            return [self.noise()] * int(length if usable else self.random.randrange(4))
        if name == "$elemMatch":
            if isinstance(operand, dict) and not all(inner in OPERATORS for inner in operand):
                return [self.noise(), self.context(operand)]
            return [self.noise(), self.near(operand)]
        if name in ("$regex", "$regexi") and isinstance(operand, str):
            return self.text(operand)
        if name in ("$inGroup", "$notInGroup"):
            return self.random.choice(UNITS)
        return self.near(operand) if name == "$not" else self.twisted(operand)

    def text(self, pattern: str) -> str:
        """Return a text of the characters that a pattern names."""
        letters = [character for character in pattern if character not in "\\^$()[]{}|*+?,"]
        length = self.random.randrange(5)
        drawn = "".join(self.random.choice([*letters, "a", "\n"]) for _ in range(length))
        return self.random.choice([drawn, drawn, drawn.swapcase(), "".join(letters)])

    def noise(self) -> Any:
        return self.random.choice([None, None, 0, 1, True, "a", "", [], {}, [1], {"a": 1}])

    def twisted(self, value: Any) -> Any:
        """Return the value, or what is easily taken for it."""
        if self.random.random() < 0.4:
            return value
        return self.random.choice([*self.twists(value), [value], {"a": value}, self.noise()])

    def twists(self, value: Any) -> list[Any]:
        if isinstance(value, bool):
            return [int(value), not value, str(value).lower()]
        if isinstance(value, int | float):
            other = float(value) if isinstance(value, int) else int(value)
            return [other, other, str(value), value + 1, value - 1, -value, bool(value)]
        if isinstance(value, str):
            digits = [int(value)] if value.isascii() and value.isdigit() else []
            shorter = [value[:-1], value[1:], value.swapcase(), value.swapcase()]
            return [*shorter, value + "a", "v" + value, value + "+b", *digits]
        if isinstance(value, list) and value:
            first = [self.twisted(value[0]), *value[1:]]
            return [first, value[::-1], value[:-1], [*value, None], value[0]]
        if isinstance(value, dict) and value:
            name = next(iter(value))
            less = {other: item for other, item in value.items() if other != name}
            return [{**value, name: self.twisted(value[name])}, less, {**value, "b": 1}]
        return []
