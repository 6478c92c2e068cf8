"""The plans inside the search's functions, which PL/pgSQL hides from EXPLAIN.

What is explained is the text of the function that is installed: its queries are taken out one by
one, its parameters and variables become those of a prepared statement with a forced generic plan,
which is how the function keeps them, and EXPLAIN ANALYZE executes that. Understood are functions
of `if`, `elsif`, `else`, `select … into` and `return query`; conditions are put to PostgreSQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from layoverhq.tenancy import Fetch

FUNCTION: Final = """
    select
        p.prosrc, coalesce(p.proconfig, '{}'), p.proargnames[:p.pronargs],
        array(select format_type(t, null) from unnest(p.proargtypes) as t)
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = %(name)s
"""
STATEMENT: Final = "explained_search"

# What looks like a name inside of these is none.
_QUIET: Final = r"'(?:[^']|'')*'|--[^\n]*"
_SPLIT: Final = re.compile(rf"{_QUIET}|[();]", re.S)
_BRANCH: Final = re.compile(r"\s*(?:(if|elsif)\b(.*?)\bthen\b|(else|begin)\b)", re.S)
_INTO: Final = re.compile(r"\binto\s+(\w+(?:\s*,\s*\w+)*)")
_DECLARED: Final = re.compile(r"^\s*(\w+)\s+(?:constant\s+)?([\w.]+(?:\[\])?)\s*(?::=.*)?$", re.S)


@dataclass(frozen=True, slots=True)
class Explained:
    """One query of a function, and what EXPLAIN says of it."""

    statement: str
    text: str


@dataclass(frozen=True, slots=True)
class _Query:
    """A query of a function, where it stands, and the variables that take its row."""

    text: str
    conditions: tuple[str, ...]
    into: tuple[str, ...]


def explained(fetch: Fetch, function: str, arguments: Mapping[str, Any]) -> list[Explained]:
    """Return the plans of the queries that the function runs for these arguments, in order.

    `fetch` is of a snapshot_scope: plans are the tenant's own, policies and all. A composite
    argument is a mapping of its attributes. Raises LookupError where there is no such function.
    """
    rows = fetch(FUNCTION, {"name": function})
    if not rows:
        raise LookupError(f"there is no function {function}")
    source, settings, names, types = rows[0]
    for setting in settings:
        name, _, value = setting.partition("=")
        fetch("select set_config(%(name)s, %(value)s, true)", {"name": name, "value": value})
    known = dict(zip(names, types, strict=True))
    # A variable is null until a query puts something into it.
    variables = _declared(source)
    known |= variables
    values: dict[str, Any] = dict.fromkeys(variables) | {name: arguments[name] for name in names}
    plans = []
    for query in _queries(source):
        if all(_holds(fetch, condition, known, values) for condition in query.conditions):
            plans.append(_explained(fetch, query, known, values))
            if query.into:
                values |= _row(fetch, query, known, values)
    return plans


def _explained(
    fetch: Fetch, query: _Query, known: Mapping[str, str], values: Mapping[str, Any]
) -> Explained:
    used = [name for name in values if _mentions(query.text, name)]
    text = query.text
    for number, name in enumerate(used, 1):
        text = _replaced(text, name, f"(${number})")
    types = ", ".join(known[name] for name in used)
    fetch("savepoint explaining", {})
    try:
        fetch(f"prepare {STATEMENT} ({types}) as {_literally(text)}", {})
        given, parameters = _literals(used, known, values)
        lines = fetch(
            f"explain (analyze, buffers, settings) execute {STATEMENT} ({', '.join(given)})",
            parameters,
        )
    except BaseException:
        # Prepared statements outlive a transaction, even one that failed.
        fetch("rollback to savepoint explaining", {})
        if _is_prepared(fetch):
            fetch(f"deallocate {STATEMENT}", {})
        raise
    fetch(f"deallocate {STATEMENT}", {})
    return Explained(query.text, "\n".join(line for (line,) in lines))


def _is_prepared(fetch: Fetch) -> bool:
    rows = fetch("select 1 from pg_prepared_statements where name = %(name)s", {"name": STATEMENT})
    return bool(rows)


def _row(
    fetch: Fetch, query: _Query, known: Mapping[str, str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the query puts into the function's variables."""
    text, parameters = _inlined(query.text, known, values)
    rows = fetch(text, parameters)
    return dict(zip(query.into, rows[0] if rows else [None] * len(query.into), strict=True))


def _holds(
    fetch: Fetch, condition: str, known: Mapping[str, str], values: Mapping[str, Any]
) -> bool:
    text, parameters = _inlined(f"select {condition}", known, values)
    return bool(fetch(text, parameters)[0][0])


def _inlined(
    text: str, known: Mapping[str, str], values: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the text with values for names, and its parameters."""
    text = _literally(text)
    used = [name for name in values if _mentions(text, name)]
    given, parameters = _literals(used, known, values)
    for name, literal in zip(used, given, strict=True):
        text = _replaced(text, name, f"({literal})")
    return text, parameters


def _literals(
    names: list[str], known: Mapping[str, str], values: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    literals, parameters = [], {}
    for number, name in enumerate(names):
        value = values[name]
        if isinstance(value, Mapping):
            literals.append(f"jsonb_populate_record(null::{known[name]}, %(v{number})s::jsonb)")
            parameters[f"v{number}"] = json.dumps(value)
        else:
            literals.append(f"%(v{number})s::{known[name]}")
            parameters[f"v{number}"] = value
    return literals, parameters


def _queries(source: str) -> Iterator[_Query]:
    """Yield the queries of a function's body with the conditions under which each runs."""
    body = source[re.search(r"\bbegin\b", source).start() :]  # type: ignore[union-attr]
    branches: list[list[str]] = []
    for statement in _statements(body):
        rest = statement
        while branch := _BRANCH.match(rest):
            word, condition, other = branch.groups()
            rest = rest[branch.end() :]
            if word == "if":
                branches.append([condition.strip()])
            elif word == "elsif":
                branches[-1].append(condition.strip())
            elif other == "else":
                branches[-1].append("true")
        rest = rest.strip()
        if re.match(r"end\s+if\b", rest):
            branches.pop()
            continue
        rest = re.sub(r"^return\s+query\s+", "", rest)
        if not re.match(r"(select|with|\()\b", rest):
            continue
        text, into = _without_into(rest)
        yield _Query(text, tuple(_conditions(branches)), into)


def _conditions(branches: list[list[str]]) -> Iterator[str]:
    for conditions in branches:
        *others, own = conditions
        yield from (f"({other}) is not true" for other in others)
        yield f"({own})"


def _statements(body: str) -> Iterator[str]:
    depth = start = 0
    for found in _SPLIT.finditer(body):
        character = found[0]
        if character in "()":
            depth += 1 if character == "(" else -1
        elif character == ";" and depth == 0:
            yield _uncommented(body[start : found.start()])
            start = found.end()


def _uncommented(text: str) -> str:
    return re.sub(
        _QUIET, lambda found: "" if found[0].startswith("--") else found[0], text, flags=re.S
    )


def _without_into(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the query without its INTO, and the variables."""
    for found in _INTO.finditer(text):
        before = re.sub(_QUIET, "", text[: found.start()], flags=re.S)
        if before.count("(") == before.count(")"):
            names = tuple(name.strip() for name in found[1].split(","))
            return text[: found.start()] + text[found.end() :], names
    return text, ()


def _declared(source: str) -> dict[str, str]:
    """Return the types of a function's variables."""
    found = re.search(r"\bdeclare\b(.*?)\bbegin\b", source, re.S)
    if not found:
        return {}
    declared = (_DECLARED.match(_uncommented(each)) for each in found[1].split(";"))
    return {each[1]: each[2] for each in declared if each}


def _mentions(text: str, name: str) -> bool:
    return _replaced(text, name, "") != text


def _replaced(text: str, name: str, value: str) -> str:
    """Replace a name wherever it is none of a column's."""
    return re.sub(
        rf"{_QUIET}|%\(\w+\)s|(?<![.\w]){name}\b",
        lambda found: value if found[0] == name else found[0],
        text,
        flags=re.S,
    )


def _literally(text: str) -> str:
    """Escape what the driver would take for a parameter."""
    return text.replace("%", "%%")
