"""What a value may be: types, schemas, limits; and how secrets are sealed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from apps.configs.models import UNIT_KEYWORD, ConfigKey, ValueType
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.sealing import CannotOpen, CannotSeal, seal, unseal
from layoverhq.strict_json import (
    MAXIMUM_DEPTH,
    MAXIMUM_NUMBER,
    NUMBER_TOO_LARGE,
    STRICT_JSON,
    strictly,
)

MAXIMUM_BYTES = 262_144
MAXIMUM_SCHEMA_BYTES = 16_384
MAXIMUM_SCHEMA_DEPTH = 8

PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    ValueType.STRING: (str,),
    ValueType.NUMBER: (int, float),
    ValueType.BOOLEAN: (bool,),
    ValueType.JSON: (dict,),
    ValueType.ARRAY: (list,),
}
TYPE_WORDS = {
    ValueType.STRING: "a text",
    ValueType.NUMBER: "a number",
    ValueType.BOOLEAN: "true or false",
    ValueType.JSON: "a JSON object",
    ValueType.ARRAY: "a JSON list",
}

# What a schema may say. References would reach out of it, and `format` asserts nothing.
SCHEMA_KEYWORDS = frozenset(
    {
        "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
        "multipleOf", "minLength", "maxLength", "pattern", "items", "prefixItems", "minItems",
        "maxItems", "uniqueItems", "properties", "patternProperties", "additionalProperties",
        "required", "minProperties", "maxProperties", "propertyNames", "anyOf", "allOf", "oneOf",
        "not", "title", "description", "examples", UNIT_KEYWORD,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value cannot be: a code and a sentence, which never repeats the value."""

    code: str
    detail: str


class Declaration:
    """What is declared of a key, as the hot path needs it."""

    __slots__ = ("default", "is_secret", "key", "schema", "tenant_visible", "value_type")

    def __init__(
        self,
        *,
        key: str,
        value_type: str,
        schema: Mapping[str, Any],
        default: Any,
        is_secret: bool,
        tenant_visible: bool,
    ) -> None:
        self.key = key
        self.value_type = value_type
        self.schema = schema
        self.default = default
        self.is_secret = is_secret
        self.tenant_visible = tenant_visible

    @classmethod
    def of(cls, key: ConfigKey) -> Declaration:
        """Return the declaration that a row holds."""
        return cls(
            key=key.key,
            value_type=key.value_type,
            schema=key.schema,
            default=key.default_value,
            is_secret=key.is_secret,
            tenant_visible=key.tenant_visible,
        )

    def unsealed(self) -> Declaration:
        """Return the same for the plain value of a secret."""
        return Declaration(
            key=self.key,
            value_type=self.value_type,
            schema=self.schema,
            default=self.default,
            is_secret=False,
            tenant_visible=self.tenant_visible,
        )

    def typed(self, value: Any) -> Any:
        """Return an integer where the schema asks for one: JSON's 30.0 is 30."""
        if isinstance(value, float) and self.schema.get("type") == "integer":
            return int(value)
        return value


def fault_of(declared: Declaration, value: Any) -> Fault | None:
    """Return why the plain value cannot be one of the key's, or None."""
    wanted = PYTHON_TYPES.get(declared.value_type)
    if wanted is None:
        return Fault("type", f"“{declared.value_type}” is no type that values have.")
    if value is None:
        return Fault("null", "Null is no value: clear the key instead.")
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        return Fault("type", f"Give {TYPE_WORDS[ValueType(declared.value_type)]}.")
    return _unstorable(value) or _breach(declared, value)


def _unstorable(value: Any) -> Fault | None:
    """Return why JSON in PostgreSQL, or a reader of it, could not hold the value."""
    spelt_out = 0
    try:
        for part in _parts(value, MAXIMUM_DEPTH):
            if isinstance(part, str):
                part.encode()
                if "\x00" in part:
                    return Fault("unicode", "NUL characters cannot be stored.")
            elif isinstance(part, float) and not math.isfinite(part):
                return Fault("number", "NaN and Infinity are no values.")
            elif isinstance(part, int | float) and abs(part) > MAXIMUM_NUMBER:
                return Fault("number", NUMBER_TOO_LARGE)
            elif isinstance(part, float):
                # PostgreSQL writes numbers without an exponent: 1e-300 has 302 characters.
                written = repr(part)
                spelt_out += len(f"{Decimal(written):f}") - len(written)
            elif part is not None and not isinstance(part, int):
                return Fault("type", "Holds what JSON does not know.")
    except UnicodeEncodeError:
        return Fault("unicode", "Half a surrogate pair is no character.")
    except RecursionError:
        return Fault("depth", f"At most {MAXIMUM_DEPTH} levels of nesting.")
    if spelt_out + len(json.dumps(value, ensure_ascii=False).encode()) > MAXIMUM_BYTES:
        return Fault("too_large", f"At most {MAXIMUM_BYTES:,} bytes of JSON.")
    return None


def _parts(value: Any, depth: int) -> Iterator[Any]:
    """Yield every scalar and every name inside a value; a name that is no text as itself."""
    if depth < 0:
        raise RecursionError
    if isinstance(value, dict):
        for name, item in value.items():
            yield name if isinstance(name, str) else (name,)
            yield from _parts(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item, depth - 1)
    else:
        yield value


def _breach(declared: Declaration, value: Any) -> Fault | None:
    if not declared.schema:
        return None
    validator = _validator(json.dumps(declared.schema, sort_keys=True))
    if isinstance(validator, Fault):
        return validator
    error = next(validator.iter_errors(value), None)
    return Fault("schema", _told(error)) if error else None


@lru_cache(maxsize=16_384)
def _validator(schema: str) -> Draft202012Validator | Fault:
    document = json.loads(schema)
    try:
        Draft202012Validator.check_schema(document)
    except SchemaError as error:
        return Fault("schema", f"The key's schema cannot be used: {error.message[:200]}")
    return _keyword_fault(document, MAXIMUM_SCHEMA_DEPTH) or Draft202012Validator(document)


def _told(error: ValidationError) -> str:
    """Return the breach in our words: the library's would repeat the value."""
    limit = error.validator_value
    # A name is a part of the value, unless it is the schema's.
    steps = pairwise(error.absolute_schema_path)
    known = {name for keyword, name in steps if keyword == "properties"}
    where = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if part in known else ".…"
        for part in error.path
    )
    told = _TOLD.get(str(error.validator), lambda _: f"Breaks the schema's “{error.validator}”.")
    return f"At {where.lstrip('.')}: {told(limit)}" if where else told(limit)


_TOLD: dict[str, Callable[[Any], str]] = {
    "minimum": lambda limit: f"At least {limit}.",
    "maximum": lambda limit: f"At most {limit}.",
    "exclusiveMinimum": lambda limit: f"More than {limit}.",
    "exclusiveMaximum": lambda limit: f"Less than {limit}.",
    "multipleOf": lambda limit: f"A multiple of {limit}.",
    "enum": lambda limit: f"One of {', '.join(map(str, limit))}.",
    "pattern": lambda limit: f"Must match {limit}.",
    "minLength": lambda limit: f"At least {limit} characters.",
    "maxLength": lambda limit: f"At most {limit} characters.",
    "minItems": lambda limit: f"At least {limit} items.",
    "maxItems": lambda limit: f"At most {limit} items.",
    "required": lambda limit: f"Needs {', '.join(limit)}.",
    "type": lambda limit: f"Must be of type {limit}.",
    "uniqueItems": lambda limit: "The items must differ.",
    "additionalProperties": lambda limit: "Has a name that the schema does not know.",
}


def schema_fault(schema: Any) -> Fault | None:
    """Return why a declaration cannot have this schema, or None."""
    if not isinstance(schema, dict):
        return Fault("schema", "A schema is a JSON object.")
    if fault := _unstorable(schema):
        return fault
    if len(json.dumps(schema)) > MAXIMUM_SCHEMA_BYTES:
        return Fault("too_large", f"At most {MAXIMUM_SCHEMA_BYTES:,} bytes.")
    found = _validator(json.dumps(schema, sort_keys=True))
    return found if isinstance(found, Fault) else None


def _keyword_fault(schema: Any, depth: int) -> Fault | None:
    """Return what is wrong with a schema that is one by JSON Schema's own account."""
    if depth < 0:
        return Fault("depth", "The schema is nested too deeply.")
    if isinstance(schema, bool):
        return None
    if unknown := sorted(schema.keys() - SCHEMA_KEYWORDS):
        return Fault("schema", f"“{unknown[0]}” is none of the keywords that a schema may use.")
    inner: list[Any] = []
    for name in ("items", "additionalProperties", "propertyNames", "not"):
        if name in schema:
            inner.append(schema[name])
    for name in ("anyOf", "allOf", "oneOf", "prefixItems"):
        inner += schema.get(name, [])
    for name in ("properties", "patternProperties"):
        inner += schema.get(name, {}).values()
    patterns = [schema["pattern"]] if "pattern" in schema else []
    for pattern in [*patterns, *schema.get("patternProperties", {})]:
        if fault := _pattern_fault(pattern):
            return fault
    return next((fault for item in inner if (fault := _keyword_fault(item, depth - 1))), None)


# What a pattern is made of: an escaped character and a character class are one.
PATTERN_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(|\)|[*+{|]|.", re.DOTALL)


def _pattern_fault(pattern: str) -> Fault | None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return Fault("schema", f"The pattern {pattern!r} is no regular expression: {error}.")
    if _matches_in_many_ways(pattern):
        detail = f"The pattern {pattern!r} repeats a group that holds a repetition or alternatives."
        return Fault("schema", detail)
    return None


def _matches_in_many_ways(pattern: str) -> bool:
    """Return whether a repeated group repeats inside, (a+)+, or has a choice, (a|a)+ or (a?)+.

    Matching such a pattern can take exponential time in the value's length.
    """
    # By open group, the whole first: whether it holds a repetition or a choice.
    manifold = [False]
    # Of the group that the part before closed.
    closed = False
    before = ""
    for part in PATTERN_PARTS.findall(pattern):
        if closed and part in ("*", "+", "{"):
            return True
        closed = False
        if part == "(":
            manifold.append(False)
        elif part == ")":
            closed = manifold.pop()
            manifold[-1] |= closed
        elif part in ("*", "+", "{", "|") or (part == "?" and before != "("):
            manifold[-1] = True
        before = part
    return False


def parse_json(text: str, field: str) -> Any:
    """Return JSON that people wrote; raises InvalidInput for what JSON does not know."""
    if len(text.encode("utf-8", "surrogatepass")) > 4 * MAXIMUM_BYTES:
        raise InvalidInput.of(field, f"At most {MAXIMUM_BYTES:,} bytes of JSON.", code="too_large")
    return strictly(lambda: STRICT_JSON.decode(text), field)


def check_value(declared: Declaration, value: Any, field: str) -> Any:
    """Return the value, typed by its declaration. Raises InvalidInput that names the field."""
    if fault := fault_of(declared.unsealed(), value):
        raise InvalidInput([FieldError(field, fault.code, fault.detail)])
    return declared.typed(value)


def _owner(key: str, tenant_id: UUID | None) -> str:
    return f"config\x00{key}\x00{tenant_id or ''}"


def sealed(declared: Declaration, value: Any, tenant_id: UUID | None, field: str) -> Any:
    """Return what is stored of a checked value: a secret's is sealed."""
    if not declared.is_secret:
        return value
    try:
        return seal(json.dumps(value).encode(), owner=_owner(declared.key, tenant_id))
    except CannotSeal as error:
        raise InvalidInput.of(field, str(error), code="cannot_seal") from error


def open_secret(declared: Declaration, stored: Any, tenant_id: UUID | None) -> Any:
    """Return the plain value of a stored secret. Raises CannotOpen."""
    if not isinstance(stored, str):
        raise CannotOpen("it is not sealed")
    value = json.loads(unseal(stored, owner=_owner(declared.key, tenant_id)))
    if fault := fault_of(declared.unsealed(), value):
        raise CannotOpen(f"what it holds is not what the key may be: {fault.detail}")
    return value


def reseal(key: str, stored: str, tenant_id: UUID | None) -> str:
    """Return the secret sealed with the first key of the ring. Raises CannotOpen."""
    owner = _owner(key, tenant_id)
    return seal(unseal(stored, owner=owner), owner=owner)
