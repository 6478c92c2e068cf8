"""Every refusal is one problem document, and no fault shows its inside."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from django.db import IntegrityError, connections
from django.test import Client

from apps.tenants.models import Domain, Enterprise, User
from layoverhq.errors import (
    CONSTRAINTS,
    PROBLEM_CONTENT_TYPE,
    Conflict,
    InvalidInput,
    exception_handler,
    from_constraint,
)
from layoverhq.tenancy import operator_scope
from tests.isolation import roles
from tests.kernel.fault_urls import FAULTS, SECRET
from tests.tenants.factories import make_enterprise, unique

pytestmark = pytest.mark.urls("tests.kernel.fault_urls")


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def document(response: Any, status: int) -> dict[str, Any]:
    """Return the problem, once all that every problem has is there."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    body: dict[str, Any] = response.json()
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"]
    assert body["code"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert SECRET not in response.content.decode()
    assert not set(body) - {"type", "title", "status", "code", "detail", "errors", "request_id"}
    return body


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("domain", 409, "out_of_seats"),
        ("domain_plain", 409, "out_of_seats"),
        ("invalid", 400, "invalid_input"),
        ("conflict", 409, "conflict"),
        ("timeout", 503, "query_timeout"),
        ("http404", 404, "not_found"),
        ("denied", 403, "permission_denied"),
        ("drf_validation", 400, "invalid"),
        ("drf_validation_list", 400, "invalid"),
        ("drf_not_acceptable", 406, "not_acceptable"),
        ("drf_media_type", 415, "unsupported_media_type"),
        ("drf_method", 405, "method_not_allowed"),
        ("drf_parse", 400, "parse_error"),
        ("throttled", 429, "throttled"),
        ("operational", 503, "unavailable"),
        ("interface", 503, "unavailable"),
        ("psycopg", 503, "unavailable"),
        ("full", 503, "unavailable"),
        ("full_database", 503, "unavailable"),
        ("integrity", 500, "server_error"),
        ("data", 500, "server_error"),
        ("defect", 500, "server_error"),
    ],
)
def test_api__each_kind_of_fault__is_its_problem(client, fault, status, code):
    body = document(client.get(f"/api/v1/fault/{fault}"), status)
    assert body["code"] == code
    assert "{" not in body["title"]


def test_faults__all__are_tried():
    tried = test_api__each_kind_of_fault__is_its_problem.pytestmark[0].args[1]
    assert {fault for fault, _, _ in tried} == set(FAULTS)


@pytest.mark.parametrize("fault", ["operational", "interface", "psycopg", "full", "full_database"])
def test_page__database_fault_outside_of_the_api__is_503_to_try_again(client, fault):
    response = client.get(f"/page/fault/{fault}")
    assert document(response, 503)["code"] == "unavailable"
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("fault", ["operational", "timeout"])
def test_unavailable__api__says_when_to_try_again(client, fault):
    assert int(client.get(f"/api/v1/fault/{fault}").headers["Retry-After"]) > 0


def test_throttled__api__says_when_to_try_again(client):
    assert client.get("/api/v1/fault/throttled").headers["Retry-After"] == "7"


def test_page__defect__is_500_without_its_inside(client):
    assert document(client.get("/page/fault/defect"), 500)["code"] == "server_error"


def test_domain_error__title_and_detail__are_the_docstring_and_the_words(client):
    body = document(client.get("/api/v1/fault/domain"), 409)
    assert (body["title"], body["detail"]) == ("No seat is left", "Row 12 is taken.")
    body = document(client.get("/api/v1/fault/domain_plain"), 409)
    assert (body["title"], body["detail"]) == ("No seat is left", "No seat is left.")


def test_invalid_input__each_field__is_named(client):
    body = document(client.get("/api/v1/fault/invalid"), 400)
    assert body["errors"] == [
        {"field": "origin", "code": "unknown", "detail": "Unknown airport."},
        {"field": "limit", "code": "range", "detail": "From 1 to 100."},
    ]
    assert body["detail"] == "origin: Unknown airport. limit: From 1 to 100."


def test_drf_validation__nested__is_flat_with_dotted_names(client):
    body = document(client.get("/api/v1/fault/drf_validation"), 400)
    assert body["errors"] == [
        {"field": "trip.legs.origin", "code": "invalid", "detail": "Unknown."},
        {"field": "body", "code": "invalid", "detail": "Odd."},
    ]


def test_framework_error__title__is_the_statuss_phrase(client):
    body = document(client.get("/api/v1/fault/drf_method"), 405)
    assert body["title"] == HTTPStatus.METHOD_NOT_ALLOWED.phrase
    assert body["detail"] == 'Method "BREW" not allowed.'


def test_invalid_input__of_one_field__has_it():
    error = InvalidInput.of("via", "Unknown airport.", code="unknown")
    assert error.status == 400
    assert [(e.field, e.code, e.detail) for e in error.errors] == [
        ("via", "unknown", "Unknown airport.")
    ]


def test_constraints__all_that_are_mapped__exist():
    with roles.connect_as_superuser() as superuser:
        stand = {
            name
            for (name,) in superuser.execute(
                "select conname from pg_constraint union select indexname from pg_indexes"
            ).fetchall()
        }
    assert set(CONSTRAINTS) <= stand


def violate(name: str) -> None:
    enterprise, other = make_enterprise(), make_enterprise()
    with operator_scope():
        if name == "enterprises_slug_living":
            Enterprise.objects.filter(pk=other.pk).update(slug=enterprise.slug)
        elif name == "enterprises_slug_shape":
            Enterprise.objects.filter(pk=other.pk).update(slug="No Slug")
        elif name == "users_email_living":
            email = f"{unique('ann')}@example.com"
            User.objects.create_user(email, enterprise=enterprise)
            User.objects.create_user(email.upper(), enterprise=other)
        elif name == "domains_domain_key":
            domain = f"{unique('x')}.example.com"
            for tenant in (enterprise, other):
                Domain.objects.bulk_create([Domain(domain=domain, tenant=tenant)])


@pytest.mark.parametrize(
    "name",
    ["enterprises_slug_living", "enterprises_slug_shape", "users_email_living",
     "domains_domain_key"],
)  # fmt: skip
def test_constraint__violated__is_a_conflict_on_its_field(name):
    with pytest.raises(IntegrityError) as violation:
        violate(name)
    refusal = from_constraint(violation.value)
    assert isinstance(refusal, Conflict)
    assert [error.field for error in refusal.errors] == [CONSTRAINTS[name][0]]
    response = exception_handler(violation.value, {})
    assert response is not None
    assert response.status_code == 409
    # What PostgreSQL says would tell another tenant's values.
    assert "example.com" not in str(response.data)


def test_constraint__unknown__is_no_refusal_of_ours(enterprise):
    with pytest.raises(IntegrityError) as violation, operator_scope():
        Enterprise.objects.filter(pk=enterprise.pk).update(status="odd")
    assert from_constraint(violation.value) is None
    assert exception_handler(violation.value, {}) is None
    assert from_constraint(IntegrityError("of nobody")) is None


def test_api__database_down__is_503_and_serves_again_afterwards(api):
    assert api.get("/api/v1/enterprise").status_code == 200
    wrapper = connections["default"]
    port = wrapper.settings_dict["PORT"]
    wrapper.close()
    wrapper.settings_dict["PORT"] = "1"
    try:
        response = api.get("/api/v1/enterprise")
    finally:
        wrapper.close()
        wrapper.settings_dict["PORT"] = port
    body = document(response, 503)
    assert body["code"] == "unavailable"
    assert "127.0.0.1" not in response.content.decode()
    assert int(response.headers["Retry-After"]) > 0
    assert api.get("/api/v1/enterprise").status_code == 200
