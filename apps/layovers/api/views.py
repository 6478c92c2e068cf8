"""The analysis of a layover."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.flags.context import request_context
from apps.flags.runtime import flags
from apps.flights.airports import airports
from apps.flights.parameters import SEARCH_PARAMETERS
from apps.layovers.api.parameters import ANALYSIS_PARAMETERS, PASSPORT
from apps.layovers.api.serializers import LayoverAnalysisSerializer
from apps.layovers.hits import HIT, MISS, STALE
from apps.layovers.keeping import Asked, kept_analysis, weights_of
from apps.layovers.questions import parse_question
from apps.layovers.searching import MAXIMUM_LIMIT, parse_search, search_with_analyses
from apps.tenants.api.authentication import principal_of, require_scope
from apps.tenants.models import Scope
from layoverhq.openapi import JSON, problem_responses

# RFC 9211.
CACHE_STATUS = {
    HIT: "layovers; hit",
    STALE: "layovers; hit; ttl=-1",
    MISS: "layovers; fwd=miss; stored",
}


class LayoverAnalysisView(APIView):
    required_scope = Scope.LAYOVERS_READ

    @extend_schema(
        operation_id="layover_analysis",
        summary="What a layover is worth",
        description=(
            "Usable time with its parts, a plan for the city, weather, daylight, visa and bags, the"
            " connection's safety, and a score with its components. Every faulty parameter is"
            " named in the answer's `errors`."
        ),
        parameters=ANALYSIS_PARAMETERS,
        responses={
            (200, JSON): LayoverAnalysisSerializer,
            **problem_responses(400, 401, 403, 503),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        now = timezone.now()
        question = parse_question(
            request.META.get("QUERY_STRING", ""), zones=airports.get(), now=now
        )
        principal = principal_of(request)
        # Without a traveller the enterprise is its own unit of a rollout.
        context = {"user": str(principal.enterprise_id), **request_context(request)}
        asked = Asked(
            question,
            weights_of(principal.tenant),
            real_time_weather=flags.enabled("real_time_weather", context),
        )
        answered = kept_analysis(asked, now=now)
        return HttpResponse(
            answered.body,
            content_type=JSON,
            headers={
                "Cache-Control": "private, no-cache",
                "Cache-Status": CACHE_STATUS[answered.state],
            },
        )


class AnalysedSearchView(APIView):
    # And `flights:read`: whoever may read offers and layovers apart may read them together.
    required_scope = Scope.LAYOVERS_READ

    @extend_schema(
        operation_id="search_with_analyses",
        summary="Search flight offers, with what each layover is worth",
        description=(
            "As `GET /flights/search`, with the same parameters; each layover has its `analysis`,"
            " as `GET /layovers/analysis` answers it, or null where none can be made. A page has"
            f" {MAXIMUM_LIMIT} offers at most."
        ),
        parameters=[*SEARCH_PARAMETERS, PASSPORT],
        responses={
            (200, JSON): OpenApiTypes.OBJECT,
            **problem_responses(400, 401, 403, 503),
        },
    )
    def get(self, request: Request) -> Response:
        principal = principal_of(request)
        require_scope(principal, Scope.FLIGHTS_READ)
        now = timezone.now()
        zones = airports.get()
        search, passport = parse_search(request.META.get("QUERY_STRING", ""), zones=zones, now=now)
        answer = search_with_analyses(
            principal.tenant,
            search,
            passport=passport,
            zones=zones,
            context={"user": str(principal.enterprise_id), **request_context(request)},
            now=now,
        )
        return Response(answer)
