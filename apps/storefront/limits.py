"""How many pages one address may ask a storefront for: counted in the cache, by the minute."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time

import structlog
from django.conf import settings
from django.core.cache import cache
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 60
# While the cache is away nobody waits for it at every page, and nobody is refused.
REST_SECONDS = 10.0


class Limiter:
    """Counts an address' pages; without the cache it lets everybody pass."""

    def __init__(self) -> None:
        self._rests_until = 0.0

    def wait_seconds(self, site: str, address: str, allowed: int) -> int:
        """Note a page; return how long the address has to wait, 0 if it may have it."""
        if not address or time.monotonic() < self._rests_until:
            return 0
        now = time.time()
        window = int(now // WINDOW_SECONDS)
        key = f"storefront:{window}:{_mark(site, address)}"
        try:
            cache.add(key, 0, 2 * WINDOW_SECONDS)
            count = cache.incr(key)
        except (RedisError, ConnectionInterrupted, ValueError) as error:
            # ValueError: the key was evicted between the two.
            self._rests_until = time.monotonic() + REST_SECONDS
            log.warning("storefront_not_limited", error=str(error))
            return 0
        if count <= allowed:
            return 0
        return max(1, round((window + 1) * WINDOW_SECONDS - now))


def _mark(site: str, address: str) -> str:
    """Return what stands for the address: who reads the cache learns no visitor's."""
    ip = ipaddress.ip_address(address)
    # Who has one address of IPv6 has its whole network.
    net = str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
    secret = settings.SECRET_KEY.encode()
    return hmac.new(secret, f"{site} {net}".encode(), hashlib.sha256).hexdigest()[:32]


limiter = Limiter()
