"""The admin's site: every page in one transaction of the operator's role, with the actor known."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from unfold.sites import UnfoldAdminSite

from layoverhq import context
from layoverhq.tenancy import OPERATOR

View = Callable[..., HttpResponseBase]


class LayoverAdminSite(UnfoldAdminSite):  # type: ignore[misc]
    """Django's admin in Unfold's dress."""

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        @wraps(view)
        def audited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            actor_id = getattr(request.user, "pk", None)
            with context.bind(actor_id=actor_id), transaction.atomic(using=OPERATOR):
                response = view(request, *args, **kwargs)
                # What a lazy page reads belongs to the same transaction.
                render = getattr(response, "render", None)
                return render() if render is not None else response

        return super().admin_view(audited, cacheable)


ENVIRONMENT_COLOURS = {"production": "danger", "staging": "warning"}


def environment_badge(request: HttpRequest) -> list[str]:
    """Name the environment on every page."""
    name = settings.ENVIRONMENT
    return [name.capitalize(), ENVIRONMENT_COLOURS.get(name, "info")]


def _item(request: HttpRequest, title: str, icon: str, model: str) -> dict[str, Any]:
    app_label, model_name = model.split(".")
    permission = f"{app_label}.view_{model_name}"
    return {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{app_label}_{model_name}_changelist"),
        "permission": lambda request: request.user.has_perm(permission),
    }


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar, by the operator's task."""
    return [
        {
            "title": "Customers",
            "items": [
                _item(request, "Enterprises", "apartment", "tenants.enterprise"),
                _item(request, "API keys", "key", "tenants.apikey"),
                _item(request, "Users", "group", "tenants.user"),
            ],
        },
    ]
