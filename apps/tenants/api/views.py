"""An enterprise's own account."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.tenants.api.authentication import principal_of
from apps.tenants.api.serializers import ApiKeySerializer, EnterpriseSerializer
from apps.tenants.models import ApiKey, Enterprise, Scope
from layoverhq.openapi import JSON, problem_responses
from layoverhq.tenancy import tenant_scope


class EnterpriseView(APIView):
    required_scope = Scope.ACCOUNT_READ

    @extend_schema(
        operation_id="enterprise",
        summary="The enterprise whose key this is",
        responses={(200, JSON): EnterpriseSerializer, **problem_responses(400, 401, 403, 503)},
    )
    def get(self, request: Request) -> Response:
        principal = principal_of(request)
        with tenant_scope(principal.tenant):
            enterprise = Enterprise.objects.get(pk=principal.enterprise_id)
            return Response(EnterpriseSerializer(enterprise).data)


class ApiKeyListView(APIView):
    required_scope = Scope.ACCOUNT_READ

    @extend_schema(
        operation_id="api_keys",
        summary="The enterprise's API keys",
        responses={
            (200, JSON): ApiKeySerializer(many=True),
            **problem_responses(400, 401, 403, 503),
        },
    )
    def get(self, request: Request) -> Response:
        principal = principal_of(request)
        with tenant_scope(principal.tenant):
            keys = ApiKey.objects.filter(enterprise_id=principal.enterprise_id)
            return Response(ApiKeySerializer(keys, many=True).data)


class ApiKeyView(APIView):
    required_scope = Scope.ACCOUNT_READ

    @extend_schema(
        operation_id="api_key",
        summary="One API key",
        responses={(200, JSON): ApiKeySerializer, **problem_responses(400, 401, 403, 404, 503)},
    )
    def get(self, request: Request, key_id: UUID) -> Response:
        principal = principal_of(request)
        with tenant_scope(principal.tenant):
            key = ApiKey.objects.filter(enterprise_id=principal.enterprise_id, pk=key_id).first()
            if key is None:
                raise Http404
            return Response(ApiKeySerializer(key).data)
