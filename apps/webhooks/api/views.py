"""An enterprise's webhooks: added, tried, rotated, and what became of each delivery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.tenants.api.authentication import principal_of
from apps.tenants.models import Scope
from apps.webhooks import operations
from apps.webhooks.api import serializers
from apps.webhooks.models import Event, WebhookDelivery, WebhookEndpoint
from layoverhq import context
from layoverhq.answers import answered, current
from layoverhq.members import VERSION, Body, integer, one_of, some_of, text
from layoverhq.openapi import IF_NONE_MATCH, JSON, NOT_MODIFIED, REMOVES, problem_responses
from layoverhq.paging import (
    PAGE_PARAMETERS,
    VERSION_PARAMETER,
    Page,
    query_of,
    version_of,
)
from layoverhq.parsers import StrictJSONParser
from layoverhq.tenancy import TenantRef, tenant_scope

USUAL_OVERLAP_HOURS = 24

description_text = text(operations.LONGEST_DESCRIPTION, shortest=0)
NEW = Body(
    {
        "url": text(operations.LONGEST_URL),
        "events": some_of(Event.values),
        "description": description_text,
    },
    ("url", "events"),
)
CHANGED = Body(
    {
        "version": VERSION,
        **NEW.readers,
        "status": one_of([value for value, _ in serializers.SETTABLE]),
    },
    ("version",),
)
ROTATION = Body({"overlap_hours": integer(0, operations.MAXIMUM_OVERLAP_HOURS)})
NOTHING = Body({})


class WebhooksView(APIView):
    """Of what a key may read or write with the scopes of webhooks."""

    parser_classes = (StrictJSONParser,)

    @property
    def required_scope(self) -> Scope:
        reads = self.request.method in SAFE_METHODS
        return Scope.WEBHOOKS_READ if reads else Scope.WEBHOOKS_WRITE


@contextmanager
def _acting(request: Request) -> Iterator[TenantRef]:
    """Run the block in the tenant's scope, with the key for the audit trail."""
    principal = principal_of(request)
    with context.bind(reason=principal.key_label), tenant_scope(principal.tenant):
        yield principal.tenant


def _endpoint(tenant: TenantRef, webhook_id: UUID) -> WebhookEndpoint:
    return get_object_or_404(WebhookEndpoint, enterprise_id=tenant.id, pk=webhook_id)


def _delivery(tenant: TenantRef, webhook_id: UUID, delivery_id: UUID) -> WebhookDelivery:
    return get_object_or_404(
        WebhookDelivery, enterprise_id=tenant.id, endpoint_id=webhook_id, pk=delivery_id
    )


def _with_secret(made: operations.NewSecret) -> dict[str, Any]:
    shown: Any = serializers.WebhookSerializer(made.endpoint).data
    return dict(shown, secret=made.secret)


class WebhookListView(WebhooksView):
    @extend_schema(
        operation_id="webhooks",
        summary="Your webhooks, newest first",
        parameters=[*PAGE_PARAMETERS, IF_NONE_MATCH],
        responses={
            (200, JSON): serializers.WebhookPageSerializer,
            **NOT_MODIFIED,
            **problem_responses(400, 401, 403, 503),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        page = Page.of(request, {})
        with _acting(request) as tenant:
            rows = WebhookEndpoint.objects.filter(enterprise_id=tenant.id)
            document = page.document(rows, serializers.WebhookSerializer)
        return current(request, document)

    @extend_schema(
        operation_id="add_webhook",
        summary="Add a webhook; its secret is in the answer and nowhere else",
        request={JSON: serializers.WebhookRequestSerializer},
        responses={
            (201, JSON): serializers.WebhookWithSecretSerializer,
            **problem_responses(400, 401, 403, 409, 415, 503),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        query_of(request)
        given = NEW.read(request.data)
        with _acting(request) as tenant:
            made = operations.add_endpoint(tenant=tenant, **given)
        return answered(_with_secret(made), status=201)


class WebhookView(WebhooksView):
    @extend_schema(
        operation_id="webhook",
        summary="One webhook, and how it fares",
        parameters=[IF_NONE_MATCH],
        responses={
            (200, JSON): serializers.WebhookSerializer,
            **NOT_MODIFIED,
            **problem_responses(400, 401, 403, 404, 503),
        },
    )
    def get(self, request: Request, webhook_id: UUID) -> HttpResponseBase:
        query_of(request)
        with _acting(request) as tenant:
            shown = serializers.WebhookSerializer(_endpoint(tenant, webhook_id)).data
        return current(request, shown)

    @extend_schema(
        operation_id="change_webhook",
        summary="Change a webhook, pause it, or send again",
        request={JSON: serializers.WebhookPatchSerializer},
        responses={
            (200, JSON): serializers.WebhookSerializer,
            **problem_responses(400, 401, 403, 404, 409, 415, 503),
        },
    )
    def patch(self, request: Request, webhook_id: UUID) -> HttpResponseBase:
        query_of(request)
        given = CHANGED.read(request.data)
        with _acting(request) as tenant:
            endpoint = _endpoint(tenant, webhook_id)
            changed = operations.change_endpoint(endpoint=endpoint, **given)
        return answered(serializers.WebhookSerializer(changed).data)

    @extend_schema(
        operation_id="remove_webhook",
        summary="Delete a webhook, with its deliveries",
        parameters=[VERSION_PARAMETER],
        responses=REMOVES,
    )
    def delete(self, request: Request, webhook_id: UUID) -> HttpResponseBase:
        version = version_of(request)
        with _acting(request) as tenant:
            operations.remove_endpoint(endpoint=_endpoint(tenant, webhook_id), version=version)
        return Response(status=204)


class WebhookPingView(WebhooksView):
    @extend_schema(
        operation_id="ping_webhook",
        summary="Send a trial message",
        description="Its delivery tells what came of it, as any other's does.",
        request={JSON: serializers.NothingSerializer},
        responses={
            (202, JSON): serializers.DeliverySerializer,
            **problem_responses(400, 401, 403, 404, 409, 415, 503),
        },
    )
    def post(self, request: Request, webhook_id: UUID) -> HttpResponseBase:
        query_of(request)
        NOTHING.read(request.data)
        with _acting(request) as tenant:
            sent = operations.ping(endpoint=_endpoint(tenant, webhook_id), now=timezone.now())
            sent.refresh_from_db()
        return answered(serializers.DeliverySerializer(sent).data, status=202)


class WebhookSecretView(WebhooksView):
    @extend_schema(
        operation_id="rotate_webhook_secret",
        summary="Replace the secret",
        description="For the overlap both sign, so that receivers can change one by one.",
        request={JSON: serializers.RotationSerializer},
        responses={
            (200, JSON): serializers.WebhookWithSecretSerializer,
            **problem_responses(400, 401, 403, 404, 415, 503),
        },
    )
    def post(self, request: Request, webhook_id: UUID) -> HttpResponseBase:
        query_of(request)
        hours = ROTATION.read(request.data).get("overlap_hours", USUAL_OVERLAP_HOURS)
        with _acting(request) as tenant:
            made = operations.rotate_secret(
                endpoint=_endpoint(tenant, webhook_id), overlap_hours=hours, now=timezone.now()
            )
        return answered(_with_secret(made))


class DeliveryListView(WebhooksView):
    @extend_schema(
        operation_id="webhook_deliveries",
        summary="What was or is to be sent to a webhook, newest first",
        parameters=[
            *PAGE_PARAMETERS,
            OpenApiParameter(
                "status",
                type={"type": "string", "enum": WebhookDelivery.Status.values},
                description="Only these.",
            ),
            IF_NONE_MATCH,
        ],
        responses={
            (200, JSON): serializers.DeliveryPageSerializer,
            **NOT_MODIFIED,
            **problem_responses(400, 401, 403, 404, 503),
        },
    )
    def get(self, request: Request, webhook_id: UUID) -> HttpResponseBase:
        page = Page.of(request, {"status": one_of(WebhookDelivery.Status.values)})
        with _acting(request) as tenant:
            endpoint = _endpoint(tenant, webhook_id)
            rows = WebhookDelivery.objects.filter(
                enterprise_id=tenant.id, endpoint=endpoint, **page.filters
            )
            document = page.document(rows, serializers.DeliverySerializer)
        return current(request, document)


class DeliveryView(WebhooksView):
    @extend_schema(
        operation_id="webhook_delivery",
        summary="One delivery",
        parameters=[IF_NONE_MATCH],
        responses={
            (200, JSON): serializers.DeliverySerializer,
            **NOT_MODIFIED,
            **problem_responses(400, 401, 403, 404, 503),
        },
    )
    def get(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> HttpResponseBase:
        query_of(request)
        with _acting(request) as tenant:
            shown = serializers.DeliverySerializer(_delivery(tenant, webhook_id, delivery_id)).data
        return current(request, shown)


class DeliveryReplayView(WebhooksView):
    @extend_schema(
        operation_id="replay_webhook_delivery",
        summary="Send a delivery again, with the same id and body",
        request={JSON: serializers.NothingSerializer},
        responses={
            (202, JSON): serializers.DeliverySerializer,
            **problem_responses(400, 401, 403, 404, 409, 415, 503),
        },
    )
    def post(self, request: Request, webhook_id: UUID, delivery_id: UUID) -> HttpResponseBase:
        query_of(request)
        NOTHING.read(request.data)
        with _acting(request) as tenant:
            replayed = operations.replay_delivery(
                delivery=_delivery(tenant, webhook_id, delivery_id), now=timezone.now()
            )
        return answered(serializers.DeliverySerializer(replayed).data, status=202)
