"""API keys in memory: who calls, without a query."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import structlog
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseFault
from django.utils import timezone

from layoverhq.snapshot import Snapshot
from layoverhq.tenancy import TenantRef

log = structlog.get_logger(__name__)

TOUCH_SECONDS = 60.0


def token_hash(token: str) -> bytes:
    """Return what is stored of a token. Tokens are random, so that a plain digest suffices."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True)
class Principal:
    """An enterprise's key, as a request carries it."""

    key_id: UUID
    key_label: str
    key_hash: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    tenant: TenantRef
    enterprise_status: str
    subscription_plan: str

    # What DRF and its permissions ask of a user.
    is_authenticated: ClassVar[bool] = True
    is_active: ClassVar[bool] = True

    @property
    def enterprise_id(self) -> UUID:
        return self.tenant.id


class ApiKeyDirectory(Snapshot[dict[bytes, Principal]]):
    """All keys that are not revoked, by the hash of their token."""

    name = "api_keys"

    def __init__(self) -> None:
        super().__init__()
        self._touched: dict[UUID, float] = {}

    def load(self, connection: psycopg.Connection[Any]) -> dict[bytes, Principal]:
        rows = connection.execute("select * from api_key_directory()").fetchall()
        return {
            bytes(row["key_hash"]): Principal(
                key_id=row["id"],
                key_label=f"API key “{row['name']}” ({row['prefix']}…)",
                key_hash=bytes(row["key_hash"]),
                scopes=frozenset(row["scopes"]),
                expires_at=row["expires_at"],
                tenant=TenantRef(row["enterprise_id"], row["own_schema"]),
                enterprise_status=row["enterprise_status"],
                subscription_plan=row["subscription_plan"],
            )
            for row in rows
        }

    def find(self, token: str) -> Principal | None:
        """Return whose token this is; None for an unknown, revoked or expired one."""
        return self.standing(token_hash(token))

    def standing(self, key_hash: bytes) -> Principal | None:
        """Return what stands now for the hash of a token, as find() does."""
        principal = self.get().get(key_hash)
        if principal is None or not hmac.compare_digest(principal.key_hash, key_hash):
            return None
        if principal.expires_at and principal.expires_at <= timezone.now():
            return None
        return principal

    def touch(self, principal: Principal) -> None:
        """Note the use of a key, at most once a minute and process; no request fails for it."""
        now = time.monotonic()
        if now - self._touched.get(principal.key_id, -TOUCH_SECONDS) < TOUCH_SECONDS:
            return
        self._touched[principal.key_id] = now
        try:
            with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
                cursor.execute("select touch_api_key(%s)", [principal.key_id])
        except DatabaseFault as error:
            log.warning("api_key_not_touched", error=str(error).splitlines()[0])


api_keys = ApiKeyDirectory()
