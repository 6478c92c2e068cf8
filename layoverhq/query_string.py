"""Query strings as WSGI hands them over: every fault is named by its parameter."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

from layoverhq.errors import FieldError

MAXIMUM_FIELDS = 100
LONGEST_VALUE = 200


def parse_query(
    query_string: str,
    known: Collection[str],
    errors: list[FieldError],
    *,
    longest: int = LONGEST_VALUE,
) -> dict[str, str]:
    """Return each known parameter's one value; note all that is wrong with the form of it.

    `query_string` has its bytes as Latin-1.
    """
    try:
        pairs = parse_qsl(
            query_string,
            keep_blank_values=True,
            encoding="latin-1",
            max_num_fields=MAXIMUM_FIELDS,
        )
    except ValueError:
        errors.append(FieldError("query", "too_many", f"At most {MAXIMUM_FIELDS} parameters."))
        return {}
    values: dict[str, str] = {}
    refused: set[str] = set()

    def refuse(name: str, code: str, detail: str) -> None:
        if name not in refused:
            refused.add(name)
            errors.append(FieldError(name, code, detail))

    for raw_name, raw_value in pairs:
        name = printable(raw_name.encode("latin-1", "replace").decode("utf-8", "replace"))
        if name not in known:
            refuse(name, "unknown", "There is no such parameter.")
            continue
        if name in values:
            refuse(name, "repeated", "Give this parameter once.")
            continue
        values[name] = ""
        try:
            value = raw_value.encode("latin-1").decode("utf-8")
        except UnicodeError:
            refuse(name, "not_utf8", "The value is not UTF-8.")
            continue
        if "\0" in value:
            refuse(name, "nul", "The value contains a NUL byte.")
        elif len(value) > longest:
            refuse(name, "too_long", f"At most {longest} characters.")
        else:
            values[name] = value
    return {name: value for name, value in values.items() if name not in refused}


def printable(name: str) -> str:
    """Return a name so that it can be named in the answer, whatever was sent."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)[:64]
