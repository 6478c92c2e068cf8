"""A tenant's configuration: what holds for it, why, and its own values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.configs.api.answers import detail, explanation, listing
from apps.configs.api.serializers import (
    ConfigListSerializer,
    ConfigSerializer,
    ExplanationSerializer,
    OverrideRequestSerializer,
)
from apps.configs.models import KEY_PATTERN
from apps.configs.operations import UNSET, UnknownKey, set_override
from apps.configs.runtime import configs
from apps.tenants.api.authentication import principal_of
from apps.tenants.directory import Principal
from apps.tenants.models import Scope
from layoverhq import context
from layoverhq.answers import Answer, conditional, current, encoded, response_of
from layoverhq.errors import DomainError, FieldError, InvalidInput
from layoverhq.openapi import IF_NONE_MATCH, JSON, NOT_MODIFIED, problem_responses
from layoverhq.parsers import StrictJSONParser
from layoverhq.query_string import parse_query, printable
from layoverhq.tenancy import tenant_scope

KEY = re.compile(KEY_PATTERN)
LONGEST_KEY = 255
PREFIX = re.compile(r"[a-z0-9_.]{1,255}")
LONGEST_PREFIX = 300
VERSION = re.compile(r"[0-9]{1,10}")
MAXIMUM_VERSION = 2**31 - 1

# Processes learn of a change one by one: an event may arrive before this one knows of it.
AS_OF = "X-Config-Version"

NO_CONTENT: dict[Any, Any] = {204: OpenApiResponse(description="The platform's value holds again.")}
ELSEWHERE: dict[Any, Any] = {307: OpenApiResponse(description="The stream process has it.")}


class StreamElsewhere(DomainError):
    """Events are not streamed from here."""

    code = "not_routed"
    status = 404


class ConfigListView(APIView):
    required_scope = Scope.CONFIGS_READ

    @extend_schema(
        operation_id="configs",
        summary="What holds for your enterprise",
        description="Every key that tenants see, by name, from memory.",
        parameters=[
            OpenApiParameter(
                "prefix",
                type={"type": "string", "pattern": f"^{PREFIX.pattern}$", "example": "layover."},
                description="Only keys that begin so.",
            ),
            IF_NONE_MATCH,
            OpenApiParameter(
                AS_OF,
                type=int,
                location=OpenApiParameter.HEADER,
                response=[200, 304],
                description=(
                    "The version that the answer is as of, at least. After an event of a later"
                    " one, ask again."
                ),
            ),
        ],
        responses={
            (200, JSON): ConfigListSerializer,
            **NOT_MODIFIED,
            **problem_responses(400, 401, 403, 503),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        prefix = _query(request, {"prefix"}).get("prefix")
        if prefix is not None and not PREFIX.fullmatch(prefix):
            detail = "Give the beginning of a key: lower-case letters, digits, dots, underscores."
            raise InvalidInput.of("prefix", detail)
        tenant = principal_of(request).tenant
        configs.directory.get()
        # Read before the content that is told, which is at least as new.
        version = configs.directory.version
        response = conditional(request, listing(configs.directory.get(), tenant.id, prefix or ""))
        response.headers[AS_OF] = str(version)
        return response


class ConfigView(APIView):
    parser_classes = (StrictJSONParser,)

    @property
    def required_scope(self) -> Scope:
        reads = self.request.method in SAFE_METHODS
        return Scope.CONFIGS_READ if reads else Scope.CONFIGS_WRITE

    @extend_schema(
        operation_id="config",
        summary="One key, with your own value of it",
        parameters=[IF_NONE_MATCH],
        responses={
            (200, JSON): ConfigSerializer,
            **NOT_MODIFIED,
            **problem_responses(400, 401, 403, 404, 503),
        },
    )
    def get(self, request: Request, key: str) -> HttpResponseBase:
        _query(request)
        principal = principal_of(request)
        _check(key)
        with tenant_scope(principal.tenant):
            told = detail(principal.tenant, key)
        return current(request, told)

    @extend_schema(
        operation_id="set_config",
        summary="Set your own value",
        description=(
            "It goes before the platform's, at once and everywhere within a second. `version` is"
            " that of the value that it replaces, so that nobody's change is lost."
        ),
        request={JSON: OverrideRequestSerializer},
        responses={
            (200, JSON): OpenApiResponse(ConfigSerializer, description="It replaced your value."),
            (201, JSON): OpenApiResponse(ConfigSerializer, description="You had no value before."),
            **problem_responses(400, 401, 403, 404, 409, 415, 503),
        },
    )
    def put(self, request: Request, key: str) -> HttpResponseBase:
        _query(request)
        principal = principal_of(request)
        _check(key)
        value, version = _override(request.data)
        with _acting(principal):
            set_override(
                tenant=principal.tenant,
                key=key,
                value=value,
                version=version,
                reason=principal.key_label,
            )
            told = detail(principal.tenant, key)
        answer = Answer.of(encoded(told))
        return response_of(answer, status=200 if version else 201)

    @extend_schema(
        operation_id="clear_config",
        summary="Clear your own value",
        parameters=[
            OpenApiParameter(
                "version",
                type={"type": "integer", "minimum": 0, "maximum": MAXIMUM_VERSION},
                required=True,
                description="`override.version` as you read it.",
            )
        ],
        responses={
            **NO_CONTENT,
            **problem_responses(400, 401, 403, 404, 409, 503),
        },
    )
    def delete(self, request: Request, key: str) -> HttpResponseBase:
        principal = principal_of(request)
        _check(key)
        text = _query(request, {"version"}).get("version")
        if text is None:
            raise InvalidInput.of("version", "This parameter is required.", code="required")
        if not VERSION.fullmatch(text) or int(text) > MAXIMUM_VERSION:
            raise InvalidInput.of("version", f"Give a whole number from 0 to {MAXIMUM_VERSION}.")
        with _acting(principal):
            set_override(
                tenant=principal.tenant,
                key=key,
                value=UNSET,
                version=int(text),
                reason=principal.key_label,
            )
        return Response(status=204)


class ConfigExplainView(APIView):
    required_scope = Scope.CONFIGS_READ

    @extend_schema(
        operation_id="explain_config",
        summary="Which value holds for a key, and what it hides",
        responses={
            (200, JSON): ExplanationSerializer,
            **problem_responses(400, 401, 403, 404, 503),
        },
    )
    def get(self, request: Request, key: str) -> HttpResponseBase:
        _query(request)
        principal = principal_of(request)
        _check(key)
        with tenant_scope(principal.tenant):
            told = explanation(principal.tenant, key)
        return HttpResponse(encoded(told), content_type=JSON)


class EventsView(APIView):
    """Where the stream is: a process of its own serves it, since an open stream here would hold
    one of few threads."""

    required_scope = (Scope.CONFIGS_READ, Scope.FLAGS_READ)

    @extend_schema(
        operation_id="events",
        summary="Changes of configuration and of flags, as they happen",
        description=(
            "Server-sent events, from the `stream` process. `config_change` names a key and"
            " `flag_change` a flag, never a value; `reset` says that changes of a list were missed:"
            " read it anew. A key is told of what its scopes let it read."
        ),
        parameters=[
            OpenApiParameter(
                "Last-Event-ID",
                type=str,
                location=OpenApiParameter.HEADER,
                description="Where you left off: the last `id` that you got.",
            ),
            OpenApiParameter(
                "last_event_id", type=str, description="The same, where no header can be sent."
            ),
        ],
        responses={
            (200, "text/event-stream"): OpenApiTypes.STR,
            **ELSEWHERE,
            **problem_responses(400, 401, 403, 404, 429, 503),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        if not settings.STREAM_URL:
            raise StreamElsewhere("A proxy has to route this path to the stream process.")
        query = request.META.get("QUERY_STRING", "")
        address = f"{settings.STREAM_URL}{request.path}" + (f"?{query}" if query else "")
        return HttpResponseRedirect(address, preserve_request=True)


@contextmanager
def _acting(principal: Principal) -> Iterator[None]:
    """Run the block in the tenant's scope, with the key for the audit trail."""
    with context.bind(reason=principal.key_label), tenant_scope(principal.tenant):
        yield


def _query(request: Request, known: Collection[str] = ()) -> dict[str, str]:
    errors: list[FieldError] = []
    values = parse_query(
        request.META.get("QUERY_STRING", ""), known, errors, longest=LONGEST_PREFIX
    )
    if errors:
        raise InvalidInput(errors)
    return values


def _check(key: str) -> None:
    """Refuse what is no key before it gets anywhere."""
    if len(key) > LONGEST_KEY or not KEY.fullmatch(key):
        raise UnknownKey("There is no such key.")


def _override(body: Any) -> tuple[Any, int]:
    """Return value and version of a request to set a value."""
    if not isinstance(body, dict):
        # An empty form, which DRF parses by itself.
        body = {}
    errors = [
        FieldError(name, "required", "This member is required.")
        for name in ("value", "version")
        if name not in body
    ]
    errors += [
        FieldError(printable(name), "unknown", "There is no such member.")
        for name in sorted(body.keys() - {"value", "version"})[:10]
    ]
    version = body.get("version", 0)
    if type(version) is not int or not 0 <= version <= MAXIMUM_VERSION:
        detail = f"Give a whole number from 0 to {MAXIMUM_VERSION}."
        errors.append(FieldError("version", "invalid", detail))
    if errors:
        raise InvalidInput(errors)
    return body["value"], version
