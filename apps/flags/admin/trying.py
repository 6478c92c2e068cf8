"""Try it: any user, tenant and attributes; the answer, and the way to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from apps.flags.admin.overrides import find
from apps.flags.admin.verbs import flag_url, version_url
from apps.flags.explaining import Explanation
from apps.flags.models import FeatureFlag, FlagVersion
from layoverhq.errors import FieldError, InvalidInput
from layoverhq.model_admin import PageTab
from layoverhq.strict_json import MAXIMUM_DEPTH, parse_value

TYPES = (("text", "text"), ("number", "number"), ("boolean", "true/false"), ("json", "JSON"))


class TryTab(PageTab):
    """The flag as it stands."""

    model = FeatureFlag
    model_name = "try"
    title = "Try it"
    template_name = "admin/flags/tab_try.html"

    def context(self) -> dict[str, Any]:
        return {"types": TYPES, "action": flag_url(self.object_id, "try")}


class TryVersionTab(TryTab):
    """A version, before it holds or after."""

    model = FlagVersion

    def context(self) -> dict[str, Any]:
        return {"types": TYPES, "action": version_url(self.object_id, "try"), "of_version": True}


def answer(
    request: HttpRequest, explained_for: Callable[[dict[str, Any]], Explanation]
) -> HttpResponse:
    """Answer the form: what is said to this context, and each step on the way."""
    told: dict[str, Any]
    try:
        context = context_of(request)
    except InvalidInput as error:
        told = {"faults": error.errors}
    else:
        explained = explained_for(context)
        told = {
            "answer": explained.answer,
            "value": json.dumps(thawed(explained.answer.value), ensure_ascii=False),
            "path": explained.path,
            "context": json.dumps(context, ensure_ascii=False),
        }
    return TemplateResponse(request, "admin/flags/tried.html", told)


def thawed(value: Any) -> Any:
    """Return a frozen value of a variant as JSON's own types."""
    if isinstance(value, Mapping):
        return {name: thawed(item) for name, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, tuple) else value


def context_of(request: HttpRequest) -> dict[str, Any]:
    """Return the context that the form describes. Raises InvalidInput that names the field."""
    given = request.POST
    context: dict[str, Any] = {}
    faults: list[FieldError] = []
    found: dict[str, Any] = {}
    for name, kind, attribute in (("user", "user", "user"), ("tenant", "tenant", "enterprise")):
        text = given.get(name, "").strip()
        if not text:
            continue
        found[kind] = find(kind, text)
        if found[kind]:
            context[attribute] = str(found[kind].pk)
        elif _is_id(text):
            # Whoever has no account yet is bucketed by the id all the same.
            context[attribute] = text.lower()
        elif kind == "user" and "@" not in text:
            # Tenants' travellers have ids of the tenant's own.
            context[attribute] = text
        else:
            faults.append(FieldError(name, "unknown", f"There is no {kind} “{text[:100]}”."))
    tenant = found.get("tenant")
    if "enterprise" not in context and (user := found.get("user")):
        tenant = user.enterprise
    if tenant:
        # As the requests of its keys have it.
        context |= {"enterprise": str(tenant.pk), "plan": tenant.subscription_plan}
    rows = zip(given.getlist("name"), given.getlist("type"), given.getlist("value"), strict=False)
    for number, (name, kind, text) in enumerate(rows, 1):
        if not name.strip():
            continue
        if name.count(".") >= MAXIMUM_DEPTH:
            detail = f"At most {MAXIMUM_DEPTH} levels of nesting."
            faults.append(FieldError(f"attribute {number}", "depth", detail))
            continue
        try:
            _put(context, name.strip(), _typed(kind, text, f"attribute {number}"))
        except InvalidInput as error:
            faults += error.errors
    if faults:
        raise InvalidInput(faults)
    return context


def _put(context: dict[str, Any], name: str, value: Any) -> None:
    """Put a value where a dotted name says."""
    *way, last = name.split(".")
    for step in way:
        inner = context.get(step)
        if not isinstance(inner, dict):
            inner = context[step] = {}
        context = inner
    context[last] = value


def _typed(kind: str, text: str, field: str) -> Any:
    if kind == "boolean":
        if text.strip().lower() not in ("true", "false"):
            raise InvalidInput.of(field, "Give true or false.")
        return text.strip().lower() == "true"
    if kind not in ("number", "json"):
        return text
    value = parse_value(text, field)
    if _levels(value) > MAXIMUM_DEPTH:
        raise InvalidInput.of(field, f"At most {MAXIMUM_DEPTH} levels of nesting.")
    if kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidInput.of(field, "Give a number.")
    return value


def _levels(value: Any) -> int:
    """Return how many lists and objects stand in each other."""
    number, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        number += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return number


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
