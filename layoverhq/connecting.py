"""httpx over connections that end at a point in time, however slowly their bytes come.

httpx bounds the silence between two bytes, so that a header sent letter by letter may last for
hours. What is written here is what it has no setting for: a time by which all of it is over.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from socket import IPPROTO_TCP, SOCK_STREAM, getaddrinfo
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

# What a request over these connections may raise.
CONNECTION_FAULTS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpx.TransportError,
)
TIMEOUTS = (httpcore.TimeoutException, httpx.TimeoutException)

Resolve = Callable[[str, int], Sequence[str]]


class Deadline:
    """When requests have to be over, by the monotonic clock; it may be set anew for each."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.set(seconds)

    def set(self, seconds: float) -> None:
        """End so many seconds from now."""
        self.ends_at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self.ends_at - time.monotonic()

    def bound(self, timeout: float | None) -> float | None:
        """Return the timeout, or what is left if that is less. Raises httpcore.ReadTimeout."""
        left = self.left
        if left <= 0:
            raise httpcore.ReadTimeout("It took too long.")
        if timeout is None and math.isinf(left):
            return None
        return left if timeout is None else min(timeout, left)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every step is bound by a deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.bound(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.bound(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        bound = self._deadline.bound(timeout)
        inner = self._stream.start_tls(ssl_context, server_hostname, bound)
        return _TimedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _TimedBackend(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline, resolve: Resolve) -> None:
        self._plain = httpcore.SyncBackend()
        self._deadline = deadline
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        fault: Exception | None = None
        for address in self._resolve(host, port):
            try:
                stream = self._plain.connect_tcp(
                    address, port, self._deadline.bound(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
            else:
                return _TimedStream(stream, self._deadline)
        raise fault or httpcore.ConnectError("The host has no address.")


class _Body(httpx.SyncByteStream):
    """An answer's body as httpcore hands it over."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        self._stream.close()


class TimedTransport(httpx.BaseTransport):
    """httpx's transport that keeps to a deadline; `resolve` says which addresses a host has."""

    def __init__(
        self,
        deadline: Deadline,
        *,
        resolve: Resolve | None = None,
        proxy: httpcore.Proxy | None = None,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls(),
            proxy=proxy,
            network_backend=_TimedBackend(deadline, resolve or addresses_of),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        self._pool.close()


def addresses_of(host: str, port: int) -> list[str]:
    """Resolve a host. Raises httpcore.ConnectError."""
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM, proto=IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("The host's name cannot be resolved.") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def environment_proxy(url: httpx.URL) -> httpcore.Proxy | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for a URL."""
    named = getproxies()
    address = named.get(url.scheme) or named.get("all")
    if not address or proxy_bypass(url.host):
        return None
    proxy = httpx.Proxy(address)
    return httpcore.Proxy(str(proxy.url), auth=proxy.raw_auth, headers=proxy.headers.raw)


@cache
def tls() -> ssl.SSLContext:
    """Return the context that verifies certificates, made once: reading the roots takes time."""
    return httpx.create_ssl_context()
