"""How long an operator's session lives without a request: `security.session_timeout`."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.contrib import messages
from django.contrib.auth import SESSION_KEY, logout
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from apps.configs.runtime import configs
from layoverhq.admin_site import back
from layoverhq.middleware import UNREACHABLE, database_unreachable

log = structlog.get_logger(__name__)

SEEN_AT = "seen_at"
UNATTENDED = "X-Unattended"
"""The header of what a page asks by itself: it keeps no session alive."""

# How far the time that a session was last seen may be behind: each step costs a write.
LAG_SECONDS = 60
LAG_SHARE = 0.1


class IdleSessionMiddleware:
    """End a session that made no request for `security.session_timeout` seconds.

    The value that holds at the request decides, for standing sessions too. A session ends up to
    a minute, or a tenth of the timeout, early and never late.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.prefix = reverse("admin:index")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(self.prefix):
            return self.get_response(request)
        try:
            timeout = configs.get("security.session_timeout")
            ended = _is_idle(request, timeout)
            if ended:
                logout(request)
        except UNREACHABLE as error:
            return database_unreachable(error)
        if ended:
            log.info("session_ended_idle", timeout=timeout)
            messages.info(request, "You were away for a while: log in again.")
            if "HX-Request" in request.headers:
                # Otherwise the login would stand in the place of a piece of the page.
                return back(request)
        response = self.get_response(request)
        _note_seen(request, timeout)
        return response


def _is_idle(request: HttpRequest, timeout: float) -> bool:
    session = request.session
    return SESSION_KEY in session and time.time() - session.get(SEEN_AT, time.time()) > timeout


def _note_seen(request: HttpRequest, timeout: float) -> None:
    """Remember the request, unless the last one remembered is recent, or the page asked itself."""
    session, now = request.session, time.time()
    if SESSION_KEY not in session:
        return
    if SEEN_AT not in session or (
        UNATTENDED not in request.headers
        and now - session[SEEN_AT] >= min(LAG_SECONDS, timeout * LAG_SHARE)
    ):
        session[SEEN_AT] = int(now)
