"""Configuration as a YAML document: what is written, and a strict reader of it.

    format: layoverhq-config
    version: 1
    platform:
      flight.search_timeout: 20
    tenants:
      acme:
        layover.min_duration: 120
    unset:
      platform: [weather.cache_ttl]
      tenants:
        acme: [algorithm.weather_weight]

Only what stands in it changes: a value is set, a key below `unset` has none at that level any
more, and what is left out stays as it is. Values are JSON; a secret is `!sealed "sealed:…"`.
Plain scalars mean what they mean in JSON, so that yes, 010, 1_000 and 2026-12-01 are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from apps.configs.operations import UNSET
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.strict_json import MAXIMUM_DEPTH

FORMAT = "layoverhq-config"
VERSION = 1
MAXIMUM_DOCUMENT_BYTES = 1_048_576
FIELD = "document"

SEALED_TAG = "!sealed"
# The values stand up to three names deep.
NESTING = MAXIMUM_DEPTH + 4
# Beyond what any number may be, and before Python refuses to read it.
DIGITS = 400

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF|nan|NaN|NAN)")
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}

# libyaml's are ten times as fast; where PyYAML was built without, its own will do.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored: only the same key of the same tenant opens it."""

    text: str


@dataclass(frozen=True, slots=True)
class DocumentValue:
    """A value that a document gives to a key, for the platform (no tenant) or for a slug's tenant.

    The value is JSON, Sealed, or UNSET.
    """

    key: str
    tenant: str | None
    value: Any
    line: int = field(default=0, compare=False)

    @property
    def label(self) -> str:
        return f"{self.key} for {self.tenant}" if self.tenant is not None else self.key


def write_document(values: Iterable[DocumentValue]) -> str:
    """Return the document that holds these values; the same text for the same values."""
    platform: dict[str, Any] = {}
    tenants: dict[str, dict[str, Any]] = {}
    unset_platform: list[str] = []
    unset_tenants: dict[str, list[str]] = {}
    for each in sorted(values, key=lambda value: (value.tenant or "", value.key)):
        if each.value is UNSET:
            slug = each.tenant
            keys = unset_platform if slug is None else unset_tenants.setdefault(slug, [])
            keys.append(each.key)
        else:
            level = platform if each.tenant is None else tenants.setdefault(each.tenant, {})
            level[each.key] = _in_order(each.value)
    unset = _without_empty({"platform": unset_platform, "tenants": unset_tenants})
    return str(
        yaml.dump(
            {
                "format": FORMAT,
                "version": VERSION,
                **_without_empty({"platform": platform, "tenants": tenants, "unset": unset}),
            },
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=False,
            width=MAXIMUM_DOCUMENT_BYTES,
        )
    )


def _without_empty(sections: dict[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in sections.items() if section}


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_in_order(item) for item in value]
    return value


class _Dumper(Dumper):
    """Quotes every text that this reader or a usual one would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sealed(self, sealed: Sealed) -> yaml.ScalarNode:
        return self.represent_scalar(SEALED_TAG, sealed.text, style='"')  # type: ignore[no-any-return]


_Dumper.add_representer(Sealed, _Dumper.represent_sealed)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"(?:{NUMBER.pattern})$"), list("-0123456789")
)


def read_document(document: str | bytes) -> list[DocumentValue]:
    """Return the values that a document gives. Raises InvalidInput that names lines and keys."""
    text = _text(document)
    return _Interpreter().values(_parsed(text))


def _text(document: str | bytes) -> str:
    try:
        size = len(document.encode() if isinstance(document, str) else document)
        if size > MAXIMUM_DOCUMENT_BYTES:
            detail = f"At most {MAXIMUM_DOCUMENT_BYTES:,} bytes."
            raise InvalidInput.of(FIELD, detail, code="too_large")
        text = document if isinstance(document, str) else document.decode()
    except UnicodeError as error:
        raise InvalidInput.of(FIELD, "This is no UTF-8 text.", code="unicode") from error
    return text.removeprefix("\ufeff")


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a document: a scalar, names with nodes, or a list of nodes; and where it began."""

    line: int
    value: Any


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _refusal(line: int, detail: str, code: str = "yaml") -> InvalidInput:
    return InvalidInput.of(FIELD, f"Line {line}: {detail}", code=code)


def _parsed(text: str) -> _Node:
    try:
        events = _events(text)
        node = _node(next(events), events, NESTING)
        rest = next(events, None)
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        raise _refusal(mark.line + 1 if mark else 1, f"{error.problem}.") from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput.of(FIELD, f"This is no YAML: {reason}.", code="yaml") from error
    if rest is not None:
        raise _refusal(_line(rest), "a second document begins; give one.")
    return node


def _events(text: str) -> Iterator[Any]:
    """Yield what the parser meets, up to the end; refuse what makes YAML more than JSON."""
    frame = (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
    nothing = True
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.StreamEndEvent):
            break
        if isinstance(event, frame):
            continue
        nothing = False
        if getattr(event, "anchor", None) is not None:
            raise _refusal(_line(event), "anchors and aliases are not used here.")
        yield event
    if nothing:
        raise InvalidInput.of(FIELD, "The document is empty.", code="empty")


def _node(event: Any, events: Iterator[Any], depth: int) -> _Node:
    line = _line(event)
    if depth < 0:
        raise _refusal(line, f"values have at most {MAXIMUM_DEPTH} levels.", "depth")
    if isinstance(event, yaml.ScalarEvent):
        return _Node(line, _scalar(event, line))
    if event.tag is not None:
        raise _refusal(line, "tags are not used here, but for sealed secrets.")
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(inner := next(events), yaml.SequenceEndEvent):
            items.append(_node(inner, events, depth - 1))
        return _Node(line, items)
    named: dict[str, _Node] = {}
    while not isinstance(inner := next(events), yaml.MappingEndEvent):
        name = _name(inner)
        if name in named:
            raise _refusal(_line(inner), f"“{name}” stands twice.", "repeated")
        named[name] = _node(next(events), events, depth - 1)
    return _Node(line, named)


def _name(event: Any) -> str:
    line = _line(event)
    name = _scalar(event, line) if isinstance(event, yaml.ScalarEvent) else None
    if not isinstance(name, str):
        raise _refusal(line, "a name is a text: quote it if need be.", "name")
    return name


def _scalar(event: yaml.ScalarEvent, line: int) -> Any:
    text = str(event.value)
    if event.tag == SEALED_TAG:
        return Sealed(text)
    if event.tag is not None:
        raise _refusal(line, "tags are not used here, but for sealed secrets.")
    plain, _ = event.implicit
    if not plain:
        return text
    if NO_NUMBER.fullmatch(text):
        raise _refusal(
            line, "NaN and Infinity are no values; quote it if a text is meant.", "number"
        )
    if text in WORDS:
        return WORDS[text]
    if not NUMBER.fullmatch(text):
        return text
    if len(text) > DIGITS:
        raise _refusal(line, "no number has so many digits; quote it if a text is meant.", "number")
    number = int(text) if INTEGER.fullmatch(text) else float(text)
    if number in (float("inf"), float("-inf")):
        raise _refusal(line, "the number is too large.", "number")
    return number


class _Interpreter:
    """Finds the values in a document's nodes, and everything that is wrong with their places."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.found: dict[tuple[str | None, str], DocumentValue] = {}

    def values(self, document: _Node) -> list[DocumentValue]:
        sections = self._named(document, "the document")
        self._check_head(document, sections)
        self._check_names(sections, {"format", "version", "platform", "tenants", "unset"})
        self._levels(sections, self._set)
        if "unset" in sections:
            unset = self._named(sections["unset"], "unset")
            self._check_names(unset, {"platform", "tenants"})
            self._levels(unset, self._unset)
        if self.errors:
            raise InvalidInput(self.errors)
        return list(self.found.values())

    def _check_head(self, document: _Node, sections: dict[str, _Node]) -> None:
        for name, expected in (("format", FORMAT), ("version", VERSION)):
            node = sections.get(name)
            if node is None or type(node.value) is not type(expected) or node.value != expected:
                line = (node or document).line
                self._note(line, name, "format", f"has to be {expected}.")

    def _check_names(self, sections: dict[str, _Node], known: set[str]) -> None:
        for name, node in sections.items():
            if name not in known:
                detail = f"is none of {', '.join(sorted(known))}."
                self._note(node.line, name, "unknown", detail)

    def _levels(self, sections: dict[str, _Node], take: Any) -> None:
        if "platform" in sections:
            take(sections["platform"], None)
        if "tenants" in sections:
            for slug, node in self._named(sections["tenants"], "tenants").items():
                take(node, slug)

    def _set(self, node: _Node, slug: str | None) -> None:
        for key, inner in self._named(node, slug or "platform").items():
            try:
                self._add(DocumentValue(key, slug, _json(inner), inner.line))
            except InvalidInput as error:
                self.errors += error.errors

    def _unset(self, node: _Node, slug: str | None) -> None:
        keys = node.value if isinstance(node.value, list) else [node]
        for inner in keys:
            if isinstance(inner.value, str):
                self._add(DocumentValue(inner.value, slug, UNSET, inner.line))
            else:
                self._note(inner.line, slug or "platform", "list", "holds a list of keys.")

    def _add(self, value: DocumentValue) -> None:
        if (value.tenant, value.key) in self.found:
            self._note(value.line, value.label, "repeated", "stands twice.")
        self.found[value.tenant, value.key] = value

    def _named(self, node: _Node, label: str) -> dict[str, _Node]:
        if isinstance(node.value, dict):
            return node.value
        self._note(node.line, label, "mapping", "holds names with values.")
        return {}

    def _note(self, line: int, name: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(name, code, f"Line {line}: {detail}"))


def _json(node: _Node, *, inner: bool = False) -> Any:
    """Return a node's plain value. Raises InvalidInput for a secret inside another value."""
    if isinstance(node.value, dict):
        return {name: _json(item, inner=True) for name, item in node.value.items()}
    if isinstance(node.value, list):
        return [_json(item, inner=True) for item in node.value]
    if inner and isinstance(node.value, Sealed):
        raise _refusal(node.line, "a secret is sealed as a whole, not in parts.", "sealed")
    return node.value
