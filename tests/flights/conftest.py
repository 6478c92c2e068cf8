from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flights.factories import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A route and day of the test's own."""
    opened = Shop()
    yield opened
    opened.close()
