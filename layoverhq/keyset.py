"""Lists of tables that nobody should count: pages by key, filters with a window of dates."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, ClassVar

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import BooleanField, F, Func, Lookup, Model, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.http import HttpRequest
from unfold.views import ChangeList

AFTER, BEFORE = "after", "before"


class UncountedPaginator(Paginator):  # type: ignore[type-arg]
    """Satisfy the admin's interface; the list itself knows its neighbours."""

    template_name = "admin/keyset_pagination.html"

    @property
    def count(self) -> int:  # type: ignore[override]
        return len(self.object_list)


class KeysetChangeList(ChangeList):  # type: ignore[misc]
    """A list in its admin's `ordering`, all of it upwards or all of it downwards.

    A page is addressed by the key of the row that it follows or precedes, so that the last one
    costs what the first does. Nothing is counted.
    """

    next_url = previous_url = ""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        return list(self.model_admin.ordering)

    def get_results(self, request: HttpRequest) -> None:
        ordering = self.get_ordering(request, self.queryset)
        descending = ordering[0].startswith("-")
        names = [name.removeprefix("-") for name in ordering]
        fields = [self.model._meta.get_field(name) for name in names]
        direction, key = _read_cursor(request.GET.get(PAGE_VAR, ""), fields)
        rows = self.queryset
        if key:
            rows = rows.filter(_beyond(fields, key, upwards=descending == (direction == BEFORE)))
        if direction == BEFORE:
            rows = rows.reverse()
        found = list(rows[: self.list_per_page + 1])
        more = len(found) > self.list_per_page
        del found[self.list_per_page :]
        if direction == BEFORE:
            found.reverse()
        if found and (more or direction == BEFORE):
            self.next_url = self._url(AFTER, fields, found[-1])
        if found and key and (more or direction == AFTER):
            self.previous_url = self._url(BEFORE, fields, found[0])
        self.first_url = self.get_query_string(remove=[PAGE_VAR]) if key else ""
        self.result_list = found
        self.result_count = self.full_result_count = len(found)
        self.show_full_result_count = False
        self.show_admin_actions = bool(found)
        self.can_show_all = self.multi_page = False
        self.paginator = UncountedPaginator(found, self.list_per_page)

    def _url(self, direction: str, fields: list[Any], row: Model) -> str:
        text = json.dumps([direction, *(field.value_to_string(row) for field in fields)])
        cursor = base64.urlsafe_b64encode(text.encode()).decode()
        return str(self.get_query_string({PAGE_VAR: cursor}))


def _read_cursor(text: str, fields: list[Any]) -> tuple[str, list[Any]]:
    if not text:
        return AFTER, []
    try:
        direction, *values = json.loads(base64.urlsafe_b64decode(text))
        if direction not in (AFTER, BEFORE) or not all(isinstance(v, str) for v in values):
            raise ValueError("not a cursor")
        pairs = zip(fields, values, strict=True)
        return direction, [field.to_python(value) for field, value in pairs]
    except (ValueError, TypeError, binascii.Error, ValidationError) as error:
        raise IncorrectLookupParameters(error) from error


class Row(Func):
    """A row of values, to compare with another as the index does: (a, b) > (x, y)."""

    template = "(%(expressions)s)"
    output_field = BooleanField()


def _beyond(fields: list[Any], key: list[Any], *, upwards: bool) -> Lookup[Any]:
    columns = Row(*(F(field.name) for field in fields))
    values = Row(
        *(Value(value, output_field=field) for field, value in zip(fields, key, strict=True))
    )
    return (GreaterThan if upwards else LessThan)(columns, values)


class InputFilter(SimpleListFilter):
    """A filter with a field to type into, for what has too many values to list."""

    template = "admin/filter_input.html"
    input_type: ClassVar[str] = "text"
    placeholder: ClassVar[str] = ""
    suggestions: ClassVar[tuple[str, ...]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # Without any Django would leave the filter out.
        return [("", "")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        others = changelist.get_filters_params()
        others.pop(self.parameter_name, None)
        yield {
            "name": self.parameter_name,
            "value": self.value() or "",
            "input_type": self.input_type,
            "placeholder": self.placeholder,
            "suggestions": self.suggestions,
            "others": [(name, value) for name, values in others.items() for value in values],
            "query": changelist.query,
            "clear_url": changelist.get_query_string(remove=[self.parameter_name]),
        }


class TextFilter(InputFilter):
    """Keep the rows whose `field` is what is typed; nonsense is refused as Django does."""

    field: ClassVar[str]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        if not value:
            return queryset
        try:
            return self.matching(queryset, value)
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(error) from error

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if "\x00" in value:
            raise ValueError("NUL")
        return queryset.filter(**{self.field: value})


class EnterpriseFilter(TextFilter):
    """Keep the rows of the enterprise of this slug."""

    title = "enterprise"
    parameter_name = "enterprise"
    placeholder = "slug"
    field = "enterprise__slug"


class WindowFilter(SimpleListFilter):
    """A choice of windows, of which the first is taken if none is."""

    windows: ClassVar[tuple[tuple[str, str], ...]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        return self.windows

    def chosen(self) -> str:
        value = self.value()
        return value if value in dict(self.windows) else self.windows[0][0]

    def choices(self, changelist: Any) -> Iterator[Any]:
        for key, title in self.windows:
            yield {
                "selected": self.chosen() == key,
                "query_string": changelist.get_query_string({self.parameter_name: key}),
                "display": title,
            }
