"""What tenants are told of flags, from memory: each evaluation is written out once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.flags.evaluation import Evaluation
from apps.flags.runtime import Content
from layoverhq.answers import encoded


class Listing:
    """The flags that tenants see, as of one content."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.names = sorted(
            name for name, flag in content.definitions.items() if flag.tenant_visible
        )
        self._flags = [(name, content.flags[name]) for name in self.names]
        # By identity, since values may be of any kind; holding the evaluation keeps its id its own.
        self._texts: dict[int, tuple[Evaluation, bytes]] = {}

    def bulk(self, context: Mapping[str, Any]) -> bytes:
        """Return the document of all flags for a context.

        They are counted, but nobody has met an experiment's variant by that.
        """
        flags, texts = self.content.flags, self._texts
        items = []
        for name, flag in self._flags:
            evaluation = flag.evaluate(context, flags)
            next(evaluation.counter)
            written = texts.get(id(evaluation))
            items.append(written[1] if written else self.text(name, evaluation))
        return b'{"flags":[' + b",".join(items) + b"]}"

    def text(self, name: str, evaluation: Evaluation) -> bytes:
        """Return the document of one evaluation of this content's flag."""
        written = self._texts.get(id(evaluation))
        if written is None:
            text = encoded(_document(name, evaluation, self.content.definitions[name].version))
            written = self._texts[id(evaluation)] = (evaluation, text)
        return written[1]


def _document(name: str, evaluation: Evaluation, version: int) -> dict[str, Any]:
    """Return an evaluation as the protocol has it; without a value the caller's own holds."""
    document: dict[str, Any] = {"key": name}
    if evaluation.error_code:
        details = "The flag cannot be evaluated."
        return {**document, "errorCode": evaluation.error_code, "errorDetails": details}
    if evaluation.value is not None:
        document["value"] = evaluation.value
    document["reason"] = evaluation.reason
    if evaluation.variant is not None:
        document["variant"] = evaluation.variant
    metadata: dict[str, Any] = {"version": version}
    if evaluation.rule is not None:
        metadata["rule"] = evaluation.rule
    return {**document, "metadata": metadata}


_latest: Listing | None = None


def listing(content: Content) -> Listing:
    """Return the content's listing: the last one made, while the content stands."""
    global _latest
    held = _latest
    if held is None or held.content is not content:
        held = _latest = Listing(content)
    return held
