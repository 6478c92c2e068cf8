"""Enterprises, users and clients for tests; every call makes new ones."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Sequence
from typing import Any

from django.test import Client

from apps.tenants.directory import api_keys
from apps.tenants.models import Enterprise, Scope, User
from apps.tenants.operations import (
    IssuedKey,
    create_operator,
    issue_api_key,
    onboard_enterprise,
)
from layoverhq.tenancy import operator_scope

PATIENCE_SECONDS = 15
PASSWORD = "correct horse battery staple"
_numbers = itertools.count(1)


def unique(word: str) -> str:
    """Return the word with a suffix that no other test has."""
    return f"{word}-{next(_numbers)}{secrets.token_hex(3)}"


def make_enterprise(**fields: Any) -> Enterprise:
    slug = fields.pop("slug", None) or unique("acme")
    with operator_scope():
        return onboard_enterprise(name=fields.pop("name", slug.title()), slug=slug, **fields)


def make_key(
    enterprise: Enterprise, scopes: Sequence[str] = tuple(Scope.values), **fields: Any
) -> IssuedKey:
    with operator_scope():
        return issue_api_key(
            enterprise=enterprise, name=fields.pop("name", "test"), scopes=scopes, **fields
        )


def client_with(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def make_client(enterprise: Enterprise, scopes: Sequence[str] = tuple(Scope.values)) -> Client:
    """Return a client with a key that this process knows already."""
    issued = make_key(enterprise, scopes)
    await_key(issued.token)
    return client_with(issued.token)


def await_key(token: str, *, known: bool = True) -> None:
    """Wait until the key directory has, or no longer has, the token: a notification away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (api_keys.find(token) is not None) != known:
        assert time.monotonic() < deadline, "the notification did not arrive"
        time.sleep(0.002)


def make_operator(*, superuser: bool = True) -> User:
    with operator_scope():
        return create_operator(
            email=f"{unique('op')}@example.com", password=PASSWORD, superuser=superuser
        )


def make_admin_client(user: User | None = None) -> Client:
    """Return a client with an operator's session."""
    client = Client()
    with operator_scope():
        client.force_login(user or make_operator())
    return client


def await_status(client: Client, path: str, status: int) -> Any:
    """Return the first response with this status: a notification away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (response := client.get(path)).status_code != status:
        assert time.monotonic() < deadline, f"{response.status_code} {response.content!r}"
        time.sleep(0.002)
    return response
