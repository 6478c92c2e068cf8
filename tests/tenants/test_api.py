"""An enterprise's own account, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from apps.tenants.models import ApiKey, Enterprise, Scope
from apps.tenants.operations import resume_enterprise, revoke_api_keys, suspend_enterprise
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.tenants import factories


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    body: dict[str, Any] = response.json()
    return body


def test_enterprise__own__is_shown(api, enterprise):
    body = api.get("/api/v1/enterprise").json()
    assert body.pop("created_at").endswith("Z")
    assert body == {
        "id": str(enterprise.id),
        "name": enterprise.name,
        "slug": enterprise.slug,
        "subscription_plan": "free",
    }


def test_api_keys__own__are_listed_without_secrets(api, enterprise):
    other = factories.make_key(enterprise, [Scope.ACCOUNT_READ], name="Second")
    response = api.get("/api/v1/api-keys")
    keys = response.json()
    assert {key["name"] for key in keys} == {"test", "Second"}
    assert set(keys[0]) == {
        "id", "name", "prefix", "scopes", "expires_at", "last_used_at", "revoked_at", "created_at",
    }  # fmt: skip
    assert other.token not in response.content.decode()
    assert bytes(other.key.key_hash).hex() not in response.content.decode()


def test_api_keys__another_enterprises__are_not_listed(api, other_enterprise):
    other = factories.make_key(other_enterprise)
    assert str(other.key.pk) not in api.get("/api/v1/api-keys").content.decode()


def test_api_key__own__is_shown_and_anothers_not_found(api, enterprise, other_enterprise):
    mine, others = factories.make_key(enterprise), factories.make_key(other_enterprise)
    assert api.get(f"/api/v1/api-keys/{mine.key.pk}").json()["prefix"] == mine.key.prefix
    unknown = problem(api.get(f"/api/v1/api-keys/{uuid4()}"), 404)
    foreign = problem(api.get(f"/api/v1/api-keys/{others.key.pk}"), 404)
    # Nothing tells a foreign key from one that does not exist.
    assert {**foreign, "request_id": ""} == {**unknown, "request_id": ""}


def test_suspended__enterprise__is_403_at_once_and_served_again_when_resumed(api, enterprise):
    assert api.get("/api/v1/enterprise").status_code == 200
    with operator_scope():
        suspend_enterprise(enterprise=enterprise)
    until(lambda: api.get("/api/v1/enterprise").status_code == 403)
    for path in ("/api/v1/enterprise", "/api/v1/api-keys", f"/api/v1/api-keys/{uuid4()}"):
        body = problem(api.get(path), 403)
        assert body["code"] == "enterprise_suspended"
        assert body["title"] == "The enterprise is suspended"
    with operator_scope():
        # What it owns is still there.
        assert ApiKey.objects.filter(enterprise=enterprise, revoked_at__isnull=True).count() == 1
        resume_enterprise(enterprise=enterprise)
    until(lambda: api.get("/api/v1/enterprise").status_code == 200)


@pytest.mark.parametrize("status", ["offboarding", "offboarded"])
def test_offboarding__enterprise__is_not_served(api, enterprise, status):
    assert api.get("/api/v1/enterprise").status_code == 200
    with operator_scope():
        Enterprise.objects.filter(pk=enterprise.pk).update(status=status)
    until(lambda: api.get("/api/v1/enterprise").status_code == 403)


def test_revoked__key__is_401_within_a_second(enterprise):
    issued = factories.make_key(enterprise)
    factories.await_key(issued.token)
    client = factories.client_with(issued.token)
    assert client.get("/api/v1/enterprise").status_code == 200
    with operator_scope():
        revoke_api_keys(keys=[issued.key])
    until(lambda: client.get("/api/v1/enterprise").status_code == 401)
    assert problem(client.get("/api/v1/enterprise"), 401)["code"] == "not_authenticated"


def test_key__in_the_query_or_a_cookie__is_not_taken(enterprise):
    token = factories.make_key(enterprise).token
    factories.await_key(token)
    client = Client()
    client.cookies["Authorization"] = f"Bearer {token}"
    assert client.get(f"/api/v1/enterprise?api_key={token}&token={token}").status_code == 401


def test_session__of_an_operator__opens_no_api(admin_client):
    # The admin's cookie is no key: the API serves enterprises only.
    assert problem(admin_client.get("/api/v1/enterprise"), 401)["code"] == "not_authenticated"


def test_key__in_the_admin__opens_no_page(api):
    response = api.get("/admin/")
    assert response.status_code == 302
    assert "/login/" in response.headers["Location"]


@pytest.mark.parametrize("path", ["enterprise", "api-keys", "nowhere"])
def test_responses__of_the_api__are_neither_cached_nor_sniffed(api, path):
    # A shared cache that ignores Authorization would hand one tenant's answer to the next.
    response = api.get(f"/api/v1/{path}")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "private, no-store"


def test_head_and_options__with_a_key__answer(api):
    assert api.head("/api/v1/enterprise").status_code == 200
    assert api.head("/api/v1/enterprise").content == b""
    assert api.options("/api/v1/enterprise").status_code == 200
    assert Client().options("/api/v1/enterprise").status_code == 401


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*"])
def test_accept__anything__is_answered_in_json(api, enterprise, accept):
    response = api.get("/api/v1/enterprise", headers={"Accept": accept})
    assert response["Content-Type"] == "application/json"
    assert response.json()["slug"] == enterprise.slug
