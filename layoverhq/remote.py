"""Asking others over HTTP: bounded in time and size, repeated where that helps, named faults."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final

import httpx
import stamina
from django.utils import timezone

from layoverhq.connecting import (
    CONNECTION_FAULTS,
    TIMEOUTS,
    Deadline,
    TimedTransport,
    environment_proxy,
)
from layoverhq.errors import InvalidInput
from layoverhq.strict_json import STRICT_JSON, strictly

# One who is told to wait longer does so without holding a worker.
LONGEST_WAIT_SECONDS: Final = 10.0
EXCERPT: Final = 300
CONCEALED: Final = "[credential]"
# What is shorter stands in every text, and is nobody's credential.
SHORTEST_SECRET: Final = 4
# gzip and zlib, whichever the data begins with.
_ANY_HEADER: Final = zlib.MAX_WBITS | 32

RETRYABLE: Final = frozenset({"timeout", "connection", "server_error", "throttled"})
# It is away, or not itself.
OUTAGES: Final = frozenset(
    {
        "timeout", "connection", "server_error", "html_answer", "malformed_json",
        "answer_too_large", "unexpected_shape", "unexpected_status",
    }
)  # fmt: skip


class RemoteFault(Exception):
    """Somebody did not answer as they should, or cannot be asked: a code, a sentence for people."""

    def __init__(self, code: str, detail: str, *, retry_after: float | None = None) -> None:
        self.code = code
        self.detail = detail
        # Seconds, as they were named.
        self.retry_after = retry_after
        super().__init__(f"{code}: {detail}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, of silence, and for all attempts together; attempts; bytes, unpacked.

    `first_wait` are the seconds before the second attempt; each further wait is twice as long.
    """

    connect: float
    read: float
    total: float
    attempts: int
    answer_bytes: int
    first_wait: float = 0.5


class RemoteClient:
    """Asks one host; `admit` is called before each request and may raise RemoteFault.

    Each request has to do no harm if it is repeated. Redirects are not followed: credentials go
    where they are meant to and nowhere else. `secrets` are not told in faults.
    """

    def __init__(
        self,
        base_url: str,
        limits: Limits,
        *,
        clock: Callable[[], datetime] = timezone.now,
        admit: Callable[[], None] = lambda: None,
        secrets: Iterable[str] = (),
    ) -> None:
        self.base_url = base_url
        self.secrets = set(secrets)
        self._limits = limits
        self._clock = clock
        self._admit = admit
        self._deadline = Deadline()
        try:
            proxy = environment_proxy(httpx.URL(base_url))
            self._http = httpx.Client(
                transport=TimedTransport(self._deadline, proxy=proxy),
                base_url=base_url,
                timeout=httpx.Timeout(limits.read, connect=limits.connect),
                headers={"User-Agent": "LayoverHQ", "Accept-Encoding": "gzip"},
                follow_redirects=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise RemoteFault("invalid_address", f"{base_url:.200} cannot be asked.") from error

    def __enter__(self) -> RemoteClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Return the JSON of an answer; `request` is as httpx takes it. Raises RemoteFault."""
        response, body = self._answer(method, path, request)
        return self._document(response, body)

    def ask_bytes(self, method: str, path: str, **request: Any) -> bytes:
        """Return an answer, whatever it is of. Raises RemoteFault."""
        return self._answer(method, path, request)[1]

    def _answer(
        self, method: str, path: str, request: Mapping[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        limits = self._limits
        self._deadline.set(limits.total)
        for attempt in stamina.retry_context(
            on=self._backoff,
            attempts=limits.attempts,
            timeout=limits.total,
            wait_initial=limits.first_wait,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=2 * limits.first_wait,
        ):
            with attempt:
                self._admit()
                return self._ask_once(method, path, request)
        raise AssertionError("unreachable: the last attempt raises")

    def _backoff(self, error: Exception) -> bool | float:
        wait = backoff(error)
        seconds = self._limits.first_wait if isinstance(wait, bool) else wait
        # Nobody waits for a time at which it is too late to ask.
        return wait if self._deadline.left > seconds else False

    def _ask_once(
        self, method: str, path: str, request: Mapping[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        try:
            with self._http.stream(method, path, **request) as response:
                body = self._read(response)
        except TIMEOUTS as error:
            detail = "It did not answer in time."
            if self._deadline.left <= 0:
                detail = f"It had not answered in full after {self._limits.total:g} s."
            raise RemoteFault("timeout", detail) from error
        except CONNECTION_FAULTS as error:
            detail = f"The connection failed: {type(error).__name__}."
            raise RemoteFault("connection", detail) from error
        if not response.is_success:
            raise self._fault_of(response, body)
        return response, body

    def _read(self, response: httpx.Response) -> bytes:
        """Return the body, unpacked, and no larger than it may be."""
        most = self._limits.answer_bytes
        body = bytearray()
        for chunk in _unpacked(response, most + 1):
            body += chunk
            if len(body) > most:
                detail = f"Its answer is larger than {most:,} bytes."
                raise RemoteFault("answer_too_large", detail)
        return bytes(body)

    def _fault_of(self, response: httpx.Response, body: bytes) -> RemoteFault:
        status = response.status_code
        said = self._said(body)
        detail = f"It answered {status}: {said}" if said else f"It answered {status}."
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return RemoteFault("throttled", detail, retry_after=self._wait(response))
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return RemoteFault("unauthorised", detail)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return RemoteFault("server_error", detail, retry_after=self._wait(response))
        if status >= httpx.codes.BAD_REQUEST:
            return RemoteFault("refused", detail)
        return RemoteFault("unexpected_status", detail)

    def _wait(self, response: httpx.Response) -> float | None:
        """Return the seconds of Retry-After, which is a number of them or a date."""
        given = response.headers.get("Retry-After", "").strip()
        if given.isascii() and given.isdigit():
            return float(given[:9])
        try:
            until = parsedate_to_datetime(given)
        except (ValueError, OverflowError):
            return None
        if until.tzinfo is None:
            return None
        return max(0.0, (until - self._clock()).total_seconds())

    def _document(self, response: httpx.Response, body: bytes) -> Any:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml") or body.lstrip()[:1] == b"<":
            detail = f"It sent a page instead of JSON: {self._said(body)}"
            raise RemoteFault("html_answer", detail)
        try:
            text = body.decode()
            return strictly(lambda: STRICT_JSON.decode(text), "answer")
        except UnicodeDecodeError as error:
            detail = f"Byte {error.start + 1} is not UTF-8."
            raise RemoteFault("malformed_json", detail) from error
        except InvalidInput as error:
            raise RemoteFault("malformed_json", error.errors[0].detail) from error

    def _said(self, body: bytes) -> str:
        """Return how an answer begins. Some repeat the credentials that they refuse."""
        # PostgreSQL has no texts with NUL in them.
        text = (
            body[: 10 * EXCERPT].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        )
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, CONCEALED)
        return text[:EXCERPT]


def backoff(error: Exception) -> bool | float:
    """Say whether to try again, and after how many seconds where they were named."""
    if not isinstance(error, RemoteFault) or error.code not in RETRYABLE:
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= LONGEST_WAIT_SECONDS else False


def _unpacked(response: httpx.Response, most: int) -> Iterator[bytes]:
    """Yield an answer's body, unpacked in pieces of at most so many bytes.

    httpx unpacks all of a chunk at once: 64 kB of gzip may come to 64 MB. Raises RemoteFault.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        yield from response.iter_raw()
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise RemoteFault("malformed_json", f"Nobody asked for the encoding {encoding:.40}.")
    unpacking = zlib.decompressobj(_ANY_HEADER)
    try:
        for packed in response.iter_raw():
            while packed and not unpacking.eof:
                yield unpacking.decompress(packed, most)
                packed = unpacking.unconsumed_tail
    except zlib.error as error:
        raise RemoteFault("malformed_json", "Its compression is broken.") from error
    if not unpacking.eof:
        raise RemoteFault("malformed_json", "Its compression ends before its end.")
