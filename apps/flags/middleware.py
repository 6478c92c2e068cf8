"""Requests that goals of running experiments count."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.flags.experiments import API_EVENT
from apps.flags.exposing import api_usage
from apps.flags.runtime import flags
from apps.tenants.directory import Principal
from layoverhq.middleware import API_PREFIX, GetResponse


class ApiGoalMiddleware:
    """Count a request that succeeded, where a running experiment asks for its route."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.path.startswith(API_PREFIX) and (routes := flags.routes()):
            self._count(request, response, routes)
        return response

    def _count(
        self, request: HttpRequest, response: HttpResponseBase, routes: frozenset[str]
    ) -> None:
        match = request.resolver_match
        event = f"{API_EVENT}{match.url_name}" if match else ""
        # REST framework leaves there who called.
        principal = getattr(request, "auth", None)
        if event in routes and response.status_code < 400 and isinstance(principal, Principal):
            api_usage.see(event, principal.enterprise_id)
