"""YAML that means what JSON means, read strictly and written so that it is read the same.

Plain scalars are what they are in JSON, so that yes, 010, 1_000 and 2026-12-01 are texts; there
are no anchors, and no tags but those that the caller knows. Names are texts, and stand once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from layoverhq.errors import InvalidInput

FIELD = "document"

# Beyond what any number may be, and before Python refuses to read it.
DIGITS = 400

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF|nan|NaN|NAN)")
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}

# libyaml's are ten times as fast; where PyYAML was built without, its own will do.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

Tags = Mapping[str, Callable[[str], Any]]
"""What the scalars of a tag are made into."""


class StrictDumper(Dumper):  # type: ignore[misc]
    """Quotes every text that this reader or a usual one would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


StrictDumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"(?:{NUMBER.pattern})$"), list("-0123456789")
)


def write_yaml(document: Mapping[str, Any], dumper: type[StrictDumper] = StrictDumper) -> str:
    """Return a document, its names in the order given."""
    return str(
        yaml.dump(
            document,
            Dumper=dumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=False,
            width=1_000_000,
        )
    )


def in_order(value: Any) -> Any:
    """Return a value with its names in order, so that the same is written the same."""
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [in_order(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a document: a scalar, names with nodes, or a list of nodes; and where it began."""

    line: int
    value: Any

    def plain(self) -> Any:
        """Return the value without its lines."""
        if isinstance(self.value, dict):
            return {name: item.plain() for name, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


def parse_yaml(
    document: str | bytes, *, maximum_bytes: int, levels: int, tags: Tags | None = None
) -> Node:
    """Return what a document holds. Raises InvalidInput that names the line."""
    return _Reader(levels, tags or {}).read(_text(document, maximum_bytes))


def refusal(line: int, detail: str, code: str = "yaml") -> InvalidInput:
    """Return the refusal of a line."""
    return InvalidInput.of(FIELD, f"Line {line}: {detail}", code=code)


def _text(document: str | bytes, maximum_bytes: int) -> str:
    try:
        size = len(document.encode() if isinstance(document, str) else document)
        if size > maximum_bytes:
            raise InvalidInput.of(FIELD, f"At most {maximum_bytes:,} bytes.", code="too_large")
        text = document if isinstance(document, str) else document.decode()
    except UnicodeError as error:
        raise InvalidInput.of(FIELD, "This is no UTF-8 text.", code="unicode") from error
    return text.removeprefix("\ufeff")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


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
            raise refusal(_line(event), "anchors and aliases are not used here.")
        yield event
    if nothing:
        raise InvalidInput.of(FIELD, "The document is empty.", code="empty")


@dataclass(frozen=True, slots=True)
class _Reader:
    levels: int
    tags: Tags

    def read(self, text: str) -> Node:
        try:
            events = _events(text)
            node = self.node(next(events), events, self.levels)
            rest = next(events, None)
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark
            raise refusal(mark.line + 1 if mark else 1, f"{error.problem}.") from error
        except yaml.YAMLError as error:
            reason = str(error).splitlines()[0]
            raise InvalidInput.of(FIELD, f"This is no YAML: {reason}.", code="yaml") from error
        if rest is not None:
            raise refusal(_line(rest), "a second document begins; give one.")
        return node

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        line = _line(event)
        if depth < 0:
            raise refusal(line, f"it has more than {self.levels} levels.", "depth")
        if isinstance(event, yaml.ScalarEvent):
            return Node(line, self.scalar(event, line))
        if event.tag is not None:
            raise refusal(line, self.no_tags)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(events), yaml.SequenceEndEvent):
                items.append(self.node(inner, events, depth - 1))
            return Node(line, items)
        named: dict[str, Node] = {}
        while not isinstance(inner := next(events), yaml.MappingEndEvent):
            name = self.name(inner)
            if name in named:
                raise refusal(_line(inner), f"“{name}” stands twice.", "repeated")
            named[name] = self.node(next(events), events, depth - 1)
        return Node(line, named)

    @property
    def no_tags(self) -> str:
        known = f", but {' and '.join(self.tags)}" if self.tags else ""
        return f"tags are not used here{known}."

    def name(self, event: Any) -> str:
        line = _line(event)
        name = self.scalar(event, line) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(name, str):
            raise refusal(line, "a name is a text: quote it if need be.", "name")
        return name

    def scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        text = str(event.value)
        if event.tag is not None and event.tag in self.tags:
            return self.tags[event.tag](text)
        if event.tag is not None:
            raise refusal(line, self.no_tags)
        plain, _ = event.implicit
        if not plain:
            return text
        if NO_NUMBER.fullmatch(text):
            raise refusal(
                line, "NaN and Infinity are no values; quote it if a text is meant.", "number"
            )
        if text in WORDS:
            return WORDS[text]
        if not NUMBER.fullmatch(text):
            return text
        if len(text) > DIGITS:
            raise refusal(
                line, "no number has so many digits; quote it if a text is meant.", "number"
            )
        number = int(text) if INTEGER.fullmatch(text) else float(text)
        if number in (float("inf"), float("-inf")):
            raise refusal(line, "the number is too large.", "number")
        return number
