"""Keys as OFREP's providers send them: as a bearer's, or in a header of its own."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request

from apps.tenants.api.authentication import ApiKeyAuthentication

HEADER = "X-API-Key"


class OfrepAuthentication(ApiKeyAuthentication):
    """`Authorization: Bearer <key>`, or without that `X-API-Key: <key>`; answered from memory."""

    def authorization(self, request: Request) -> str:
        given = request.headers.get("Authorization", "")
        return given or f"Bearer {request.headers.get(HEADER, '')}"


class OfrepKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = OfrepAuthentication
    name = ("ApiKey", "ApiKeyHeader")

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer", "description": "An enterprise's API key."},
            {"type": "apiKey", "in": "header", "name": HEADER, "description": "The same key."},
        ]
