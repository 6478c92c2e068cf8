"""Bearer keys, their scopes, and the suspended enterprise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.tenants.directory import Principal, api_keys
from apps.tenants.models import Enterprise
from layoverhq.errors import DomainError

if TYPE_CHECKING:
    # rest_framework.views imports this module through its settings.
    from rest_framework.views import APIView

CHALLENGE = 'Bearer realm="LayoverHQ"'
KEYWORD = "bearer"
TOKEN_LENGTH = 200


class EnterpriseSuspended(DomainError):
    """The enterprise is suspended."""

    code = "enterprise_suspended"
    status = 403


class ScopeMissing(DomainError):
    """The key lacks the scope that this needs."""

    code = "scope_missing"
    status = 403


class KeyRefused(AuthenticationFailed):
    default_detail = "The API key is missing, unknown, expired or revoked."
    default_code = "not_authenticated"
    auth_header = CHALLENGE


def principal_of(request: Request) -> Principal:
    """Return whose key the request carries; for views behind ApiKeyAuthentication."""
    if not isinstance(request.auth, Principal):
        raise KeyRefused
    return request.auth


def authenticated(authorization: str) -> Principal:
    """Return whose key the header `Authorization` carries, from memory.

    Raises KeyRefused and EnterpriseSuspended.
    """
    keyword, _, token = authorization.partition(" ")
    token = token.strip()
    if keyword.lower() != KEYWORD or not token.isascii() or len(token) > TOKEN_LENGTH:
        raise KeyRefused
    return admitted(api_keys.find(token))


def admitted(principal: Principal | None) -> Principal:
    """Return the principal unless it is nobody or its enterprise is not served."""
    if principal is None:
        raise KeyRefused
    if principal.enterprise_status != Enterprise.Status.ACTIVE:
        raise EnterpriseSuspended
    return principal


def require_scope(principal: Principal, *needed: str) -> None:
    """Raise ScopeMissing for a key that has none of the scopes."""
    if principal.scopes.isdisjoint(needed):
        raise ScopeMissing(f"This needs a key with the scope {' or '.join(needed)}.")


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`; answered from memory."""

    def authenticate(self, request: Request) -> tuple[Principal, Principal] | None:
        return self.admit(request.headers.get("Authorization", ""))

    def admit(self, authorization: str) -> tuple[Principal, Principal]:
        """Return whose key it is, as DRF's user and auth, and note its use."""
        principal = authenticated(authorization)
        api_keys.touch(principal)
        return principal, principal

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class HasRequiredScope(BasePermission):
    """A view names its scope, or several of which one does, in `required_scope`.

    One that names none is open to no key.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = getattr(view, "required_scope", None)
        if not needed:
            return False
        require_scope(principal_of(request), *([needed] if isinstance(needed, str) else needed))
        return True
