from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from apps.flags.models import FeatureFlag
from apps.flags.operations import set_override
from apps.flags.runtime import flags
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A route and day of the test's own."""
    opened = Shop()
    yield opened
    opened.close()


@pytest.fixture
def switch(enterprise: Enterprise) -> Callable[[str, bool], None]:
    """Return how to turn a flag on or off for the enterprise."""

    def turn(name: str, on: bool) -> None:
        with operator_scope():
            set_override(
                flag=FeatureFlag.objects.get(name=name), kind="tenant", of=enterprise.pk, to=on,
                reason="test", actor=None,
            )  # fmt: skip
        flags.directory.forget()

    return turn
