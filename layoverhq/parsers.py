"""The bodies that the API reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from layoverhq.errors import InvalidInput
from layoverhq.query_string import printable
from layoverhq.strict_json import BODY, parse_members


class StrictJSONParser(BaseParser):
    """Parses an object; raises InvalidInput, and UnsupportedMediaType for a compressed body."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        request: Request | None = (parser_context or {}).get("request")
        coding = request.headers.get("Content-Encoding", "identity") if request else "identity"
        if coding.lower() != "identity":
            raise UnsupportedMediaType(printable(coding))
        try:
            text = stream.read().decode()
        except UnicodeDecodeError as error:
            raise InvalidInput.of(BODY, "This is not UTF-8.", code="not_utf8") from error
        return parse_members(text)
