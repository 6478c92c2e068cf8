"""Keys as some of OFREP's providers send them: in a header of their own."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request

from apps.tenants.api.authentication import ApiKeyAuthentication
from apps.tenants.directory import Principal

HEADER = "X-API-Key"


class KeyHeaderAuthentication(ApiKeyAuthentication):
    """`X-API-Key: <key>` where there is no `Authorization`; answered from memory."""

    def authenticate(self, request: Request) -> tuple[Principal, Principal] | None:
        if HEADER not in request.headers or "Authorization" in request.headers:
            return None
        return self.admit(f"Bearer {request.headers[HEADER]}")


class KeyHeaderScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = KeyHeaderAuthentication
    name = "ApiKeyHeader"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": HEADER, "description": "The same key."}
