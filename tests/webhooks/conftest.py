from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apps.webhooks import operations
from apps.webhooks.models import WebhookDelivery
from layoverhq.tenancy import operator_scope
from tests.webhooks.receiver import Receiver, receiving, saying


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Leave nothing to be delivered to other tests: a worker sends for all tenants."""
    with operator_scope():
        WebhookDelivery.objects.all().delete()
    yield
    with operator_scope():
        WebhookDelivery.objects.all().delete()


@pytest.fixture(autouse=True)
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that would have been sent to the worker."""
    sent: list[str] = []
    monkeypatch.setattr(operations.current_app, "send_task", lambda name, **_: sent.append(name))
    return sent


@pytest.fixture
def development(settings: Any) -> None:
    """Call receivers on this machine, as a developer may."""
    settings.ENVIRONMENT = "development"


@pytest.fixture
def receiver(development: None) -> Iterator[Receiver]:
    """A receiver that is content with everything."""
    with receiving(saying(204)) as opened:
        yield opened
