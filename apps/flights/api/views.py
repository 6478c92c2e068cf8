"""The search."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.flags.context import request_context
from apps.flights.airports import airports
from apps.flights.api.serializers import FlightSearchResponseSerializer
from apps.flights.grammar import parse_flight_search
from apps.flights.parameters import SEARCH_PARAMETERS
from apps.flights.queries import search_flights
from apps.tenants.api.authentication import principal_of
from apps.tenants.models import Scope
from layoverhq.openapi import JSON, problem_responses


class FlightSearchView(APIView):
    required_scope = Scope.FLIGHTS_READ

    @extend_schema(
        operation_id="search_flights",
        summary="Search flight offers by their layovers",
        description=(
            "Shared offers and your enterprise's private ones, in one order. Every faulty"
            " parameter is named in the answer's `errors`."
        ),
        parameters=SEARCH_PARAMETERS,
        responses={
            (200, JSON): FlightSearchResponseSerializer,
            **problem_responses(400, 401, 403, 503),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        search = parse_flight_search(
            request.META.get("QUERY_STRING", ""), zones=airports.get(), now=timezone.now()
        )
        body = search_flights(
            principal_of(request).tenant, search, context=request_context(request)
        )
        return HttpResponse(body, content_type="application/json")
