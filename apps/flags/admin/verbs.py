"""What can be done with a flag, a version, an experiment from a dialog that asks why: verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.enums import ActionVariant

from apps.flags.models import FeatureFlag, FlagVersion
from layoverhq.admin_site import give_reason, go_to
from layoverhq.model_admin import ReasonForm

T = TypeVar("T")

# Takes the object, the request and the filled form; returns what came of it.
Run = Callable[[Any, HttpRequest, ReasonForm], Any]


@dataclass(frozen=True, slots=True)
class Verb:
    """An action with a reason. `done` is its message, with the object's name in place of {}."""

    name: str
    title: str
    permission: str
    told: str
    done: str
    run: Run
    possible: Callable[[Any], bool]
    icon: str
    variant: ActionVariant = ActionVariant.DEFAULT
    form: type[ReasonForm] = ReasonForm
    # The word on the dialog, where it is not the title.
    submit: str = ""

    def method(self) -> Callable[..., HttpResponse]:
        """Return the admin's method."""
        form_class = type(f"{self.name.title()}Form", (self.form,), {"consequence": self.told})

        def do(admin: Any, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
            give_reason(form.cleaned_data["reason"])
            chosen = admin.asked(request, object_id)
            result = self.run(chosen, request, form)
            answer: HttpResponse = admin.told_of(request, chosen, result, self.done)
            return answer

        do.__name__ = self.name
        method: Callable[..., HttpResponse] = action(
            description=f"{self.title}…",
            permissions=[self.permission],
            icon=self.icon,
            variant=self.variant,
            url_path=self.name.replace("_", "-"),
            dialog=ActionDialog(
                title=self.submit or self.title,
                description="",
                form_class=form_class,
                form_submit_text=self.submit or self.title,
            ),
        )(do)
        return method


DRAFTED = "Drafted {}: it holds once it is published."


def is_draft(result: FeatureFlag | FlagVersion) -> bool:
    """Return whether a change still waits."""
    return isinstance(result, FlagVersion) and result.status == FlagVersion.Status.DRAFT


def tell(request: HttpRequest, result: FeatureFlag | FlagVersion, done: str) -> HttpResponse:
    """Say what came of it and lead to its page: the flag's once it holds, else the version's."""
    if isinstance(result, FlagVersion) and result.status != FlagVersion.Status.ACTIVE:
        messages.success(request, done.format(f"“{result}”"))
        return go_to(request, version_url(result.pk))
    flag = result.flag if isinstance(result, FlagVersion) else result
    number = f" It is version {result.number}." if isinstance(result, FlagVersion) else ""
    messages.success(request, done.format(f"“{flag}”") + number)
    return go_to(request, flag_url(flag.pk))


def found(objects: QuerySet[Any], object_id: Any) -> Any:
    """Return the object of an id as an address has it, None where there is none."""
    try:
        return objects.filter(pk=UUID(str(object_id))).first()
    except ValueError:
        return None


def named(thing: T | None) -> T:
    """Return what was found. Raises Http404 where nothing was."""
    if thing is None:
        raise Http404
    return thing


def flag_url(pk: Any, name: str = "change") -> str:
    """Return a page of a flag."""
    return reverse(f"admin:flags_featureflag_{name}", args=[pk])


def version_url(pk: Any, name: str = "change") -> str:
    """Return a page of a version."""
    return reverse(f"admin:flags_flagversion_{name}", args=[pk])


def with_verbs(verbs: Iterable[Verb]) -> Callable[[type], type]:
    """Give an admin a method for each verb; it shows those that are possible for an object."""
    table = {verb.name: verb for verb in verbs}

    def decorate(admin: type) -> type:
        for verb in table.values():
            setattr(admin, verb.name, verb.method())
        admin.verbs = table  # type: ignore[attr-defined]
        return admin

    return decorate


class VerbsMixin:
    """Of an admin with verbs; unless it says otherwise, its page is the summary on top of its tabs.

    `shown_with` names what is read with the object.
    """

    verbs: dict[str, Verb]
    shown_with: tuple[str, ...]

    def find(self, object_id: Any) -> Any:
        """Return the object of an id as an address has it, None where there is none."""
        return found(self.model.objects.select_related(*self.shown_with), object_id)  # type: ignore[attr-defined]

    def asked(self, request: HttpRequest, object_id: Any) -> Any:
        """Return the object that an address names. Raises Http404."""
        return named(self.find(object_id))

    def told_of(
        self, request: HttpRequest, chosen: Any, result: FeatureFlag | FlagVersion, done: str
    ) -> HttpResponse:
        """Say what came of a verb, and show it."""
        drafted = is_draft(result) and result.pk != chosen.pk
        return tell(request, result, DRAFTED if drafted else done)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show no form: the summary says it in words."""
        return []

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Leave out what cannot be done with the object as it stands."""
        chosen = self.find(object_id)
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"  # type: ignore[attr-defined]
        hidden = {
            prefix + name
            for name, verb in self.verbs.items()
            if chosen is None or not verb.possible(chosen)
        }
        permitted = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return [item for item in permitted if item.action_name not in hidden]
