"""Request ids, the client's address, the operator's role, and faults as problem+json."""

from __future__ import annotations

import ipaddress
import re
import time
import uuid
from collections.abc import Callable

import psycopg
import structlog
from django.conf import settings
from django.db.utils import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from layoverhq import context
from layoverhq.errors import (
    STORAGE_FULL,
    FieldError,
    InvalidInput,
    Unavailable,
    is_storage_full,
    problem_response,
)
from layoverhq.tenancy import operator_scope

log = structlog.get_logger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
USER_AGENT_LENGTH = 300
API_PREFIX = "/api/"
# Flags answer OpenFeature's providers at the protocol's own address, with its own refusals.
PRIVATE_PREFIXES = (API_PREFIX, "/ofrep/")


def client_address(request: HttpRequest) -> str:
    """Return the client's address, as far as our own proxies vouch for it; empty if unknown."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.PROXY_COUNT:
        hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(hops) >= settings.PROXY_COUNT:
            address = hops[-settings.PROXY_COUNT].strip()
    try:
        # A link-local address may come with a zone, which PostgreSQL's inet cannot hold.
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return ""


class RequestContextMiddleware:
    """Give each request an id (the caller's if usable), bind its context and log one line."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        agent = request.META.get("HTTP_USER_AGENT", "")[:USER_AGENT_LENGTH]
        started = time.perf_counter()
        with context.bind(
            request_id=request_id,
            ip=client_address(request),
            user_agent=agent.replace("\x00", "").encode("utf-8", "replace").decode(),
        ):
            response = self.get_response(request)
            response["X-Request-ID"] = request_id
            if request.path.startswith(PRIVATE_PREFIXES):
                # A cache that ignores Authorization would hand one tenant's answer to the next.
                response.setdefault("Cache-Control", "private, no-store")
            log.info(
                "request",
                method=request.method,
                path=request.path,
                status=response.status_code,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
        return response


class FaultMiddleware:
    """Turn faults that reach no API handler into problems: no database, an oversized body."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path.startswith(API_PREFIX):
            length = request.META.get("CONTENT_LENGTH") or "0"
            limit = settings.API_BODY_LIMITS.get(request.path, settings.API_BODY_LIMIT_BYTES)
            if not length.isdecimal() or int(length) > limit:
                detail = f"At most {limit} bytes."
                refusal = InvalidInput([FieldError("body", "too_large", detail)])
                return problem_response(
                    400, refusal.title, code=refusal.code, errors=refusal.errors
                )
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if is_storage_full(error):
            log.error("storage_full", error=str(error).splitlines()[0])
            return _unavailable(STORAGE_FULL)
        if isinstance(error, UNREACHABLE):
            return database_unreachable(error)
        return None


UNREACHABLE = (OperationalError, InterfaceError, psycopg.OperationalError)


def database_unreachable(error: Exception) -> HttpResponse:
    """Answer that the database is away, and log why."""
    log.error("database_unreachable", error=str(error).splitlines()[0])
    return _unavailable("The database cannot be reached.")


def _unavailable(detail: str) -> HttpResponse:
    return problem_response(
        Unavailable.status,
        "The service cannot answer at the moment",
        code=Unavailable.code,
        detail=detail,
    )


class OperatorMiddleware:
    """Let the admin's pages, sessions and users be read with the operator's role."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.prefix = reverse("admin:index")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(self.prefix):
            return self.get_response(request)
        with operator_scope():
            return self.get_response(request)
