"""What can be done with a flag: a table."""

from __future__ import annotations

from functools import partial

from django.http import HttpRequest
from unfold.enums import ActionVariant

from apps.flags.admin.verbs import Verb
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flags.operations import (
    amend_flag,
    archive_flag,
    kill_flag,
    restore_flag,
    revive_flag,
)
from layoverhq.model_admin import ReasonForm


def turn(flag: FeatureFlag, request: HttpRequest, form: ReasonForm, *, on: bool) -> FlagVersion:
    """Turn a flag on or off."""
    return amend_flag(flag=flag, changes={"enabled": on}, reason=_reason(form), actor=request.user)


def _reason(form: ReasonForm) -> str:
    return str(form.cleaned_data["reason"])


VERBS = (
    Verb(
        name="turn_on",
        title="Turn on",
        permission="publish",
        told="Its overrides, rules and rollout decide again. A protected flag gets a draft.",
        done="Turned on {}.",
        run=partial(turn, on=True),
        possible=lambda flag: not (flag.enabled or flag.is_archived),
        icon="toggle_on",
        variant=ActionVariant.SUCCESS,
    ),
    Verb(
        name="turn_off",
        title="Turn off",
        permission="publish",
        told="Everybody gets the off variant, overrides or not. A protected flag gets a draft: "
        "to stop one at once, kill it.",
        done="Turned off {}.",
        run=partial(turn, on=False),
        possible=lambda flag: flag.enabled and not flag.is_archived,
        icon="toggle_off",
    ),
    Verb(
        name="kill",
        title="Kill",
        permission="kill",
        told="Everybody gets the off variant at once, whatever overrides, drafts and steps say.",
        done="Killed {}: everybody gets its off variant.",
        run=lambda flag, request, form: kill_flag(flag=flag, reason=_reason(form)),
        possible=lambda flag: not flag.is_killed,
        icon="dangerous",
        variant=ActionVariant.DANGER,
    ),
    Verb(
        name="revive",
        title="Revive",
        permission="kill",
        told="Its definition holds again, as it stands now.",
        done="Revived {}: its definition holds again.",
        run=lambda flag, request, form: revive_flag(flag=flag),
        possible=lambda flag: flag.is_killed,
        icon="ecg_heart",
        variant=ActionVariant.SUCCESS,
    ),
    Verb(
        name="archive",
        title="Archive",
        permission="publish",
        told="It answers its off variant, leaves the lists, and nothing new may stand on it.",
        done="Archived {}.",
        run=lambda flag, request, form: archive_flag(
            flag=flag, reason=_reason(form), actor=request.user
        ),
        possible=lambda flag: not flag.is_archived,
        icon="archive",
    ),
    Verb(
        name="restore",
        title="Take into use again",
        permission="publish",
        told="It answers as it did before it was archived.",
        done="Took {} into use again.",
        run=lambda flag, request, form: restore_flag(
            flag=flag, reason=_reason(form), actor=request.user
        ),
        possible=lambda flag: flag.is_archived,
        icon="unarchive",
    ),
)


def obstacle(flag: FeatureFlag, verb: Verb) -> str:
    """Say why a flag chosen in the list is left out, nothing where it is not."""
    if not verb.possible(flag):
        if flag.is_archived:
            return "is archived"
        already = {"turn_on": "is on already", "turn_off": "is off already"}
        return already.get(verb.name, "is killed already")
    if flag.is_protected and verb.name != "kill":
        return "is protected: it takes a draft of its own"
    return ""
