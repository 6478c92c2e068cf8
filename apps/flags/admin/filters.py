"""Filters of the list of flags."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.flags.admin.versions import WAITING
from apps.flags.models import FeatureFlag, FlagVersion
from apps.flags.staleness import stale_flags
from apps.tenants.models import User
from layoverhq.keyset import TextFilter, WindowFilter


class StateFilter(WindowFilter):
    title = "state"
    parameter_name = "state"
    windows = (
        ("used", "In use"),
        ("on", "On"),
        ("off", "Off"),
        ("killed", "Killed"),
        ("steps", "With steps to come"),
        ("stuck", "With a stuck step"),
        ("waiting", "With drafts waiting"),
        ("expired", "Past their expiry"),
        ("stale", "Stale"),
        ("archived", "Archived"),
        ("all", "All"),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        states = {
            "on": Q(enabled=True, is_killed=False),
            "off": Q(enabled=False, is_killed=False),
            "killed": Q(is_killed=True),
            "steps": Q(next_step_at__isnull=False),
            "stuck": ~Q(step_problem=""),
            "waiting": Q(pk__in=FlagVersion.objects.filter(status__in=WAITING).values("flag")),
            "expired": Q(expires_date__lt=timezone.now().date()),
            "used": Q(),
        }
        if chosen == "all":
            return queryset
        if chosen == "stale":
            found = stale_flags(timezone.now())
            return queryset.filter(pk__in=[stale.flag.pk for stale in found])
        if chosen == "archived":
            return queryset.filter(is_archived=True)
        return queryset.filter(states[chosen], is_archived=False)


class TagFilter(TextFilter):
    title = "tag"
    parameter_name = "tag"
    placeholder = "search"

    def matching(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if "\x00" in value:
            raise ValueError("NUL")
        return queryset.filter(tags__contains=[value])


class OwnerFilter(SimpleListFilter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        owning = FeatureFlag.objects.exclude(owner=None).values("owner")
        people = User.objects.filter(pk__in=owning).order_by("email")
        return [("nobody", "Nobody"), *((str(user.pk), user.email) for user in people)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen == "nobody":
            return queryset.filter(owner=None)
        known = {value for value, _ in self.lookup_choices}
        return queryset.filter(owner=chosen) if chosen in known else queryset
