"""Imports of private offers: a body that streams to a file, and how far its loading is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.flights.api.serializers import (
    OfferImportPageSerializer,
    OfferImportSerializer,
    OfferRejectSerializer,
)
from apps.flights.imports import Spool, receive_import, spool
from apps.flights.models import OfferImport, OfferReject
from apps.flights.offers.formats import CSV, NDJSON
from apps.tenants.api.authentication import principal_of
from apps.tenants.models import Scope
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.openapi import JSON, problem_responses, query_parameter
from layoverhq.query_string import parse_query
from layoverhq.tenancy import tenant_scope

ENCODINGS = ("", "identity", "gzip")
PAGE = 100
LARGEST_LINE_NUMBER = 2**62


class SpoolingParser(BaseParser):
    """Moves the body to a file; raises InvalidInput of an incomplete one."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        request: Request = (parser_context or {})["request"]
        return spool(stream, expected=int(request.META.get("CONTENT_LENGTH") or 0))


class LinesParser(SpoolingParser):
    media_type = NDJSON


class TableParser(SpoolingParser):
    media_type = CSV


class FlightImportView(APIView):
    required_scope = Scope.FLIGHTS_WRITE
    parser_classes = (LinesParser, TableParser)

    @extend_schema(
        operation_id="import_flights",
        summary="Send private offers, one a line",
        description=(
            "As JSON objects or as CSV with a header, plain or gzip. The offers are loaded by a"
            " job, all that can be used at once; ask for it under its id. The same body, or the"
            " same Idempotency-Key, is the same job."
        ),
        request={NDJSON: OpenApiTypes.BINARY, CSV: OpenApiTypes.BINARY},
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                type={"type": "string", "pattern": "^[!-~]{1,255}$"},
                location=OpenApiParameter.HEADER,
                description="Names the request: sent again, it is the same job.",
            )
        ],
        responses={
            (202, JSON): OfferImportSerializer,
            **problem_responses(400, 401, 403, 409, 415, 429, 503),
        },
    )
    def post(self, request: Request) -> Response:
        faults: list[FieldError] = []
        parse_query(request.META.get("QUERY_STRING", ""), (), faults)
        if faults:
            raise InvalidInput(faults)
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            raise UnsupportedMediaType(encoding, "Send the body plain or as gzip.")
        body = request.data
        if not isinstance(body, Spool):
            detail = "Send the offers, with a Content-Length."
            raise InvalidInput.of("body", detail, code="required")
        with body.file:
            if encoding == "gzip" and not body.is_gzip:
                raise InvalidInput.of("body", "This is no gzip.", code="not_gzip")
            job = receive_import(
                tenant=principal_of(request).tenant,
                body=body,
                content_type=CSV if _media_type(request) == CSV else NDJSON,
                idempotency_key=request.headers.get("Idempotency-Key"),
            )
        return Response(OfferImportSerializer(job).data, status=202)


class FlightImportJobView(APIView):
    required_scope = Scope.FLIGHTS_WRITE

    @extend_schema(
        operation_id="flight_import",
        summary="How far an import is, and which lines were refused",
        parameters=[
            query_parameter(
                "after",
                f"Refused lines after this one, {PAGE} a page: `next` of the page before.",
                {"type": "integer", "minimum": 0, "maximum": LARGEST_LINE_NUMBER},
            )
        ],
        responses={
            (200, JSON): OfferImportPageSerializer,
            **problem_responses(400, 401, 403, 404, 503),
        },
    )
    def get(self, request: Request, import_id: UUID) -> Response:
        after = _after(request.META.get("QUERY_STRING", ""))
        tenant = principal_of(request).tenant
        with tenant_scope(tenant):
            job = OfferImport.objects.filter(enterprise_id=tenant.id, pk=import_id).first()
            if job is None:
                raise Http404
            rejects = list(
                OfferReject.objects.filter(
                    enterprise_id=tenant.id, offer_import=job, line__gt=after
                ).order_by("line")[: PAGE + 1]
            )
        page = {
            "errors": OfferRejectSerializer(rejects[:PAGE], many=True).data,
            "next": rejects[PAGE - 1].line if len(rejects) > PAGE else None,
        }
        return Response({**OfferImportSerializer(job).data, **page})


def _media_type(request: Request) -> str:
    return (request.content_type or "").partition(";")[0].strip().lower()


def _after(query_string: str) -> int:
    faults: list[FieldError] = []
    given = parse_query(query_string, ("after",), faults).get("after", "0")
    if not faults and not (
        given.isascii() and given.isdecimal() and int(given[:20]) <= LARGEST_LINE_NUMBER
    ):
        faults.append(FieldError("after", "invalid", "Give the number of a line."))
    if faults:
        raise InvalidInput(faults)
    return int(given)
