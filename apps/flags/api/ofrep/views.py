"""OpenFeature's remote evaluation protocol (OFREP) 0.3: a tenant's flags, from memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.flags.api.ofrep.authentication import HEADER, KeyHeaderAuthentication
from apps.flags.api.ofrep.contexts import evaluation_context
from apps.flags.api.ofrep.errors import (
    ContextTooLarge,
    EvaluationRefused,
    FlagNotFound,
    ofrep_exception_handler,
)
from apps.flags.api.ofrep.listings import listing
from apps.flags.api.ofrep.serializers import (
    BulkEvaluationSerializer,
    BulkRefusalSerializer,
    EvaluationRequestSerializer,
    EvaluationSerializer,
    FlagNotFoundSerializer,
    RefusalSerializer,
    refusals,
)
from apps.flags.runtime import flags
from apps.tenants.api.authentication import ApiKeyAuthentication, principal_of
from apps.tenants.models import Scope
from layoverhq.answers import Answer, conditional, response_of
from layoverhq.openapi import JSON, NOT_MODIFIED
from layoverhq.parsers import StrictJSONParser

LIMIT_BYTES = 262_144
# Processes learn of a change one by one: an event may arrive before this one knows of it.
AS_OF = "X-Flags-Version"
# What a provider sends that was told of a change: it must not be answered that nothing changed.
CHANGE_TOLD = ("flagConfigEtag", "flagConfigLastModified")

AS_OF_HEADER = OpenApiParameter(
    AS_OF,
    type=int,
    location=OpenApiParameter.HEADER,
    response=[200, 304],
    description=(
        "The version of the flags that the answer is as of, at least. After an event of a later"
        " one, ask again."
    ),
)


class OfrepView(APIView):
    """Answers with the protocol's documents, whatever goes wrong."""

    required_scope = Scope.FLAGS_READ
    authentication_classes = (KeyHeaderAuthentication, ApiKeyAuthentication)
    parser_classes = (StrictJSONParser,)
    http_method_names = ["post"]  # noqa: RUF012 - as Django's View has it

    def get_exception_handler(self) -> Callable[..., Any]:
        return ofrep_exception_handler

    def context_of(self, request: Request) -> dict[str, Any]:
        """Return the context to evaluate in. Raises EvaluationRefused and InvalidInput."""
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > LIMIT_BYTES:
            raise ContextTooLarge(f"At most {LIMIT_BYTES:,} bytes.")
        return evaluation_context(principal_of(request), request.data)


class FlagView(OfrepView):
    @extend_schema(
        operation_id="evaluate_flag",
        tags=["ofrep"],
        summary="One flag for a context",
        description="The protocol is OFREP 0.3: give your OpenFeature provider this server's URL.",
        parameters=[AS_OF_HEADER],
        request={JSON: EvaluationRequestSerializer},
        responses={
            (200, JSON): EvaluationSerializer,
            **refusals(RefusalSerializer),
            (404, JSON): OpenApiResponse(
                FlagNotFoundSerializer, description="There is no such flag, or none for tenants."
            ),
        },
    )
    def post(self, request: Request, key: str) -> HttpResponseBase:
        context = self.context_of(request)
        while True:
            content = flags.directory.get()
            definition = content.definitions.get(key)
            if definition is None or not definition.tenant_visible:
                raise FlagNotFound
            version = flags.directory.version
            evaluation = flags.evaluate(key, context)
            # Else a change came in between, and the metadata would be of another version.
            if flags.directory.get() is content:
                break
        if evaluation.error_code:
            raise EvaluationRefused("The flag cannot be evaluated.")
        text = listing(content).text(key, evaluation)
        return HttpResponse(text, content_type=JSON, headers={AS_OF: str(version)})


class FlagsView(OfrepView):
    @extend_schema(
        operation_id="evaluate_flags",
        tags=["ofrep"],
        summary="All flags for a context",
        description=(
            "Every flag that tenants see, by name. A provider that was told of a change sends"
            " `flagConfigEtag` or `flagConfigLastModified` and always gets the whole."
        ),
        parameters=[
            OpenApiParameter(
                "If-None-Match",
                type=str,
                location=OpenApiParameter.HEADER,
                description="Entity tags of answers that you have: 304 if one is the answer still.",
            ),
            OpenApiParameter("flagConfigEtag", type=OpenApiTypes.STR),
            OpenApiParameter("flagConfigLastModified", type=OpenApiTypes.STR),
            AS_OF_HEADER,
        ],
        request={JSON: EvaluationRequestSerializer},
        responses={
            (200, JSON): BulkEvaluationSerializer,
            **NOT_MODIFIED,
            **refusals(BulkRefusalSerializer),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        context = self.context_of(request)
        flags.directory.get()
        # Read before the content that is told, which is at least as new.
        version = flags.directory.version
        answer = Answer.of(listing(flags.directory.get()).bulk(context))
        query = request.META.get("QUERY_STRING", "")
        told = any(f"{name}=" in query for name in CHANGE_TOLD)
        response = response_of(answer) if told else conditional(request, answer)
        response.headers[AS_OF] = str(version)
        patch_vary_headers(response, [HEADER])
        return response
