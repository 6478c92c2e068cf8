"""Two changes of one definition, made side by side, brought together."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def merged(
    base: Mapping[str, Any], now: Mapping[str, Any], yours: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return `yours` with the members that only `now` changed since `base`; their names; and the
    names of those that both changed, of which yours are kept."""
    document = deepcopy(dict(yours))
    brought, clashing = [], []
    for name in now:
        if now[name] == base.get(name) or now[name] == yours.get(name):
            continue
        if name not in yours or yours[name] == base.get(name):
            document[name] = deepcopy(now[name])
            brought.append(name)
        else:
            clashing.append(name)
    return document, brought, clashing
