"""The project's addresses, and some whose views fail in every way there is."""

from __future__ import annotations

import errno
from typing import Any, ClassVar

import psycopg
import structlog
from django.core.exceptions import PermissionDenied
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from layoverhq import context
from layoverhq.errors import Conflict, DomainError, FieldError, InvalidInput, QueryTimeout
from layoverhq.urls import handler400, handler404, handler500
from layoverhq.urls import urlpatterns as project_urls

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]

SECRET = "what only the log may know"


class OutOfSeats(DomainError):
    """No seat is left."""

    code = "out_of_seats"
    status = 409


FAULTS: dict[str, Exception] = {
    "domain": OutOfSeats("Row 12 is taken."),
    "domain_plain": OutOfSeats(),
    "invalid": InvalidInput(
        [
            FieldError("origin", "unknown", "Unknown airport."),
            FieldError("limit", "range", "From 1 to 100."),
        ]
    ),
    "conflict": Conflict("It exists."),
    "timeout": QueryTimeout("The query took longer than 30 s."),
    "http404": Http404("row 5 of " + SECRET),
    "denied": PermissionDenied(SECRET),
    "drf_validation": drf.ValidationError(
        {"trip": {"legs": [{"origin": ["Unknown."]}]}, "non_field_errors": ["Odd."]}
    ),
    "drf_validation_list": drf.ValidationError(["Odd."]),
    "drf_not_acceptable": drf.NotAcceptable(),
    "drf_media_type": drf.UnsupportedMediaType("text/x"),
    "drf_method": drf.MethodNotAllowed("BREW"),
    "drf_parse": drf.ParseError(),
    "throttled": drf.Throttled(wait=7),
    "operational": OperationalError(SECRET),
    "interface": InterfaceError(SECRET),
    "psycopg": psycopg.OperationalError(SECRET),
    "full": OSError(errno.ENOSPC, SECRET),
    "full_database": psycopg.errors.DiskFull(SECRET),
    "integrity": IntegrityError(SECRET),
    "data": DataError(SECRET),
    "defect": KeyError(SECRET),
}


class FaultyView(APIView):
    authentication_classes: ClassVar[list[Any]] = []
    permission_classes: ClassVar[list[Any]] = []

    def get(self, request: Request, fault: str) -> Response:
        raise FAULTS[fault]


def faulty_page(request: HttpRequest, fault: str) -> HttpResponse:
    raise FAULTS[fault]


def circumstances(request: HttpRequest) -> JsonResponse:
    """Answer what the context knows, and log a line."""
    bound = context.current()
    structlog.get_logger(__name__).info("inside")
    return JsonResponse(
        {"request_id": bound.request_id, "ip": bound.ip, "user_agent": bound.user_agent}
    )


urlpatterns = [
    *project_urls,
    path("api/v1/fault/<str:fault>", FaultyView.as_view()),
    path("page/fault/<str:fault>", faulty_page),
    path("circumstances", circumstances),
]
