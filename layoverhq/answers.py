"""Bodies of JSON with their entity tags, and 304 to those who have them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from layoverhq.openapi import JSON


@dataclass(frozen=True, slots=True)
class Answer:
    """A body of JSON with its strong entity tag."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Answer:
        """Tag a body by what it holds."""
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def encoded(document: Any) -> bytes:
    """Return JSON as short as can be; read-only mappings count as objects."""
    return json.dumps(document, cls=JSONEncoder, ensure_ascii=False, separators=(",", ":")).encode()


def conditional(request: Request, answer: Answer) -> HttpResponse:
    """Return the answer, or 304 to a caller that has it."""
    held = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" in held or answer.etag in {tag.removeprefix("W/") for tag in held}:
        return _tagged(HttpResponseNotModified(), answer)
    return response_of(answer)


def current(request: Request, document: Any) -> HttpResponse:
    """Return a document as JSON, or 304 to a caller that has it."""
    return conditional(request, Answer.of(encoded(document)))


def answered(document: Any, *, status: int = 200) -> HttpResponse:
    """Return a document as JSON, whatever the caller has."""
    return response_of(Answer.of(encoded(document)), status=status)


def response_of(answer: Answer, *, status: int = 200) -> HttpResponse:
    """Return the whole answer."""
    return _tagged(HttpResponse(answer.body, status=status, content_type=JSON), answer)


def _tagged(response: HttpResponse, answer: Answer) -> HttpResponse:
    response.headers["ETag"] = answer.etag
    # The caller's own cache may keep it, and asks each time whether it still holds.
    response.headers["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Authorization"])
    return response
