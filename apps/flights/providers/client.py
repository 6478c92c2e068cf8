"""HTTP with providers: bounded in time and size, tried again where that can help, named faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final

import httpx
import stamina

from layoverhq.errors import InvalidInput
from layoverhq.strict_json import STRICT_JSON, strictly

# One who is told to wait longer does so without holding a worker.
LONGEST_WAIT_SECONDS: Final = 10.0
FIRST_WAIT_SECONDS: Final = 0.5
JITTER_SECONDS: Final = 1.0
EXCERPT: Final = 300

RETRYABLE: Final = frozenset({"timeout", "connection", "server_error", "throttled"})
# What opens its circuit: it is away, or not itself.
AGAINST_PROVIDER: Final = frozenset(
    {
        "timeout", "connection", "server_error", "html_answer", "malformed_json",
        "answer_too_large", "unexpected_shape", "unexpected_status",
    }
)  # fmt: skip
# What it said, or did not say, and operators should see of it.
FROM_PROVIDER: Final = AGAINST_PROVIDER | {
    "throttled", "unauthorised", "refused", "nothing_usable", "not_stored",
}  # fmt: skip


class ProviderFault(Exception):
    """A provider did not answer as it should: a code for machines, a sentence for people."""

    def __init__(self, code: str, detail: str, *, retry_after: float | None = None) -> None:
        self.code = code
        self.detail = detail
        # Seconds, as the provider named them.
        self.retry_after = retry_after
        super().__init__(f"{code}: {detail}")

    @property
    def speaks_against_provider(self) -> bool:
        return self.code in AGAINST_PROVIDER


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, between two chunks, and for all attempts together; attempts; bytes."""

    connect: float
    read: float
    total: float
    attempts: int
    answer_bytes: int


class ProviderClient:
    """Asks one provider; `admit` is called before each request and may raise ProviderFault.

    Each request is a search or asks for a token, and does no harm if it is repeated.
    """

    def __init__(
        self,
        base_url: str,
        limits: Limits,
        *,
        clock: Callable[[], datetime],
        admit: Callable[[], None] = lambda: None,
    ) -> None:
        self.base_url = base_url
        self._limits = limits
        self._clock = clock
        self._admit = admit
        self._http = httpx.Client(
            base_url=base_url,
            timeout=httpx.Timeout(limits.read, connect=limits.connect),
            headers={"Accept": "application/json", "User-Agent": "LayoverHQ"},
        )

    def __enter__(self) -> ProviderClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Return the JSON of an answer; `request` is as httpx takes it. Raises ProviderFault."""
        deadline = time.monotonic() + self._limits.total
        for attempt in stamina.retry_context(
            on=backoff,
            attempts=self._limits.attempts,
            timeout=self._limits.total,
            wait_initial=FIRST_WAIT_SECONDS,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=JITTER_SECONDS,
        ):
            with attempt:
                self._admit()
                return self._ask_once(method, path, deadline, request)
        raise AssertionError("unreachable: the last attempt raises")

    def _ask_once(self, method: str, path: str, deadline: float, request: Mapping[str, Any]) -> Any:
        try:
            with self._http.stream(method, path, **request) as response:
                body = self._read(response, deadline)
        except httpx.TimeoutException as error:
            raise ProviderFault("timeout", "It did not answer in time.") from error
        except httpx.DecodingError as error:
            raise ProviderFault("malformed_json", "Its compression is broken.") from error
        except httpx.TransportError as error:
            detail = f"The connection failed: {type(error).__name__}."
            raise ProviderFault("connection", detail) from error
        if not response.is_success:
            raise self._fault_of(response, body)
        return _document(response, body)

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        """Return the body: as a whole in time, and no larger than it may be."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._limits.answer_bytes:
                detail = f"Its answer is larger than {self._limits.answer_bytes:,} bytes."
                raise ProviderFault("answer_too_large", detail)
            if time.monotonic() > deadline:
                detail = f"Its answer was not whole after {self._limits.total:g} s."
                raise ProviderFault("timeout", detail)
        return bytes(body)

    def _fault_of(self, response: httpx.Response, body: bytes) -> ProviderFault:
        status = response.status_code
        said = body[:EXCERPT].decode(errors="replace")
        detail = f"It answered {status}: {said}" if said else f"It answered {status}."
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return ProviderFault("throttled", detail, retry_after=self._wait(response))
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return ProviderFault("unauthorised", detail)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return ProviderFault("server_error", detail, retry_after=self._wait(response))
        if status >= httpx.codes.BAD_REQUEST:
            return ProviderFault("refused", detail)
        return ProviderFault("unexpected_status", detail)

    def _wait(self, response: httpx.Response) -> float | None:
        """Return the seconds of Retry-After, which is a number of them or a date."""
        given = response.headers.get("Retry-After", "").strip()
        if given.isascii() and given.isdigit():
            return float(given[:9])
        try:
            until = parsedate_to_datetime(given)
        except ValueError:
            return None
        if until.tzinfo is None:
            return None
        return max(0.0, (until - self._clock()).total_seconds())


def backoff(error: Exception) -> bool | float:
    """Say whether to try again, and after how many seconds where the provider named them."""
    if not isinstance(error, ProviderFault) or error.code not in RETRYABLE:
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= LONGEST_WAIT_SECONDS else False


def _document(response: httpx.Response, body: bytes) -> Any:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml") or body.lstrip()[:1] == b"<":
        said = body[:EXCERPT].decode(errors="replace")
        raise ProviderFault("html_answer", f"It sent a page instead of JSON: {said}")
    try:
        return strictly(lambda: STRICT_JSON.decode(body.decode()), "answer")
    except UnicodeDecodeError as error:
        raise ProviderFault("malformed_json", f"Byte {error.start + 1} is not UTF-8.") from error
    except InvalidInput as error:
        raise ProviderFault("malformed_json", error.errors[0].detail) from error
