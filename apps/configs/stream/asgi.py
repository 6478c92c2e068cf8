"""The stream as clients meet it: an ASGI application."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4

import structlog
from rest_framework.exceptions import APIException, MethodNotAllowed, NotFound
from rest_framework.response import Response

from apps.configs.runtime import configs
from apps.configs.stream.hub import Hub, Stream
from apps.tenants.api.authentication import authenticated, require_scope
from apps.tenants.directory import Principal
from layoverhq import context
from layoverhq.errors import (
    PROBLEM_CONTENT_TYPE,
    DomainError,
    FieldError,
    InvalidInput,
    exception_handler,
    problem,
)
from layoverhq.middleware import REQUEST_ID
from layoverhq.query_string import parse_query

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH = "/api/v1/events"
# A place in each list, and one of them with a name.
LONGEST_ID = 600


class EventsApp:
    """The ASGI application: GET /api/v1/events, and /healthz."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = _header(scope, b"x-request-id")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        with context.bind(request_id=request_id):
            reply = Reply(send, request_id)
            try:
                await self._serve(scope, receive, reply)
            except (APIException, DomainError) as refusal:
                await reply.refuse(refusal)
            except Exception:
                # One stream's fault ends no other's.
                log.exception("stream_failed")
                await reply.fail()
            if reply.status:
                log.info("request", method=scope["method"], path=scope["path"], status=reply.status)

    async def _serve(self, scope: Message, receive: Receive, reply: Reply) -> None:
        if scope["path"] == "/healthz":
            await reply.body(200, "application/json", b'{"status": "ok"}')
            return
        if scope["path"] != PATH:
            raise NotFound
        if scope["method"] != "GET":
            raise MethodNotAllowed(scope["method"])
        principal = authenticated(_header(scope, b"authorization"))
        require_scope(principal, *self.hub.scopes)
        errors: list[FieldError] = []
        query = parse_query(
            scope["query_string"].decode("latin-1"), {"last_event_id"}, errors, longest=LONGEST_ID
        )
        if errors:
            raise InvalidInput(errors)
        # A client that reconnects sends the header, beside the address that it began with.
        last = _header(scope, b"last-event-id") or query.get("last_event_id", "")
        with context.bind(enterprise_id=principal.enterprise_id):
            await self._stream(principal, last, receive, reply)

    async def _stream(
        self, principal: Principal, last: str, receive: Receive, reply: Reply
    ) -> None:
        stream = self.hub.join(principal)
        began = time.monotonic()
        gone = asyncio.create_task(_gone(receive))
        gone.add_done_callback(lambda _: stream.end("the client left"))
        try:
            events = await self.hub.missed(stream, last) if last else []
            await reply.start(200, "text/event-stream")
            await reply.send(stream.opening(events))
            while (text := await self._next(stream)) is not None:
                if text:
                    await reply.send(text)
            await reply.finish()
        finally:
            gone.cancel()
            self.hub.leave(stream)
            log.info(
                "stream_ended",
                key_id=str(principal.key_id),
                why=stream.why or "cut",
                seconds=round(time.monotonic() - began, 1),
            )

    async def _next(self, stream: Stream) -> bytes | None:
        try:
            return await stream.next(configs.get("stream.heartbeat"))
        except TimeoutError:
            # A key expires without a notification.
            self.hub.check(stream)
            return None if stream.why else self.hub.beat(stream)


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _header(scope: Message, name: bytes) -> str:
    found: bytes = next((value for given, value in scope["headers"] if given.lower() == name), b"")
    return found.decode("latin-1")


class Reply:
    """What is sent to one client."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def start(self, status: int, content_type: str, **headers: str) -> None:
        told = {
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            # nginx would collect events before it hands them on.
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
            "X-Request-ID": self._request_id,
            **headers,
        }
        encoded = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def send(self, text: bytes) -> None:
        await self._send({"type": "http.response.body", "body": text, "more_body": True})

    async def finish(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def body(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        await self.start(status, content_type, **headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def refuse(self, refusal: APIException | DomainError) -> None:
        """Answer as the API's views do."""
        answer = cast(Response, exception_handler(refusal, {}))
        headers = {name: str(value) for name, value in answer.headers.items()}
        headers.pop("Content-Type", None)
        if isinstance(refusal, MethodNotAllowed):
            headers["Allow"] = "GET"
        body = json.dumps(answer.data).encode()
        await self.body(answer.status_code, PROBLEM_CONTENT_TYPE, body, **headers)

    async def fail(self) -> None:
        """Answer a defect of ours without showing it, or cut what was begun."""
        if self.status:
            return
        document = problem(500, "Server error", code="server_error")
        with suppress(OSError):
            await self.body(500, PROBLEM_CONTENT_TYPE, json.dumps(document).encode())
