"""What a flag was: its versions, two of them beside each other, what one of them changes."""

from __future__ import annotations

from typing import Any

from apps.configs.differences import NOTHING, side_by_side
from apps.flags.admin.telling import status_pill
from apps.flags.admin.verbs import version_url
from apps.flags.definitions import document_of
from apps.flags.models import FeatureFlag, FlagVersion
from layoverhq.model_admin import PageTab

Status = FlagVersion.Status

HISTORY = (Status.ACTIVE, Status.SUPERSEDED, Status.REJECTED)
VERSIONS_SHOWN = 50
CHOICES_SHOWN = 200


class VersionsTab(PageTab):
    """Every version, newest first."""

    model = FlagVersion
    model_name = "versions"
    title = "Versions"
    template_name = "admin/flags/tab_versions.html"

    def context(self) -> dict[str, Any]:
        versions = FlagVersion.objects.filter(flag=self.object_id).order_by("-number")
        found = list(versions.select_related("author", "approved_by")[: VERSIONS_SHOWN + 1])
        return {
            "rows": [
                {
                    "version": version,
                    "status": status_pill(version),
                    "url": version_url(version.pk),
                }
                for version in found[:VERSIONS_SHOWN]
            ],
            "more": len(found) > VERSIONS_SHOWN,
            "flag": FeatureFlag.objects.get(pk=self.object_id),
        }


class DiffTab(PageTab):
    """Any two versions side by side."""

    model = FeatureFlag
    model_name = "diff"
    title = "Diff"
    template_name = "admin/flags/tab_diff.html"

    def context(self) -> dict[str, Any]:
        versions = FlagVersion.objects.filter(flag=self.object_id).order_by("-number")
        choices = list(versions[:CHOICES_SHOWN])
        right = self.asked("right", choices) or next(iter(choices), None)
        earlier = (version for version in choices if right and version.number < right.number)
        left = self.asked("left", choices) or next(earlier, None)
        whole = "whole" in self.request.GET
        return {
            "choices": choices,
            "left": left,
            "right": right,
            "whole": whole,
            "lines": side_by_side(
                left.definition if left else NOTHING,
                right.definition if right else NOTHING,
                around=None if whole else 3,
            ),
        }

    def asked(self, name: str, choices: list[FlagVersion]) -> FlagVersion | None:
        """Return the version whose number the address names."""
        number = self.request.GET.get(name, "")
        return next((found for found in choices if str(found.number) == number), None)


def change_of(version: FlagVersion, *, whole: bool) -> dict[str, Any]:
    """Return what a version changes: of what holds while it waits, else of its base."""
    waits = version.status not in HISTORY
    if waits:
        before: Any = document_of(version.flag)
    else:
        base = version.flag.versions.filter(number=version.base_number).first()
        before = base.definition if base else NOTHING
    return {
        "waits": waits,
        "whole": whole,
        "lines": side_by_side(before, version.definition, around=None if whole else 3),
    }
