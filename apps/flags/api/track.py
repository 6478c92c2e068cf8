"""Events and exposures that tenants report."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.flags.experiments import EVENT_PATTERN
from apps.flags.exposing import LONGEST_UNIT
from apps.flags.tracking import LONGEST_ID, MAXIMUM_EVENTS, track
from apps.tenants.api.authentication import principal_of
from apps.tenants.models import Scope
from layoverhq.errors import InvalidInput
from layoverhq.openapi import JSON, problem_responses
from layoverhq.parsers import StrictJSONParser
from layoverhq.query_string import parse_query


class TrackedEntrySerializer(serializers.Serializer[None]):
    type = serializers.ChoiceField(
        choices=[("event", "event"), ("exposure", "exposure")],
        default="event",
        help_text="An event that goals count, or a meeting with a flag that you evaluate yourself.",
    )
    id = serializers.CharField(
        required=False,
        max_length=LONGEST_ID,
        help_text="Of an event: with `occurred_at`, it is kept once however often it is sent.",
    )
    event = serializers.RegexField(f"^{EVENT_PATTERN}$", required=False)
    unit = serializers.CharField(
        required=False,
        max_length=LONGEST_UNIT,
        help_text="What the flag divides by, as in the context. `user` is another name of it.",
    )
    user = serializers.CharField(required=False, max_length=LONGEST_UNIT)
    value = serializers.FloatField(required=False, allow_null=True)
    occurred_at = serializers.DateTimeField(
        required=False, help_text="Now, if it is missing; at most 30 days back."
    )
    flag = serializers.CharField(required=False, help_text="Of an exposure.")
    context = serializers.DictField(
        required=False,
        help_text="Of an exposure: the attributes. Which variant it is we evaluate ourselves.",
    )  # type: ignore[assignment]  # a name of DRF's own


class TrackRequestSerializer(serializers.Serializer[None]):
    events = serializers.ListField(
        child=TrackedEntrySerializer(), min_length=1, max_length=MAXIMUM_EVENTS
    )


class TrackResponseSerializer(serializers.Serializer[None]):
    accepted = serializers.IntegerField(help_text="How many entries the batch had.")


class TrackView(APIView):
    required_scope = Scope.EVENTS_WRITE
    parser_classes = (StrictJSONParser,)

    @extend_schema(
        operation_id="track_events",
        summary="Report what travellers did, for experiments",
        description=(
            f"Up to {MAXIMUM_EVENTS} entries, taken all or not at all; `errors` names what is"
            " wrong by its place, such as `events[3].unit`."
        ),
        request={JSON: TrackRequestSerializer},
        responses={
            (202, JSON): TrackResponseSerializer,
            **problem_responses(400, 401, 403, 415, 503),
        },
    )
    def post(self, request: Request) -> Response:
        faults: list[Any] = []
        parse_query(request.META.get("QUERY_STRING", ""), (), faults)
        if faults:
            raise InvalidInput(faults)
        accepted = track(tenant=principal_of(request).tenant, body=request.data, now=timezone.now())
        return Response({"accepted": accepted}, status=202)
