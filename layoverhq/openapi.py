"""How the OpenAPI document tells of query parameters and of problems."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from layoverhq.errors import PROBLEM_CONTENT_TYPE

JSON = "application/json"

DESCRIPTIONS = {
    400: "A field cannot be used; `errors` names each.",
    401: "No usable API key.",
    403: "The key lacks the scope, or the enterprise is suspended.",
    404: "Not found.",
    409: "Somebody was faster; `errors` names the version that is stale.",
    415: "The body is not of the type that this takes.",
    429: "Too many at once; see Retry-After.",
    503: "The service cannot answer at the moment; see Retry-After.",
}


class FieldErrorSerializer(serializers.Serializer[None]):
    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[None]):
    """RFC 9457 problem details."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField(required=False)
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]
    request_id = serializers.CharField(required=False)


def query_parameter(
    name: str, description: str, schema: dict[str, Any], *, required: bool = False
) -> OpenApiParameter:
    """Return a parameter of the query string, by its JSON schema."""
    return OpenApiParameter(
        name,
        type=schema,
        location=OpenApiParameter.QUERY,
        required=required,
        description=description,
    )


def problem_responses(*statuses: int) -> dict[tuple[int, str], Any]:
    """Return the problem+json responses of an operation, for extend_schema."""
    return {
        (status, PROBLEM_CONTENT_TYPE): OpenApiResponse(
            ProblemSerializer, description=DESCRIPTIONS[status]
        )
        for status in statuses
    }


# Of what `conditional` answers.
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    type=str,
    location=OpenApiParameter.HEADER,
    description="Entity tags of answers that you have: 304 if one of them still is the answer.",
)
NOT_MODIFIED: dict[Any, Any] = {
    304: OpenApiResponse(description="What you have still holds; no body.")
}
REMOVES: dict[Any, Any] = {
    204: OpenApiResponse(description="It is gone."),
    **problem_responses(400, 401, 403, 404, 409, 503),
}
