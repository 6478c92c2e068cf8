"""The admin's site: every page in one transaction of the operator's role, with the actor known."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from functools import wraps
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connections, transaction
from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError
from unfold.sites import UnfoldAdminSite

from layoverhq import context
from layoverhq.errors import DomainError, Unavailable, from_constraint
from layoverhq.health import run_checks
from layoverhq.tenancy import OPERATOR

log = structlog.get_logger(__name__)

View = Callable[..., HttpResponseBase]

_page: ContextVar[ExitStack] = ContextVar("admin_page")


def give_reason(reason: str) -> None:
    """Put the operator's words into all that the rest of this page writes, queues and logs.

    The page's transaction is open already, so that they do not travel with its BEGIN.
    """
    _page.get().enter_context(context.bind(reason=reason))
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute("select set_config('app.reason', %s, true)", [reason])


class LayoverAdminSite(UnfoldAdminSite):  # type: ignore[misc]
    """Django's admin in Unfold's dress."""

    index_title = "Home"

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        @wraps(view)
        def audited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                return _in_transaction(request, view, *args, **kwargs)
            except (DomainError, IntegrityError, PermissionDenied, Http404) as error:
                return self._refused(request, error)

        return cast(View, super().admin_view(audited, cacheable))

    def _refused(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        """Tell the operator: on the page that they came from after a POST, else on a page."""
        status, detail = _refusal(error)
        if request.method == "POST" and isinstance(error, DomainError | IntegrityError):
            messages.error(request, detail)
            return back(request)
        return TemplateResponse(
            request,
            "admin/refused.html",
            {**self.each_context(request), "title": status.phrase, "detail": detail},
            status=status,
        ).render()

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Unfold's form posts to its own address, so that this is where the way on has to stand.
        if REDIRECT_FIELD_NAME not in request.GET:
            query = urlencode({REDIRECT_FIELD_NAME: reverse("admin:index")})
            return HttpResponseRedirect(f"{request.path}?{query}")
        return cast(HttpResponse, super().login(request, extra_context))

    def search(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return cast(HttpResponse, super().search(request, extra_context))
        except (RedisError, ConnectionInterrupted) as error:
            raise Unavailable("Search needs the cache, which cannot be reached.") from error

    def extra_urls(self) -> list[URLPattern]:
        return [path("health/", self.admin_view(self.health), name="health")]

    def health(self, request: HttpRequest) -> HttpResponse:
        """Answer the home page's panel: it asks by itself, so that no slow check delays it."""
        # A check that fails must not take the page's own transaction with it.
        faults = run_checks(lambda: transaction.atomic(using=OPERATOR))
        checks = {
            name: "" if fault is None else str(fault) or type(fault).__name__
            for name, fault in faults.items()
        }
        return TemplateResponse(request, "admin/health.html", {"checks": checks})


def _in_transaction(
    request: HttpRequest, view: View, *args: Any, **kwargs: Any
) -> HttpResponseBase:
    with ExitStack() as page:
        page.enter_context(context.bind(actor_id=request.user.pk))
        token = _page.set(page)
        page.callback(_page.reset, token)
        with transaction.atomic(using=OPERATOR):
            response = view(request, *args, **kwargs)
            # What a lazy page reads belongs to the same transaction.
            render = getattr(response, "render", None)
            return cast(HttpResponseBase, render()) if render is not None else response


def _refusal(error: Exception) -> tuple[HTTPStatus, str]:
    known = from_constraint(error) if isinstance(error, IntegrityError) else error
    if isinstance(known, DomainError):
        return HTTPStatus(known.status), known.detail
    if isinstance(known, PermissionDenied):
        return HTTPStatus.FORBIDDEN, "Your account lacks the permission for this."
    if isinstance(known, Http404):
        return HTTPStatus.NOT_FOUND, "There is no such page, or it is gone."
    raise error


def add_refusal(form: BaseForm, error: DomainError) -> None:
    """Show a refused operation on the fields that it names."""
    if not error.errors:
        form.add_error(None, error.detail)
    for fault in error.errors:
        if fault.field in form.fields:
            form.add_error(fault.field, fault.detail)
        else:
            form.add_error(None, f"{fault.field}: {fault.detail}")


def go_to(request: HttpRequest, url: str) -> HttpResponse:
    """Lead the browser to a page, from a page or from a dialog of Unfold's (HTMX)."""
    if "HX-Request" in request.headers:
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def back(request: HttpRequest) -> HttpResponse:
    """Lead the browser to the page that it came from, or home."""
    url = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    safe = url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return go_to(request, url if safe else reverse("admin:index"))


ENVIRONMENT_COLOURS = {"production": "danger", "staging": "warning"}


def environment_badge(request: HttpRequest) -> list[str]:
    """Name the environment on every page."""
    name = settings.ENVIRONMENT
    return [name.capitalize(), ENVIRONMENT_COLOURS.get(name, "info")]


def favicon(request: HttpRequest) -> str:
    """Return the address of the admin's icon."""
    return static("layoverhq/favicon.svg")
