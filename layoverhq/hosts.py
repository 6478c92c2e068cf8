"""Host names: which one a request asks for, and which are the platform's own."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port


def requested_host(request: HttpRequest) -> str:
    """Return the host name that was asked for, in lower case and without port; empty if it is none.

    Forwarded hosts are not believed: a proxy hands the Host header on as it is.
    """
    given = request.META.get("HTTP_HOST") or request.META.get("SERVER_NAME", "")
    host, _ = split_domain_port(given)
    return host


def is_platforms(host: str) -> bool:
    """Return whether this is the platform's own host, which no enterprise can take."""
    return any(host == allowed.lower().lstrip(".") for allowed in settings.ALLOWED_HOSTS)
