"""The API does what its own OpenAPI document says, whatever it is sent."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.test import Client
from django.urls import get_resolver
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.openapi import JSON
from tests.isolation.test_routes import API, PREFIXES, patterns, plant_offer
from tests.tenants import factories

load_all_checks()
schemathesis.serializer.alias("application/x-ndjson", "application/octet-stream")

# An airport that does not exist, or a day that is past, fits the document and is refused.
KNOWING_BETTER = CHECKS.get_one("positive_data_acceptance")

# Where OpenFeature's protocol says how refusals read, and where a key may be.
OFREP = ("/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/{key}")

SCHEMA = schemathesis.openapi.from_wsgi("/api/schema", WSGIHandler())
OPERATIONS = {operation.ok().label: operation.ok() for operation in SCHEMA.get_all_operations()}


@pytest.fixture(scope="module")
def headers() -> dict[str, str]:
    """The headers of an enterprise that has an offer of its own, wherever a key may be."""
    enterprise = factories.make_enterprise()
    plant_offer(enterprise)
    issued = factories.make_key(enterprise)
    factories.await_key(issued.token)
    return {"Authorization": f"Bearer {issued.token}", "X-API-Key": issued.token}


def test_document__every_route_of_the_api__is_in_it():
    assert len(OPERATIONS) >= len(API)
    assert {operation.path for operation in OPERATIONS.values()} == {
        "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route)
        for route, _ in patterns(get_resolver())
        if route.startswith(PREFIXES)
    }


@pytest.mark.parametrize("label", sorted(OPERATIONS))
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_operation__whatever_is_sent__is_answered_as_documented(label, mode, headers):
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        response = case.call_and_validate(headers=headers, excluded_checks=[KNOWING_BETTER])
        if response.status_code >= 400 and label.endswith(OFREP):
            assert response.headers["content-type"] == [JSON]
            assert response.json()["errorCode"]
        elif response.status_code >= 400:
            assert response.headers["content-type"] == [PROBLEM_CONTENT_TYPE]
            assert response.json()["status"] == response.status_code

    call()


def test_document__of_openapi__is_valid_and_without_warnings(capsys):
    call_command("spectacular", "--validate", "--fail-on-warn")
    assert "openapi: 3." in capsys.readouterr().out


def test_document__every_operation__needs_a_key_and_tells_its_refusals():
    document = SCHEMA.raw_schema
    scheme = document["components"]["securitySchemes"]["ApiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert {"ApiKey": []} in operation["security"]
            assert len(operation["security"]) == 1 + path.endswith(OFREP)
            assert operation["summary"]
            assert {"400", "401", "403", "503"} <= set(operation["responses"])
            assert {"200", "201", "202", "204"} & set(operation["responses"])
            for status, response in operation["responses"].items():
                if status >= "400":
                    refusal = JSON if path.endswith(OFREP) else PROBLEM_CONTENT_TYPE
                    assert set(response["content"]) == {refusal}


def test_docs__swagger_ui__comes_from_the_package_alone():
    page = Client().get("/api/docs").content.decode()
    assert "swagger-ui" in page
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert sources
    assert not [source for source in sources if re.match(r"(https?:)?//", source)]
    assert not re.search(r"https?://(?!localhost|testserver)", page)
    for source in sources:
        with closing(Client().get(source)) as response:
            assert response.status_code == 200, source


def test_docs__and_document__need_no_key():
    assert Client().get("/api/schema").status_code == 200
    assert Client().get("/").headers["Location"] == "/api/docs"
