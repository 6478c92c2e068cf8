from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from apps.tenants.models import Enterprise
from tests.flights.factories import Shop
from tests.storefront.factories import open_site, visitor


@pytest.fixture
def host(enterprise: Enterprise) -> str:
    """The host of `enterprise`'s storefront, which is open."""
    return open_site(enterprise)


@pytest.fixture
def site(host: str) -> Client:
    """A traveller's client at `enterprise`'s storefront."""
    return visitor(host)


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A route and day of the test's own."""
    opened = Shop()
    yield opened
    opened.close()
