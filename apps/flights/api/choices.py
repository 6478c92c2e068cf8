"""What travellers chose, as tenants report it."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.flags.exposing import LONGEST_UNIT
from apps.flights.choices import LONGEST_ID, MAXIMUM_SHOWN, read_choice, record_choice
from apps.tenants.api.authentication import principal_of
from apps.tenants.models import Scope
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.openapi import JSON, problem_responses
from layoverhq.parsers import StrictJSONParser
from layoverhq.query_string import parse_query


class OfferChoiceRequestSerializer(serializers.Serializer[None]):
    id = serializers.CharField(
        max_length=LONGEST_ID, help_text="Your own: told again, it is the same choice."
    )
    offer_id = serializers.UUIDField(help_text="The offer that was chosen.")
    departure_date = serializers.DateField(help_text="Of that offer, as it was searched for.")
    user = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=LONGEST_UNIT,
        help_text="Who chose, by any id of yours; only its digest is kept.",
    )
    booked = serializers.BooleanField(
        default=False, help_text="Whether it was booked; true may follow with the same `id`."
    )
    shown = serializers.ListField(
        child=serializers.UUIDField(),
        default=list,
        max_length=MAXIMUM_SHOWN,
        help_text="The offers of the same search that the traveller saw beside it.",
    )


class OfferChoiceSerializer(serializers.Serializer[None]):
    id = serializers.CharField()
    repeated = serializers.BooleanField(help_text="Whether it was known already.")


class OfferChoiceView(APIView):
    required_scope = Scope.EVENTS_WRITE
    parser_classes = (StrictJSONParser,)

    @extend_schema(
        operation_id="report_choice",
        summary="Report which offer a traveller chose, beside which others",
        description=(
            "Your search learns from it. Report it while the offers can still be bought: what they"
            " are worth then is kept."
        ),
        request={JSON: OfferChoiceRequestSerializer},
        responses={
            (200, JSON): OfferChoiceSerializer,
            (201, JSON): OfferChoiceSerializer,
            **problem_responses(400, 401, 403, 409, 415, 503),
        },
    )
    def post(self, request: Request) -> Response:
        faults: list[FieldError] = []
        parse_query(request.META.get("QUERY_STRING", ""), (), faults)
        if faults:
            raise InvalidInput(faults)
        choice = read_choice(request.data)
        is_new = record_choice(tenant=principal_of(request).tenant, choice=choice)
        return Response({"id": choice.id, "repeated": not is_new}, status=201 if is_new else 200)
