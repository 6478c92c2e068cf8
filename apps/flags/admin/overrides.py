"""The answers that single tenants and users have of their own: found, given, taken away."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html_join
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.flags.admin.known import reason_on_page
from apps.flags.admin.verbs import DRAFTED, flag_url, is_draft, tell
from apps.flags.models import FeatureFlag
from apps.flags.operations import set_override
from apps.tenants.models import Enterprise, User
from layoverhq.admin_site import give_reason, go_to
from layoverhq.model_admin import PageTab

PER_PAGE = 50
MODELS = {"tenant": "enterprise", "user": "user"}
NONE = ""


def people(kind: str) -> QuerySet[Any]:
    """Return the living tenants or users."""
    return Enterprise.objects.living() if kind == "tenant" else User.objects.living()


def find(kind: str, text: str) -> Any:
    """Return the tenant of a slug or id, the user of an email or id; None where there is none."""
    text = text.strip().replace("\x00", "")
    named = {"slug": text} if kind == "tenant" else {"email__iexact": text}
    with suppress(ValueError):
        named = {"pk": UUID(text)}
    return people(kind).filter(**named).first()


SUGGESTED = {
    "tenant": ("tenants.view_enterprise", ("slug", "name")),
    "user": ("tenants.view_user", ("email", "name")),
}
SUGGESTIONS = 12


def suggesting(kind: str) -> dict[str, str]:
    """Return the attributes of a field that proposes tenants or users while somebody types."""
    return {
        "list": f"{kind}-suggestions",
        "hx-get": reverse("admin:flags_featureflag_suggest", args=[kind]),
        "hx-trigger": "input changed delay:200ms",
        "hx-target": f"#{kind}-suggestions",
        "hx-swap": "innerHTML",
    }


def suggestions(request: HttpRequest, kind: str) -> HttpResponse:
    """Answer such a field, whatever its name; only what the operator may see anyway."""
    permission, names = SUGGESTED[kind]
    typed = next(iter(request.GET.values()), "").strip().replace("\x00", "")
    found: list[Any] = []
    if typed and request.user.has_perm(permission):
        found = list(people(kind).filter(_matching(names, typed)).order_by(names[0])[:SUGGESTIONS])
    options = ((getattr(each, names[0]), each.name) for each in found)
    return HttpResponse(format_html_join("", '<option value="{}">{}</option>', options))


def _matching(names: tuple[str, ...], search: str) -> Q:
    found = Q()
    for name in names if search else ():
        found |= Q(**{f"{name}__icontains": search})
    return found


def choices(flag: FeatureFlag) -> list[tuple[str, str]]:
    """Return the answers that an override may give, as a select has them."""
    return [
        ("true", f"on ({flag.on_variant})"),
        ("false", f"off ({flag.off_variant})"),
        *((f"={variant['key']}", f"variant {variant['key']}") for variant in flag.variants),
        (NONE, "none of its own: remove"),
    ]


def chosen(to: Any) -> str:
    """Return an override as choices() have it."""
    return {True: "true", False: "false", None: NONE}.get(to, f"={to}")


class OverrideForm(forms.Form):
    """Who, which answer, and why."""

    of = forms.CharField(
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}), max_length=255
    )
    to = forms.ChoiceField(label="Answer", required=False, widget=UnfoldAdminSelectWidget)
    reason = reason_on_page()

    def __init__(self, *args: Any, flag: FeatureFlag, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, auto_id=f"id_{kind}_%s", **kwargs)
        self.kind = kind
        self.flag = flag
        self.fields["of"].label = "Tenant" if kind == "tenant" else "User"
        self.fields["of"].help_text = "Slug or id." if kind == "tenant" else "Email or id."
        self.fields["of"].widget.attrs |= suggesting(kind)
        self.fields["to"].choices = choices(flag)

    def clean_of(self) -> UUID:
        text = self.cleaned_data["of"]
        found = find(self.kind, text)
        if found is not None:
            return UUID(str(found.pk))
        # Who is gone may still have an override, which somebody wants to take away.
        held = getattr(self.flag, f"{self.kind}_overrides")
        if text.strip() in held:
            return UUID(text.strip())
        raise ValidationError(f"There is no {self.kind} “{text[:100]}”.")

    def clean_to(self) -> bool | str | None:
        given = self.cleaned_data["to"]
        fixed: dict[str, bool | None] = {"true": True, "false": False, NONE: None}
        return fixed[given] if given in fixed else given.removeprefix("=")


def set_from(request: HttpRequest, flag: FeatureFlag) -> HttpResponse:
    """Do what the form of a tab asks for; what it refuses is told on the tab."""
    kind = "user" if request.POST.get("kind") == "user" else "tenant"
    form = OverrideForm(request.POST, flag=flag, kind=kind)
    tab = f"{flag_url(flag.pk)}#dataset-{kind}s"
    if not form.is_valid():
        typed = {name: request.POST.get(name, "")[:300] for name in ("of", "to", "reason")}
        typed["tab"] = f"{kind}s"
        for name, errors in form.errors.items():
            messages.error(request, f"{form.fields[name].label or name}: {' '.join(errors)}")
        return go_to(request, f"{flag_url(flag.pk)}?{urlencode(typed)}#dataset-{kind}s")
    cleaned = form.cleaned_data
    if getattr(flag, f"{kind}_overrides").get(str(cleaned["of"])) == cleaned["to"]:
        messages.info(request, "It is so already.")
        return go_to(request, tab)
    give_reason(cleaned["reason"])
    version = set_override(flag=flag, kind=kind, actor=request.user, **cleaned)  # type: ignore[arg-type]
    if is_draft(version):
        return tell(request, version, DRAFTED)
    named = request.POST.get("of", "").strip()
    what = "has no answer of its own" if cleaned["to"] is None else "has its own answer"
    messages.success(request, f"“{named}” {what} now, version {version.number}.")
    return go_to(request, tab)


class OverridesTab(PageTab):
    """Who has an answer of their own, a page at a time, and the form that changes it."""

    model = FeatureFlag
    template_name = "admin/flags/tab_overrides.html"
    kind: ClassVar[str]

    def context(self) -> dict[str, Any]:
        flag = FeatureFlag.objects.get(pk=self.object_id)
        held: dict[str, Any] = getattr(flag, f"{self.kind}_overrides")
        query = self.request.GET
        search = query.get(f"{self.kind}_q", "").strip().replace("\x00", "")
        names = SUGGESTED[self.kind][1]
        found = people(self.kind).filter(pk__in=_ids(held))
        if search:
            by_id = Q(pk__in=_ids(of for of in held if search in of))
            found = found.filter(_matching(names, search) | by_id)
        known = {str(pk): name for pk, name in found.order_by().values_list("pk", names[0])}
        told = dict(choices(flag))
        rows = [
            {
                "id": of,
                "found": of in known,
                "named": known.get(of, of),
                "told": told.get(chosen(to), str(to)),
                "chosen": chosen(to),
            }
            for of, to in held.items()
            if of in known or not search or search in of
        ]
        rows.sort(key=lambda row: str(row["named"]))
        page = Paginator(rows, PER_PAGE).get_page(query.get(f"{self.kind}_page"))
        asks = self.model_name == query.get("tab")
        return {
            "flag": flag,
            "kind": self.kind,
            "search": search,
            "page": page,
            "number": len(held),
            "may_change": self.request.user.has_perm("flags.change_featureflag")
            and self.request.user.has_perm("flags.publish_flagversion"),
            "form": OverrideForm(
                flag=flag,
                kind=self.kind,
                initial={name: query.get(name, "") for name in ("of", "to", "reason")}
                if asks
                else {"to": "true"},
            ),
            "action": reverse("admin:flags_featureflag_override", args=[flag.pk]),
            "object_url": f"admin:tenants_{MODELS[self.kind]}_change",
        }


class TenantsTab(OverridesTab):
    kind = "tenant"
    model_name = "tenants"
    title = "Tenants"


class UsersTab(OverridesTab):
    kind = "user"
    model_name = "users"
    title = "Users"


def _ids(held: Iterable[str]) -> list[UUID]:
    found = []
    for of in held:
        try:
            found.append(UUID(of))
        except ValueError:
            continue
    return found
