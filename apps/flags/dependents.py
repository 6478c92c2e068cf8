"""Which flags may answer otherwise when a flag or a segment changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from apps.flags.conditions import groups_in
from apps.flags.evaluation import Definition
from apps.flags.runtime import Content


class Dependents:
    """What flags look at, kept from one content to the next: most stand in both.

    Subjects are those of the list of changes, `flag <name>` and `segment <name>`. A flag looks at
    its prerequisites and at the segments that its conditions name, a segment at those that its own
    name. For one thread at a time.
    """

    def __init__(self) -> None:
        self._looked_at: dict[str, tuple[Definition, frozenset[str]]] = {}

    def touched(self, content: Content, versions: Mapping[str, int]) -> dict[str, int]:
        """Return the last version that touched each flag, by its name.

        `versions` has the last change of each subject; it touches whatever looks at that, at once
        or by others.
        """
        lookers = self._lookers(content)
        reached: dict[str, int] = {}
        # The latest first, so that whatever is reached again is reached as it ought to be.
        for changed, version in sorted(versions.items(), key=lambda change: -change[1]):
            pending = [changed]
            while pending:
                subject = pending.pop()
                if subject not in reached:
                    reached[subject] = version
                    pending += lookers.get(subject, ())
        subjects = ((subject.partition(" "), version) for subject, version in reached.items())
        return {name: version for (kind, _, name), version in subjects if kind == "flag"}

    def _lookers(self, content: Content) -> dict[str, list[str]]:
        """Return what looks at each subject."""
        lookers: dict[str, list[str]] = defaultdict(list)
        for segment, group in content.groups.items():
            for inner in group.asks:
                lookers[f"segment {inner}"].append(f"segment {segment}")
        for name, definition in content.definitions.items():
            for subject in self._looks_at(name, definition):
                lookers[subject].append(f"flag {name}")
        return lookers

    def _looks_at(self, name: str, definition: Definition) -> frozenset[str]:
        held = self._looked_at.get(name)
        if held is not None and held[0] is definition:
            return held[1]
        documents = [definition.conditions, *(rule["conditions"] for rule in definition.rules)]
        subjects = frozenset(
            {f"segment {segment}" for document in documents for segment in groups_in(document)}
            | {f"flag {asked['flag']}" for asked in definition.prerequisites}
        )
        self._looked_at[name] = (definition, subjects)
        return subjects
