"""From a request for an enterprise's host to its answer, whatever goes wrong on the way."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve

from apps.configs.runtime import configs
from apps.storefront.limits import limiter
from apps.storefront.sites import Site
from apps.storefront.visiting import URLCONF, Visit
from layoverhq import context
from layoverhq.errors import RETRY_AFTER_SECONDS, Unavailable
from layoverhq.middleware import UNREACHABLE

log = structlog.get_logger(__name__)

READING = ("GET", "HEAD")
# Files of the brand and of all storefronts cost next to nothing, and a page asks for several.
UNCOUNTED = frozenset(
    {"storefront-asset", "storefront-theme", "storefront-logo", "storefront-icon"}
)


def answer(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Return the storefront's answer; a closed one looks as if there were none."""
    try:
        if not site.is_open:
            return closed()
    except UNREACHABLE as error:
        return unavailable(request, error)
    visit = Visit(request, site)
    try:
        return _answered(visit)
    except Http404:
        return _problem(visit, 404)
    except SuspiciousOperation:
        return _problem(visit, 400)
    except (*UNREACHABLE, Unavailable) as error:
        log.error("storefront_unavailable", site=site.host, error=str(error).splitlines()[0])
        return _problem(visit, 503, wait=RETRY_AFTER_SECONDS)
    except Exception:
        # Travellers see a page of the enterprise's, whatever failed; the log has the rest.
        log.exception("storefront_failed", site=site.host, path=request.path)
        return _problem(visit, 500)


def _answered(visit: Visit) -> HttpResponseBase:
    request = visit.request
    if request.method not in READING:
        refusal = _problem(visit, 405)
        refusal["Allow"] = ", ".join(READING)
        return refusal
    try:
        match = resolve(request.path_info, urlconf=URLCONF)
    except Resolver404 as error:
        raise Http404 from error
    if match.url_name not in UNCOUNTED:
        allowed = configs.get("storefront.requests_per_minute")
        if wait := limiter.wait_seconds(visit.site.host, context.current().ip, allowed):
            return _problem(visit, 429, wait=wait)
    response: HttpResponseBase = match.func(visit, *match.args, **match.kwargs)
    return response


PROBLEMS = {
    400: ("This address cannot be read", "Start again from the search."),
    404: ("This page is not here", "The address may be mistyped, or the page is gone."),
    405: ("This page can only be read", "Start again from the search."),
    429: (
        "A little too fast",
        "Many pages were asked for from your network in a short time. Try again in a minute.",
    ),
    500: ("Something went wrong", "The fault is ours and has been noted. Try again, please."),
    503: (
        "We will be right back",
        "The search cannot be reached at the moment. Try again in a few seconds.",
    ),
}


def _problem(visit: Visit, status: int, *, wait: int = 0) -> HttpResponse:
    """Return the branded page of a problem; plain where even the brand cannot be had.

    Where a part was asked for it is a sentence, and what stands on the page stays.
    """
    title, text = PROBLEMS[status]
    try:
        if visit.wants_fragment:
            response = _sentence(f"{title}. {text}", status)
        else:
            facts = {"title": title, "text": text}
            response = visit.page("storefront/problem.html", facts, status=status, keep_seconds=0)
    except Exception:
        # The last resort must not fail for what the page failed for.
        log.exception("storefront_problem_page_failed", site=visit.site.host)
        response = _plain(title, text, status)
    if wait:
        response["Retry-After"] = str(wait)
    return response


def _sentence(text: str, status: int) -> HttpResponse:
    response = HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
    response["Cache-Control"] = "no-store"
    response["HX-Reswap"] = "none"
    response["HX-Push-Url"] = "false"
    return response


def closed() -> HttpResponse:
    """Answer for a storefront that is not open, without saying whose it is or why."""
    return _plain("There is no page here", "The address may be mistyped.", 404)


def unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    """Answer where it is not known whose host this is, because the database is away."""
    log.error("database_unreachable", error=str(error).splitlines()[0])
    title, text = PROBLEMS[503]
    response = _plain(title, text, 503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _plain(title: str, text: str, status: int) -> HttpResponse:
    facts: dict[str, Any] = {"title": title, "text": text}
    response = HttpResponse(render_to_string("storefront/plain.html", facts), status=status)
    response["Cache-Control"] = "no-store"
    return response
