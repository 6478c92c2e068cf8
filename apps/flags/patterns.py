"""The regular expressions of conditions: which there may be, and whether a text contains a match.

The subset is one that PostgreSQL reads alike: its flag_pattern_usable() takes and refuses the same
patterns. Python's own `re` is not used to match: it tries ways one after the other, and `(a|a)*b`
or `.*.*.*x` would hold it up for as long as whoever sends the text likes. Here a character costs at
most a walk over the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

MAXIMUM_PATTERN = 200
MAXIMUM_COUNT = 255
MAXIMUM_GROUPS = 10
# A longer text contains no match of anything.
MAXIMUM_TEXT = 1_000
# Bounds what a pattern remembers of the texts that it met.
MAXIMUM_STEPS = 1_000

PUNCTUATION = r"!-/:-@\[-`{-~"
ESCAPE = rf"\\[{PUNCTUATION}]"
BEYOND = r"[^\x00-\x7f]"
RANGE = rf"[0-9]-[0-9]|[A-Z]-[A-Z]|[a-z]-[a-z]|{BEYOND}-{BEYOND}"
MEMBER = rf"(?:{RANGE}|{ESCAPE}|[^\\\[\]^-])"
CLASS = rf"\[\^?(?:-?{MEMBER}+-?|-)\]"
COUNT = r"\{[0-9]{1,3}(?:,(?:[0-9]{1,3})?)?\}"
SYMBOL = re.compile(rf"{ESCAPE}|{CLASS}|{COUNT}|[^\\\[\]{{}}]", re.DOTALL)
MEMBERS = re.compile(MEMBER, re.DOTALL)


class Unusable(Exception):
    """Why a pattern is none of the subset's."""


class Repeat(NamedTuple):
    """How often: `high` is None where there is no end."""

    low: int
    high: int | None


REPEATS = {"*": Repeat(0, None), "+": Repeat(1, None), "?": Repeat(0, 1)}

# A node of the program: its kind, what it takes, and the nodes that follow.
TAKE, FORK, BEGIN, END, MATCH = range(5)
Taken = Callable[[str], bool]
Node = tuple[int, Taken | None, tuple[int, ...]]


def pattern_fault(pattern: Any) -> str | None:
    """Return why it cannot be the operand of `$regex`, as a sentence, or None."""
    if not isinstance(pattern, str):
        return "A pattern is a text."
    if not 1 <= len(pattern) <= MAXIMUM_PATTERN:
        return f"A pattern has 1 to {MAXIMUM_PATTERN} characters."
    try:
        _Parser(pattern).parse()
    except Unusable as reason:
        return str(reason)
    return None


def compiled_pattern(pattern: str) -> Pattern:
    """Return the matcher of a pattern; raises Unusable."""
    return Pattern(_Parser(pattern).parse())


@dataclass(frozen=True, slots=True)
class _Part:
    """What was read of a pattern: how it is written into a program, and what may follow it."""

    # Takes the program and the node that follows, returns the node to begin with.
    write: Callable[[list[Node], int], int]
    # An anchor is never repeated, nor what holds one or repeats itself.
    repeatable: bool
    single: bool = False


class _Parser:
    """Reads a pattern by the grammar of the subset."""

    def __init__(self, pattern: str) -> None:
        self.symbols: list[str] = []
        self.position = 0
        self.counted = 0
        self.groups = 0
        at = 0
        while at < len(pattern):
            symbol = SYMBOL.match(pattern, at)
            if symbol is None:
                raise Unusable(_strange(pattern[at:]))
            self.symbols.append(symbol[0])
            at = symbol.end()

    def parse(self) -> list[Node]:
        """Return the program; its last node is the one to begin with. Raises Unusable."""
        whole = self._alternatives()
        if self.position < len(self.symbols):
            raise Unusable("A group is closed that was not opened.")
        program: list[Node] = [(MATCH, None, ())]
        first = whole.write(program, 0)
        program.append((FORK, None, (first,)))
        return program

    def _next(self) -> str:
        return self.symbols[self.position] if self.position < len(self.symbols) else ""

    def _alternatives(self) -> _Part:
        branches = [self._branch()]
        while self._next() == "|":
            self.position += 1
            branches.append(self._branch())
        if len(branches) == 1:
            return branches[0]

        def write(program: list[Node], after: int) -> int:
            firsts = tuple(branch.write(program, after) for branch in branches)
            program.append((FORK, None, firsts))
            return len(program) - 1

        return _Part(write, all(branch.repeatable for branch in branches))

    def _branch(self) -> _Part:
        parts = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated())
        if not parts:
            raise Unusable("An alternative or a group is empty.")

        def write(program: list[Node], after: int) -> int:
            for part in reversed(parts):
                after = part.write(program, after)
            return after

        return _Part(write, all(part.repeatable for part in parts))

    def _repeated(self) -> _Part:
        part = self._part()
        symbol = self._next()
        if symbol not in REPEATS and not symbol.startswith("{"):
            return part
        self.position += 1
        if not part.repeatable:
            raise Unusable("An anchor, or what itself repeats or holds an anchor, is repeated.")
        return _repetition(part, REPEATS.get(symbol) or self._count(symbol, part))

    def _count(self, symbol: str, part: _Part) -> Repeat:
        low, comma, high = symbol[1:-1].partition(",")
        repeat = Repeat(int(low), int(high or low) if high or not comma else None)
        self.counted += max(repeat.low, repeat.high or 0)
        if not part.single:
            raise Unusable("A count in braces follows a single character or class only.")
        if self.counted > MAXIMUM_COUNT or (repeat.high is not None and repeat.low > repeat.high):
            raise Unusable(f"Counts rise, and together come to at most {MAXIMUM_COUNT}.")
        return repeat

    def _group(self) -> _Part:
        self.groups += 1
        if self.groups > MAXIMUM_GROUPS:
            raise Unusable(f"A pattern has at most {MAXIMUM_GROUPS} groups.")
        inner = self._alternatives()
        if self._next() != ")":
            raise Unusable("A group is not closed.")
        self.position += 1
        return _Part(inner.write, inner.repeatable)

    def _part(self) -> _Part:
        symbol = self._next()
        self.position += 1
        if symbol == "(":
            return self._group()
        if symbol in ("^", "$"):
            return _Part(_writer(BEGIN if symbol == "^" else END, None), repeatable=False)
        if symbol in REPEATS or symbol[0] == "{":
            raise Unusable(f"Nothing that can be repeated stands before {symbol}.")
        return _Part(_writer(TAKE, _taken(symbol)), repeatable=True, single=True)


def _strange(rest: str) -> str:
    if rest[0] == "\\":
        return "A backslash stands before punctuation only; write [0-9] for \\d."
    if rest[0] == "[":
        return (
            "A class holds characters and ranges within digits, capitals, small letters or beyond"
            " ASCII; [ ] ^ \\ and a - in the middle are escaped."
        )
    return f"Write \\{rest[0]} for the character {rest[0]}."


def _writer(kind: int, taken: Taken | None) -> Callable[[list[Node], int], int]:
    def write(program: list[Node], after: int) -> int:
        program.append((kind, taken, (after,)))
        return len(program) - 1

    return write


def _repetition(part: _Part, repeat: Repeat) -> _Part:
    def write(program: list[Node], after: int) -> int:
        if repeat.high is None:
            program.append((FORK, None, ()))
            loop = len(program) - 1
            program[loop] = (FORK, None, (part.write(program, loop), after))
            first = loop
        else:
            first = after
            for _ in range(repeat.high - repeat.low):
                program.append((FORK, None, (part.write(program, first), after)))
                first = len(program) - 1
        for _ in range(repeat.low):
            first = part.write(program, first)
        return first

    return _Part(write, repeatable=False)


def _taken(symbol: str) -> Taken:
    """Return whether a symbol that stands for one character takes a given one."""
    if symbol == ".":
        return lambda character: True
    if symbol[0] != "[":
        return symbol[-1].__eq__
    negated = symbol[1] == "^"
    inside = symbol[1 + negated : -1]
    singles, ranges = set(), []
    for member in MEMBERS.findall(inside):
        if len(member) == 3:
            if member[0] > member[2]:
                raise Unusable(f"The range {member} runs backwards.")
            ranges.append((member[0], member[2]))
        else:
            singles.add(member[-1])
    if inside[0] == "-" or inside[-1] == "-":
        singles.add("-")

    def takes(character: str) -> bool:
        within = character in singles or any(low <= character <= high for low, high in ranges)
        return within is not negated

    return takes


class _State:
    """Where a match may stand after a text: `verdict` says whether more text can change it."""

    __slots__ = ("at_end", "nodes", "steps", "verdict")

    def __init__(self, nodes: frozenset[int], *, verdict: bool | None, at_end: bool) -> None:
        self.nodes = nodes
        self.verdict = verdict
        self.at_end = at_end
        self.steps: dict[str, _State] = {}


class Pattern:
    """A pattern as a machine whose states are made when a text first leads to them."""

    def __init__(self, program: list[Node]) -> None:
        self._program = program
        self._forget()

    def _forget(self) -> None:
        self._states: dict[frozenset[int], _State] = {}
        self._steps = 0
        self._first = self._state([len(self._program) - 1], at_begin=True)

    def search(self, text: str) -> bool:
        """Return whether the text contains a match."""
        state = self._first
        for character in text:
            if state.verdict is not None:
                return state.verdict
            state = state.steps.get(character) or self._step(state, character)
        return state.at_end

    def _step(self, state: _State, character: str) -> _State:
        if self._steps >= MAXIMUM_STEPS:
            self._forget()
        self._steps += 1
        after = [len(self._program) - 1]
        for number in state.nodes:
            _, taken, following = self._program[number]
            if taken is not None and taken(character):
                after += following
        state.steps[character] = reached = self._state(after, at_begin=False)
        return reached

    def _state(self, nodes: Iterable[int], *, at_begin: bool) -> _State:
        kept = self._closure(nodes, at_begin=at_begin, at_end=False)
        if not at_begin and kept in self._states:
            return self._states[kept]
        matched = 0 in kept
        state = _State(
            kept,
            verdict=True if matched else None if kept else False,
            at_end=matched or 0 in self._closure(kept, at_begin=at_begin, at_end=True),
        )
        if not at_begin:
            self._states[kept] = state
        return state

    def _closure(self, nodes: Iterable[int], *, at_begin: bool, at_end: bool) -> frozenset[int]:
        """Return the nodes that take a character, end the text or match, reached without any."""
        kept: set[int] = set()
        met: set[int] = set()
        pending = list(nodes)
        while pending:
            number = pending.pop()
            if number in met:
                continue
            met.add(number)
            kind, _, following = self._program[number]
            if kind == FORK or (kind == BEGIN and at_begin) or (kind == END and at_end):
                pending += following
            elif kind != BEGIN:
                kept.add(number)
        return frozenset(kept)
