"""One POST to an address that an enterprise chose: bounded in time and size, never to our own net.

The host is resolved once, each of its addresses is checked, and the connection goes to a checked
one, so that a name that answers differently the second time gains nothing. TLS still verifies the
host's name. Redirects are answers like any other.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from http import HTTPStatus

import httpcore
import httpx
from django.conf import settings

from layoverhq.connecting import (
    CONNECTION_FAULTS,
    TIMEOUTS,
    Deadline,
    TimedTransport,
    addresses_of,
)

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
# From asking for the address to the last byte that is read, however slowly they come. The name
# server's own answer cannot be cut short.
MOST_SECONDS = 20.0
EXCERPT_BYTES = 500
USER_AGENT = "LayoverHQ-Webhooks/1"

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# Addresses of IPv4 are written into these of IPv6 (RFC 6052).
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
# The rest of IPv6 is private, local or nobody's, whatever a library knows of it (RFC 4291).
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

FAULTS = (*TIMEOUTS, *CONNECTION_FAULTS, httpx.InvalidURL)


class Forbidden(httpcore.ConnectError):
    """The host leads into a private network."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: the answer's status and beginning, or why there was none."""

    status_code: int | None = None
    excerpt: str = ""
    error: str = ""

    @property
    def delivered(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver says that it wants no more of them."""
        return self.status_code == HTTPStatus.GONE


def allows_private_addresses() -> bool:
    """Return whether this is a developer's machine, whose receivers are on it."""
    return bool(settings.ENVIRONMENT == "development")


def url_fault(url: str) -> str:
    """Return why a URL cannot be an endpoint's; empty if it can. Resolves nothing."""
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in url):
        return "Write other than ASCII letters as the URL's own escapes."
    try:
        # As it is read for sending: names that IDNA does not know raise UnicodeError.
        parts = httpx.URL(url)
        host = parts.host
    except (httpx.InvalidURL, UnicodeError):
        return "This is no URL."
    if parts.port is not None and not 0 < parts.port < 65536:
        return "There is no such port."
    if not host or parts.scheme not in ("http", "https"):
        return "Give a URL such as https://example.com/webhooks."
    local = host in LOCAL_HOSTS and allows_private_addresses()
    if parts.scheme != "https" and not local:
        return "Only https is called."
    if parts.userinfo:
        return "Name and password do not belong in it: verify the signature."
    if parts.fragment:
        return "A fragment is never sent: leave it out."
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "This is no URL." if ":" in host or "[" in host else ""
    return "" if local or is_public(address) else "Private addresses are not called."


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is the public internet's, whatever it is wrapped in."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in TRANSLATED:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        wrapped = [address.sixtofour, *(address.teredo or ())]
        if any(inner is not None and not is_public(inner) for inner in wrapped):
            return False
        return address.is_global and address in GLOBAL_UNICAST
    return address.is_global and not address.is_multicast


def checked_addresses(host: str, port: int) -> list[str]:
    """Resolve a host. Raises Forbidden if any of its addresses is not to be called."""
    addresses = addresses_of(host, port)
    if not allows_private_addresses():
        for text in addresses:
            if not is_public(ipaddress.ip_address(text.partition("%")[0])):
                raise Forbidden("The host leads to a private address, which is not called.")
    return addresses


def post(url: str, *, headers: dict[str, str], body: bytes) -> Outcome:
    """Send one message and read how the answer begins."""
    if fault := url_fault(url):
        return Outcome(error=fault)
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    told = {**headers, "Content-Type": "application/json", "User-Agent": USER_AGENT}
    try:
        with (
            httpx.Client(
                transport=TimedTransport(Deadline(MOST_SECONDS), resolve=checked_addresses),
                timeout=timeout,
                follow_redirects=False,
                trust_env=False,
            ) as client,
            client.stream("POST", url, headers=told, content=body) as answer,
        ):
            return Outcome(answer.status_code, _beginning(answer))
    except FAULTS as error:
        return Outcome(error=f"{type(error).__name__}: {error}"[:EXCERPT_BYTES])


def _beginning(answer: httpx.Response) -> str:
    """Read no more of the body than is kept; a fault in it takes nothing from the status."""
    read = b""
    try:
        for chunk in answer.iter_raw():
            read += chunk
            if len(read) >= EXCERPT_BYTES:
                break
    except FAULTS:
        pass
    # PostgreSQL has no texts with NUL in them.
    return (
        read[:EXCERPT_BYTES].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
