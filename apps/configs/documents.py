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

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from apps.configs.operations import UNSET
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.strict_json import MAXIMUM_DEPTH
from layoverhq.strict_yaml import (
    Node,
    StrictDumper,
    in_order,
    parse_yaml,
    refusal,
    write_yaml,
)

FORMAT = "layoverhq-config"
VERSION = 1
MAXIMUM_DOCUMENT_BYTES = 1_048_576

SEALED_TAG = "!sealed"
# The values stand up to three names deep.
NESTING = MAXIMUM_DEPTH + 4


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
            level[each.key] = in_order(each.value)
    unset = _without_empty({"platform": unset_platform, "tenants": unset_tenants})
    return write_yaml(
        {
            "format": FORMAT,
            "version": VERSION,
            **_without_empty({"platform": platform, "tenants": tenants, "unset": unset}),
        },
        _Dumper,
    )


def _without_empty(sections: dict[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in sections.items() if section}


class _Dumper(StrictDumper):
    def represent_sealed(self, sealed: Sealed) -> yaml.ScalarNode:
        return self.represent_scalar(SEALED_TAG, sealed.text, style='"')  # type: ignore[no-any-return]


_Dumper.add_representer(Sealed, _Dumper.represent_sealed)


def read_document(document: str | bytes) -> list[DocumentValue]:
    """Return the values that a document gives. Raises InvalidInput that names lines and keys."""
    node = parse_yaml(
        document,
        maximum_bytes=MAXIMUM_DOCUMENT_BYTES,
        levels=NESTING,
        tags={SEALED_TAG: Sealed},
    )
    return _Interpreter().values(node)


class _Interpreter:
    """Finds the values in a document's nodes, and everything that is wrong with their places."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.found: dict[tuple[str | None, str], DocumentValue] = {}

    def values(self, document: Node) -> list[DocumentValue]:
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

    def _check_head(self, document: Node, sections: dict[str, Node]) -> None:
        for name, expected in (("format", FORMAT), ("version", VERSION)):
            node = sections.get(name)
            if node is None or type(node.value) is not type(expected) or node.value != expected:
                line = (node or document).line
                self._note(line, name, "format", f"has to be {expected}.")

    def _check_names(self, sections: dict[str, Node], known: set[str]) -> None:
        for name, node in sections.items():
            if name not in known:
                detail = f"is none of {', '.join(sorted(known))}."
                self._note(node.line, name, "unknown", detail)

    def _levels(self, sections: dict[str, Node], take: Any) -> None:
        if "platform" in sections:
            take(sections["platform"], None)
        if "tenants" in sections:
            for slug, node in self._named(sections["tenants"], "tenants").items():
                take(node, slug)

    def _set(self, node: Node, slug: str | None) -> None:
        for key, inner in self._named(node, slug or "platform").items():
            try:
                self._add(DocumentValue(key, slug, _json(inner), inner.line))
            except InvalidInput as error:
                self.errors += error.errors

    def _unset(self, node: Node, slug: str | None) -> None:
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

    def _named(self, node: Node, label: str) -> dict[str, Node]:
        if isinstance(node.value, dict):
            return node.value
        self._note(node.line, label, "mapping", "holds names with values.")
        return {}

    def _note(self, line: int, name: str, code: str, detail: str) -> None:
        self.errors.append(FieldError(name, code, f"Line {line}: {detail}"))


def _json(node: Node, *, inner: bool = False) -> Any:
    """Return a node's plain value. Raises InvalidInput for a secret inside another value."""
    if isinstance(node.value, dict):
        return {name: _json(item, inner=True) for name, item in node.value.items()}
    if isinstance(node.value, list):
        return [_json(item, inner=True) for item in node.value]
    if inner and isinstance(node.value, Sealed):
        raise refusal(node.line, "a secret is sealed as a whole, not in parts.", "sealed")
    return node.value
