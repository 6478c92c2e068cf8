"""Conditions of flags: documents compiled to closures.

A closure answers what SQL's flag_condition_matches() does; docs/flags.md says what that is. Nothing
here or there raises, whatever the document and the context: what is refused on save is false where
it stands, and an unknown operator makes the whole document false.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

from apps.flags.comparing import (
    EXACT,
    Elements,
    exact,
    folded,
    is_number,
    same,
    version_key,
)
from apps.flags.patterns import MAXIMUM_TEXT, compiled_pattern, pattern_fault

# Of documents and of operators below `$not`, `$size` and `$elemMatch`, one in another.
MAXIMUM_DEPTH = 10
# Of segments whose conditions name segments.
MAXIMUM_NESTING = 5

LOGIC = frozenset({"$and", "$or", "$nor", "$not"})
COMPARISONS = {
    "$lt": operator.lt,
    "$lte": operator.le,
    "$gt": operator.gt,
    "$gte": operator.ge,
}
VERSIONS = {
    "$veq": operator.eq,
    "$vne": operator.ne,
    "$vlt": operator.lt,
    "$vlte": operator.le,
    "$vgt": operator.gt,
    "$vgte": operator.ge,
}
TYPES = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}

Matcher = Callable[[Mapping[str, Any]], bool]
# Of a value, or of the object whose attributes a document names; and of the whole context.
Test = Callable[[Any, Any], bool]


def compile_condition(document: Any, groups: Mapping[str, Group]) -> Matcher:
    """Return whether a context meets the document; what segments hold is taken from `groups` now.

    Contexts are dicts of JSON's own types.
    """
    if any(name.startswith("$") and name not in KNOWN for name, _ in _pairs(document)):
        return lambda context: False
    test = _Compiler(groups).document(document, 1)
    return lambda context: test(context, context)


class Group:
    """A segment: its members, what else belongs to it, and the segments that this asks for."""

    __slots__ = ("asks", "conditions", "members")

    def __init__(
        self, members: Elements, conditions: Matcher | None = None, asks: Set[str] = frozenset()
    ) -> None:
        self.members = members
        self.conditions = conditions
        self.asks = asks

    def holds(self, value: Any, context: Mapping[str, Any]) -> bool:
        """Return whether a member has this value, or the context meets the conditions."""
        kind = type(value)
        if (kind is str or kind is int or kind is float) and self.members.hold(value):
            return True
        return self.conditions is not None and self.conditions(context)


def compile_groups(segments: Mapping[str, tuple[Any, Any]]) -> dict[str, Group]:
    """Return the groups of segments, given as members and conditions, null where there are none.

    What lies beyond five segments, each named by the one before, holds nobody: a circle ends there.
    """
    uses = {name: groups_in(document) & segments.keys() for name, (_, document) in segments.items()}
    elements = {
        name: Elements(members if isinstance(members, list) else ())
        for name, (members, _) in segments.items()
    }

    def compiled(name: str, known: Mapping[str, Group]) -> Group:
        _, document = segments[name]
        conditions = None if document is None else compile_condition(document, known)
        return Group(elements[name], conditions, uses[name])

    before: dict[str, Group] = {}
    groups = {name: compiled(name, {}) for name in segments}
    for _ in range(MAXIMUM_NESTING - 1):
        stale = [
            name
            for name, used in uses.items()
            if any(before.get(each) is not groups[each] for each in used)
        ]
        before, groups = groups, {**groups, **{name: compiled(name, groups) for name in stale}}
    return groups


def groups_in(document: Any) -> set[str]:
    """Return the names of the segments that a document asks for."""
    return set(groups_asked(document))


def groups_asked(document: Any) -> list[str]:
    """Return the names of the segments that a document asks for, each as often as it does."""
    return [
        operand
        for name, operand in _pairs(document)
        if name in ("$inGroup", "$notInGroup") and isinstance(operand, str)
    ]


def _pairs(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield every name of every object inside, with what it names."""
    pending = [document]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            yield from part.items()
            pending += part.values()
        elif isinstance(part, list):
            pending += part


def are_operators(operand: Any) -> bool:
    """Return whether what stands for an attribute is operators, not a value."""
    return isinstance(operand, dict) and bool(operand) and operand.keys() <= OPERATORS.keys()


def is_value(operand: Any) -> bool:
    """Return whether what stands for an attribute is a value to be equal to."""
    if isinstance(operand, dict):
        return bool(operand) and not any(name.startswith("$") for name in operand)
    return True


def _never(value: Any, context: Any) -> bool:
    return False


def _always(value: Any, context: Any) -> bool:
    return True


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda value, context: first(value, context) and second(value, context)
    if len(tests) == 3:
        one, two, three = tests
        return lambda value, context: (
            one(value, context) and two(value, context) and three(value, context)
        )

    def every(value: Any, context: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a generator would double what it costs
            if not test(value, context):
                return False
        return True

    return every


def _any(tests: list[Test]) -> Test:
    def some(value: Any, context: Any) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if test(value, context):
                return True
        return False

    return some


def _not(test: Test) -> Test:
    return lambda value, context: not test(value, context)


class _Compiler:
    """Makes tests of documents; `depth` counts the documents and operators around one."""

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self.groups = groups

    def document(self, document: Any, depth: int) -> Test:
        if not isinstance(document, dict) or depth > MAXIMUM_DEPTH:
            return _never
        return _all(
            [
                self.logic(name, operand, depth)
                if name.startswith("$")
                else self.clause(name, operand, depth)
                for name, operand in document.items()
            ]
        )

    def logic(self, name: str, operand: Any, depth: int) -> Test:
        if name == "$not":
            negated = isinstance(operand, dict)
            return _not(self.document(operand, depth + 1)) if negated else _never
        if name not in LOGIC or not isinstance(operand, list):
            return _never
        tests = [self.document(document, depth + 1) for document in operand]
        if name == "$and":
            return _all(tests)
        either = _any(tests) if tests else _always
        return _not(either) if name == "$nor" else either

    def clause(self, name: str, operand: Any, depth: int) -> Test:
        if "." not in name:
            return _of_attribute(name, operand) or _read(name, self.attribute(operand, depth))
        test = self.attribute(operand, depth)
        *way, last = name.split(".")

        def at(subject: Any, context: Any) -> bool:
            for step in way:
                subject = subject.get(step)
                if type(subject) is not dict:
                    return test(None, context)
            return test(subject.get(last), context)

        return at

    def attribute(self, operand: Any, depth: int) -> Test:
        if is_value(operand):
            return _equal(operand)
        return self.operators(operand, depth)

    def operators(self, operators: Any, depth: int) -> Test:
        if not are_operators(operators) or depth > MAXIMUM_DEPTH:
            return _never
        return _all([OPERATORS[name](self, operand, depth) for name, operand in operators.items()])

    def negation(self, operand: Any, depth: int) -> Test:
        return _not(self.operators(operand, depth + 1)) if are_operators(operand) else _never

    def size(self, operand: Any, depth: int) -> Test:
        test = _equal(operand) if is_number(operand) else self.operators(operand, depth + 1)
        return lambda value, context: type(value) is list and test(len(value), context)

    def element(self, operand: Any, depth: int) -> Test:
        if are_operators(operand):
            test, kinds = self.operators(operand, depth + 1), None
        elif operand:
            test, kinds = self.document(operand, depth + 1), dict
        else:
            return _never

        def some(value: Any, context: Any) -> bool:
            return type(value) is list and any(
                test(element, context)
                for element in value
                if element is not None and (kinds is None or type(element) is kinds)
            )

        return some

    def group(self, name: Any, *, inside: bool) -> Test:
        if not isinstance(name, str):
            return _never
        group = self.groups.get(name)
        if group is None:
            return _never if inside else _always
        holds = group.holds
        return holds if inside else lambda value, context: not holds(value, context)


def _read(name: str, test: Test) -> Test:
    return lambda subject, context: test(subject.get(name), context)


def _of_attribute(name: str, operand: Any) -> Test | None:
    """Return the whole test of an attribute at the top for what most conditions are."""
    if isinstance(operand, str):
        return lambda subject, context: subject.get(name) == operand
    if isinstance(operand, dict) and operand.keys() == {"$in"} and isinstance(operand["$in"], list):
        elements = Elements(operand["$in"])
        if not elements.others:
            scalars, hold = elements.scalars, elements.hold

            def within(subject: Any, context: Any) -> bool:
                value = subject.get(name)
                kind = type(value)
                if kind is str or kind is int or kind is float:
                    return value in scalars
                return kind is list and any(map(hold, value))

            return within
    return None


def _equal(operand: Any) -> Test:
    if operand is None:
        return lambda value, context: value is None
    if isinstance(operand, bool):
        return lambda value, context: value is operand
    if isinstance(operand, str):
        return lambda value, context: value == operand
    if is_number(operand) and abs(operand) <= EXACT:
        return lambda value, context: (
            (type(value) is int or type(value) is float) and value == operand
        )
    return lambda value, context: same(value, operand)


def _compared(compare: Callable[[Any, Any], bool], operand: Any) -> Test:
    if isinstance(operand, str):
        return lambda value, context: type(value) is str and compare(value, operand)
    if not is_number(operand):
        return _never
    if abs(operand) > EXACT:
        written = exact(operand)
        return lambda value, context: is_number(value) and compare(exact(value), written)
    return lambda value, context: (
        (type(value) is int or type(value) is float) and compare(value, operand)
    )


def _within(operand: Any, *, inside: bool, fold: bool = False) -> Test:
    if not isinstance(operand, list):
        return _never
    hold = Elements(map(folded, operand) if fold else operand).hold

    def test(value: Any, context: Any) -> bool:
        if value is None:
            return not inside
        if type(value) is list:
            return any(map(hold, map(folded, value) if fold else value)) is inside
        return hold(folded(value) if fold else value) is inside

    return test


def _holding_all(operand: Any, *, fold: bool = False) -> Test:
    if not isinstance(operand, list):
        return _never
    wanted = list(map(folded, operand)) if fold else operand

    def test(value: Any, context: Any) -> bool:
        return type(value) is list and all(
            map(Elements(map(folded, value) if fold else value).hold, wanted)
        )

    return test


def _existing(operand: Any) -> Test:
    if not isinstance(operand, bool):
        return _never
    return lambda value, context: (value is not None) is operand


def _of_type(operand: Any) -> Test:
    kinds = TYPES.get(operand) if isinstance(operand, str) else None
    if kinds is None:
        return _never
    return lambda value, context: type(value) in kinds


def _containing(operand: Any, *, fold: bool = False) -> Test:
    if pattern_fault(operand):
        return _never
    search = compiled_pattern(folded(operand) if fold else operand).search

    def test(value: Any, context: Any) -> bool:
        return (
            type(value) is str
            and len(value) <= MAXIMUM_TEXT
            and search(folded(value) if fold else value)
        )

    return test


def _versioned(compare: Callable[[Any, Any], bool], operand: Any) -> Test:
    wanted = version_key(operand)
    otherwise = compare is operator.ne
    if wanted is None:
        return _always if otherwise else _never

    def test(value: Any, context: Any) -> bool:
        key = version_key(value)
        return otherwise if key is None else compare(key, wanted)

    return test


Factory = Callable[[_Compiler, Any, int], Test]


def _plain(make: Callable[..., Test], *before: Any, **options: Any) -> Factory:
    """Return the factory of an operator that needs its operand only."""
    return lambda compiler, operand, depth: make(*before, operand, **options)


OPERATORS: dict[str, Factory] = {
    "$eq": _plain(_equal),
    "$ne": lambda compiler, operand, depth: _not(_equal(operand)),
    **{name: _plain(_compared, compare) for name, compare in COMPARISONS.items()},
    "$in": _plain(_within, inside=True),
    "$nin": _plain(_within, inside=False),
    "$ini": _plain(_within, inside=True, fold=True),
    "$nini": _plain(_within, inside=False, fold=True),
    "$all": _plain(_holding_all),
    "$alli": _plain(_holding_all, fold=True),
    "$size": _Compiler.size,
    "$elemMatch": _Compiler.element,
    "$exists": _plain(_existing),
    "$type": _plain(_of_type),
    "$regex": _plain(_containing),
    "$regexi": _plain(_containing, fold=True),
    "$inGroup": lambda compiler, operand, depth: compiler.group(operand, inside=True),
    "$notInGroup": lambda compiler, operand, depth: compiler.group(operand, inside=False),
    **{name: _plain(_versioned, compare) for name, compare in VERSIONS.items()},
    "$not": _Compiler.negation,
}
KNOWN = OPERATORS.keys() | LOGIC
