"""Expected refusals, and their one translation into problem+json (RFC 9457)."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import psycopg
import structlog
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions as drf
from rest_framework.response import Response

from layoverhq import context

log = structlog.get_logger(__name__)

PROBLEM_CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
STORAGE_FULL = "Nothing more can be stored at the moment."


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused: its name as the caller sent it, a code and a sentence."""

    field: str
    code: str
    detail: str


class DomainError(Exception):
    """The request was refused."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, detail: str = "", errors: Sequence[FieldError] = ()) -> None:
        self.detail = detail or (type(self).__doc__ or "").splitlines()[0]
        self.errors = tuple(errors)
        super().__init__(self.detail)

    @property
    def title(self) -> str:
        return (type(self).__doc__ or self.code).splitlines()[0].rstrip(".")


class InvalidInput(DomainError):
    """The request has fields that cannot be used."""

    code = "invalid_input"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(" ".join(f"{error.field}: {error.detail}" for error in errors), errors)

    @classmethod
    def of(cls, field: str, detail: str, *, code: str = "invalid") -> InvalidInput:
        """Build the refusal of a single field."""
        return cls([FieldError(field, code, detail)])


class Conflict(DomainError):
    """The request clashes with what is stored."""

    code = "conflict"
    status = 409


class StaleVersion(Conflict):
    """Somebody changed it meanwhile."""

    code = "stale_version"


class NeedsApproval(DomainError):
    """What is protected changes only with the approval of a second person."""

    code = "needs_approval"
    status = 403


class NotYours(DomainError):
    """Whoever took part in a change cannot approve it."""

    code = "own_change"
    status = 403


class Unavailable(DomainError):
    """The service cannot answer at the moment."""

    code = "unavailable"
    status = 503
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class QueryTimeout(Unavailable):
    """The query took longer than it may."""

    code = "query_timeout"


def problem(
    status: int, title: str, *, code: str, detail: str = "", errors: Sequence[FieldError] = ()
) -> dict[str, Any]:
    """Return the problem+json document."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
    }
    if detail:
        document["detail"] = detail
    if errors:
        document["errors"] = [asdict(error) for error in errors]
    if request_id := context.current().request_id:
        document["request_id"] = request_id
    return document


def problem_response(
    status: int, title: str, *, code: str, detail: str = "", errors: Sequence[FieldError] = ()
) -> JsonResponse:
    """Return the problem outside of DRF: from middleware and Django's own error handlers."""
    response = JsonResponse(
        problem(status, title, code=code, detail=detail, errors=errors),
        status=status,
        content_type=PROBLEM_CONTENT_TYPE,
    )
    if status == Unavailable.status:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


# Database constraints that a caller can run into, by name: the field and what to say of it.
CONSTRAINTS: dict[str, tuple[str, str]] = {
    "enterprises_slug_living": ("slug", "An enterprise with this slug exists already."),
    "enterprises_slug_shape": ("slug", "Use lower-case letters, digits and single hyphens."),
    "users_email_living": ("email", "A user with this email exists already."),
    "domains_domain_key": ("domain", "This domain belongs to an enterprise already."),
    "travellers_reference_key": ("reference", "A traveller has it already."),
    "saved_searches_traveller": ("traveller_id", "There is no such traveller any more."),
    "trips_traveller": ("traveller_id", "There is no such traveller any more."),
}


def from_constraint(error: IntegrityError) -> DomainError | None:
    """Return what to tell the caller of a violated constraint, or None where it is unknown."""
    diagnostics = getattr(error.__cause__, "diag", None)
    name = diagnostics.constraint_name if diagnostics else None
    if isinstance(error.__cause__, psycopg.errors.CheckViolation) and not name:
        # The only check without a name is that of partitions.
        return Unavailable("Nothing can be kept at the moment for the month that this belongs to.")
    if name not in CONSTRAINTS:
        return None
    field, detail = CONSTRAINTS[name]
    return Conflict(detail, [FieldError(field, "conflict", detail)])


def _flatten(detail: Any, field: str = "") -> Iterator[FieldError]:
    """Yield DRF's nested validation errors as flat ones, with dotted field names."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            yield from _flatten(value, ".".join(part for part in (field, name) if part))
    elif isinstance(detail, list):
        for item in detail:
            yield from _flatten(item, field)
    else:
        yield FieldError(field or "body", getattr(detail, "code", "invalid"), str(detail))


def _translate(error: Exception) -> DomainError | drf.APIException | None:
    if isinstance(error, DomainError | drf.APIException):
        return error
    if isinstance(error, Http404):
        return drf.NotFound()
    if isinstance(error, PermissionDenied):
        return drf.PermissionDenied()
    if isinstance(error, IntegrityError):
        return from_constraint(error)
    if is_storage_full(error):
        return Unavailable(STORAGE_FULL)
    if isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError):
        return Unavailable("The database cannot be reached.")
    return None


def is_storage_full(error: BaseException) -> bool:
    """Return whether a disk is full: this machine's, or the database's."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error.__cause__ or error, psycopg.errors.DiskFull)


def exception_handler(error: Exception, info: dict[str, Any]) -> Response | None:
    """Translate any exception of an API view; unknown ones become Django's 500."""
    known = _translate(error)
    if known is None:
        return None
    if isinstance(known, DomainError):
        document = problem(
            known.status, known.title, code=known.code, detail=known.detail, errors=known.errors
        )
        headers = dict(known.headers)
    else:
        fields = list(_flatten(known.detail)) if isinstance(known, drf.ValidationError) else []
        document = problem(
            known.status_code,
            HTTPStatus(known.status_code).phrase,
            code=known.default_code,
            detail="" if fields else str(known.detail),
            errors=fields,
        )
        headers = {}
        if challenge := getattr(known, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        if wait := getattr(known, "wait", None):
            headers["Retry-After"] = str(int(wait))
    if is_storage_full(error):
        log.error("storage_full", error=str(error).splitlines()[0])
    elif isinstance(error, DatabaseError):
        log.warning("database_refused", error=str(error).splitlines()[0])
    return Response(
        document,
        status=document["status"],
        headers=headers,
        content_type=PROBLEM_CONTENT_TYPE,
    )


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer what Django refuses before any view, such as an oversized body."""
    return problem_response(400, "Bad request", code="bad_request", detail="Malformed request.")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer a path that leads nowhere."""
    return problem_response(404, "Not found", code="not_found")


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer a defect of ours without showing it."""
    return problem_response(500, "Server error", code="server_error")
