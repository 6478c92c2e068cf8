"""Refusals as OFREP tells them: an error code of OpenFeature's, and a sentence."""

from __future__ import annotations

from typing import Any, ClassVar

import structlog
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.response import Response

from layoverhq.errors import DomainError, InvalidInput, exception_handler
from layoverhq.openapi import JSON

log = structlog.get_logger(__name__)

GENERAL = "GENERAL"
PARSE_ERROR = "PARSE_ERROR"


class EvaluationRefused(DomainError):
    """The flags cannot be evaluated."""

    error_code: ClassVar[str] = GENERAL


class FlagNotFound(EvaluationRefused):
    """There is no such flag."""

    code = "flag_not_found"
    status = 404
    error_code = "FLAG_NOT_FOUND"


class InvalidContext(EvaluationRefused):
    """The context cannot be used."""

    code = "invalid_context"
    error_code = "INVALID_CONTEXT"


class ContextTooLarge(InvalidContext):
    """The context is too large."""

    code = "context_too_large"
    status = 413


class TargetingKeyMissing(EvaluationRefused):
    """The targeting key is none."""

    code = "targeting_key_missing"
    error_code = "TARGETING_KEY_MISSING"


def error_code_of(error: Exception) -> str:
    """Return OpenFeature's code for a refusal."""
    if isinstance(error, EvaluationRefused):
        return error.error_code
    # The body alone is read as fields.
    return PARSE_ERROR if isinstance(error, InvalidInput | UnsupportedMediaType) else GENERAL


def ofrep_exception_handler(error: Exception, info: dict[str, Any]) -> Response:
    """Answer any exception of an OFREP view with the protocol's document; a boundary."""
    answer = exception_handler(error, info)
    if answer is None:
        log.error("ofrep_failed", exc_info=error)
        answer = Response({"title": "Server error"}, status=500)
    document = answer.data
    told = {
        "errorCode": error_code_of(error),
        "errorDetails": document.get("detail") or document["title"],
    }
    if "key" in info["kwargs"]:
        told = {"key": info["kwargs"]["key"], **told}
    headers = {
        name: value for name, value in answer.headers.items() if name.lower() != "content-type"
    }
    return Response(told, status=answer.status_code, headers=headers, content_type=JSON)
