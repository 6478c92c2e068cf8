"""The analysis over HTTP: who may ask, what is answered, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.layovers.models import LayoverAnalysis
from apps.tenants.models import Enterprise, Scope
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.tenancy import operator_scope
from tests.layovers.factories import ANALYSIS, add_experience, own_airport, question
from tests.tenants import factories as tenants


def test_analysis__of_a_hub__is_whole(api: Client) -> None:
    response = api.get(ANALYSIS, question("ORD", **{"from": "SFO", "to": "BOS"}))

    assert response.status_code == 200, response.content
    found = response.json()
    print(response.content.decode())
    assert found["airport"]["city"] == "Chicago"
