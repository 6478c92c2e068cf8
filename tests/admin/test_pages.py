"""Every page of the admin, by who asks for it."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from layoverhq.tenancy import operator_scope
from tests.tenants import factories

MODELS = sorted(model._meta.label_lower for model in admin.site._registry)


def changelist(label: str) -> str:
    return reverse("admin:{}_{}_changelist".format(*label.split(".")))


@pytest.mark.parametrize("label", MODELS)
def test_changelist__superuser__is_shown(admin_client: Client, label: str) -> None:
    response = admin_client.get(changelist(label))

    assert response.status_code == 200
    assert b"Test" in response.content, "the environment is named"


@pytest.mark.parametrize("label", MODELS)
def test_changelist__without_permission__is_refused(label: str) -> None:
    client = factories.make_admin_client(factories.make_operator(superuser=False))

    response = client.get(changelist(label))

    assert response.status_code == 403
    assert b"lacks the permission" in response.content


@pytest.mark.parametrize("label", MODELS)
def test_add_page__superuser__is_shown_or_refused(admin_client: Client, label: str) -> None:
    model_admin = next(a for m, a in admin.site._registry.items() if m._meta.label_lower == label)
    url = reverse("admin:{}_{}_add".format(*label.split(".")))

    response = admin_client.get(url)

    request = response.wsgi_request
    with operator_scope():
        assert response.status_code == (200 if model_admin.has_add_permission(request) else 403)
