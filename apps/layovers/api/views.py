"""The analysis of a layover."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.flags.context import request_context
from apps.flags.runtime import flags
from apps.flights.airports import airports
from apps.layovers.api.parameters import ANALYSIS_PARAMETERS
from apps.layovers.api.serializers import LayoverAnalysisSerializer
from apps.layovers.hits import HIT, MISS, STALE
from apps.layovers.keeping import Asked, kept_analysis, weights_of
from apps.layovers.questions import parse_question
from apps.tenants.api.authentication import principal_of
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
