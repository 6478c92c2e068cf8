"""Lists of the API: newest first, a page addressed by the id that it follows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from layoverhq.errors import FieldError, InvalidInput
from layoverhq.members import Reader, Unfit
from layoverhq.query_string import parse_query

DEFAULT_LIMIT = 20
MAXIMUM_LIMIT = 100
MAXIMUM_VERSION = 2**31 - 1

M = TypeVar("M", bound=Model)

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(r"[0-9]{1,10}")

PAGE_PARAMETERS = [
    OpenApiParameter(
        "limit",
        type={
            "type": "integer",
            "minimum": 1,
            "maximum": MAXIMUM_LIMIT,
            "default": DEFAULT_LIMIT,
        },
        description="Objects a page, newest first.",
    ),
    OpenApiParameter(
        "after",
        type={"type": "string", "pattern": f"^{_ID.pattern}$"},
        description="`next` of the page before.",
    ),
]
VERSION_PARAMETER = OpenApiParameter(
    "version",
    type={"type": "integer", "minimum": 1, "maximum": MAXIMUM_VERSION},
    required=True,
    description="`version` as you read it.",
)


def query_of(request: Request, known: Collection[str] = ()) -> dict[str, str]:
    """Return the query's parameters. Raises InvalidInput of those that are not known."""
    faults: list[FieldError] = []
    values = parse_query(request.META.get("QUERY_STRING", ""), known, faults)
    if faults:
        raise InvalidInput(faults)
    return values


def version_of(request: Request) -> int:
    """Return the version that the query names. Raises InvalidInput."""
    text = query_of(request, {"version"}).get("version")
    if text is None:
        raise InvalidInput.of("version", "This parameter is required.", code="required")
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAXIMUM_VERSION:
        raise InvalidInput.of("version", f"Give a whole number from 1 to {MAXIMUM_VERSION}.")
    return int(text)


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a list is asked for; `filters` are its other parameters."""

    limit: int = DEFAULT_LIMIT
    after: UUID | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, filters: Mapping[str, Reader]) -> Page:
        """Read the query, further parameters by their readers. Raises InvalidInput."""
        given = query_of(request, {"limit", "after", *filters})
        faults = []
        limit, after = given.pop("limit", str(DEFAULT_LIMIT)), given.pop("after", "")
        if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= MAXIMUM_LIMIT:
            detail = f"Give a whole number from 1 to {MAXIMUM_LIMIT}."
            faults.append(FieldError("limit", "invalid", detail))
        if "after" in request.GET and not _ID.fullmatch(after):
            faults.append(FieldError("after", "invalid", "Give `next` of the page before."))
        values = {}
        for name, value in given.items():
            try:
                values[name] = filters[name](value)
            except Unfit as fault:
                faults.append(FieldError(name, fault.code, fault.detail))
        if faults:
            raise InvalidInput(faults)
        return cls(int(limit), UUID(after) if after else None, values)

    def cut(self, rows: QuerySet[M]) -> tuple[list[M], str | None]:
        """Return the page's rows, and what the next page follows; None on the last one."""
        if self.after:
            rows = rows.filter(pk__lt=self.after)
        found = list(rows.order_by("-pk")[: self.limit + 1])
        more = len(found) > self.limit
        return found[: self.limit], str(found[self.limit - 1].pk) if more else None

    def document(self, rows: QuerySet[M], serializer: Any) -> dict[str, Any]:
        """Return the page's body, each row as the serializer class shows it."""
        found, following = self.cut(rows)
        return page_document(list(serializer(found, many=True).data), following)


def page_document(results: list[Any], following: str | None) -> dict[str, Any]:
    """Return a list's body."""
    return {"results": results, "next": following}
