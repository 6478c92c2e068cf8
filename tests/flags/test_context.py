"""The context of an API request: what headers tell, and what the key alone decides."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from apps.flags.context import HEADERS, request_context, tenants_context
from apps.flags.runtime import flags
from apps.tenants.directory import Principal, api_keys
from apps.tenants.models import Enterprise
from layoverhq.errors import InvalidInput
from tests.flags.rows import plant_flag
from tests.tenants import factories


@pytest.fixture
def principal(enterprise: Enterprise) -> Principal:
    token = factories.make_key(enterprise).token
    factories.await_key(token)
    found = api_keys.find(token)
    assert found is not None
    return found


def request_of(principal: Principal | None, **headers: str) -> Request:
    named = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    request = Request(APIRequestFactory().get("/api/v1/flights/search", **named))
    request.auth = principal
    return request


def test_request__without_headers__is_the_keys_enterprise_and_plan(principal, enterprise):
    assert request_context(request_of(principal)) == {
        "enterprise": str(enterprise.pk),
        "plan": enterprise.subscription_plan,
    }


def test_request__with_headers__has_what_they_tell(principal, enterprise):
    request = request_of(
        principal, x_user_id="ann@example.com", x_country="de", x_app_version="v2.10.0-beta.1+7"
    )
    assert request_context(request) == {
        "enterprise": str(enterprise.pk),
        "plan": enterprise.subscription_plan,
        "user": "ann@example.com",
        "country": "DE",
        "app_version": "v2.10.0-beta.1+7",
    }


def test_request__empty_headers__are_not_there(principal):
    request = request_of(principal, x_user_id="", x_country="", x_app_version="")
    assert request_context(request).keys() == {"enterprise", "plan"}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        *(("X-User-Id", value) for value in ("a b", "é", "x" * 256, "a\x00", "\t", " ", "a\x7f")),
        *(("X-Country", value) for value in ("D", "DEU", "D1", "de,us", "--", "ÄÖ", "D E")),
        *(("X-App-Version", value) for value in ("-1", "1 0", "1;0", "1" * 101, "é", ".1")),
    ],
)
def test_request__header_that_cannot_be_used__is_refused_by_name(principal, header, value):
    name = header.replace("-", "_").lower()
    with pytest.raises(InvalidInput) as refusal:
        request_context(request_of(principal, **{name: value}))
    assert [error.field for error in refusal.value.errors] == [header]


def test_request__several_headers_that_cannot_be_used__are_all_named(principal):
    with pytest.raises(InvalidInput) as refusal:
        request_context(
            request_of(principal, x_user_id="é", x_country="Germany", x_app_version="x y")
        )
    assert {error.field for error in refusal.value.errors} == {header.name for header in HEADERS}


def test_request__headers_that_name_an_enterprise__change_nothing(principal, enterprise):
    request = request_of(principal, x_enterprise="other", x_plan="enterprise", enterprise="other")
    assert request_context(request)["enterprise"] == str(enterprise.pk)


def test_request__without_a_key__is_refused():
    with pytest.raises(AuthenticationFailed):
        request_context(request_of(None))


def test_flags__asked_with_it__go_by_tenant_user_and_country(principal, enterprise):
    ours = plant_flag(rollout_percentage=0, tenant_overrides={str(enterprise.pk): True})
    german = plant_flag(conditions={"country": "DE", "user": "ann"})
    context = request_context(request_of(principal, x_user_id="ann", x_country="DE"))
    assert flags.enabled(ours, context)
    assert flags.enabled(german, context)
    assert not flags.enabled(german, request_context(request_of(principal, x_user_id="ann")))


@pytest.mark.parametrize("sent", ["other", None, [], {"a": 1}])
def test_attributes__enterprise_and_plan_among_them__are_overwritten(
    principal, enterprise, sent: Any
):
    given = {"enterprise": sent, "plan": sent, "country": "DE"}
    context = tenants_context(principal, given)
    assert context == {
        "enterprise": str(enterprise.pk),
        "plan": enterprise.subscription_plan,
        "country": "DE",
    }
    assert given["enterprise"] is sent


def test_flags__unit_that_is_no_text__is_answered_and_raises_nothing():
    half = plant_flag(rollout_percentage=50)
    assert flags.evaluate(half, {"user": "\ud800"}).error_code == ""
