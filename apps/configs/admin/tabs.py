"""The tabs of a key's page: versions, overrides, explanation, readers."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from apps.configs.admin.arrivals import AWAITED
from apps.configs.differences import NOTHING, brief, side_by_side
from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.queries import explain_config, processes_with, readers
from apps.configs.runtime import configs
from apps.tenants.models import Enterprise
from layoverhq.model_admin import PageTab

VERSIONS_SHOWN = 50
OVERRIDES_SHOWN = 50
CHOICES_SHOWN = 200

LAYERS = {
    "tenant": "The tenant's own value",
    "release": "Released to some tenants",
    "platform": "The platform's value",
    "default": "The declared default",
}
TONES = {
    "active": "success",
    "staged": "info",
    "scheduled": "warning",
    "draft": "warning",
    "rejected": "",
    "superseded": "",
}


def version_row(version: SystemConfig, key: ConfigKey) -> dict[str, Any]:
    """Return what a list shows of a version."""
    return {
        "version": version,
        "value": "cleared"
        if version.unset
        else brief(version.value, secret=version.is_secret, unit=key.unit),
        "tone": TONES[version.status],
        "url": reverse("admin:configs_systemconfig_change", args=[version.pk]),
    }


class KeyTab(PageTab):
    """A tab about one key."""

    @property
    def key(self) -> ConfigKey:
        return ConfigKey.objects.get(pk=self.object_id)


class VersionsTab(KeyTab):
    """Every value that the platform's level ever had or is to have, newest first."""

    model = SystemConfig
    model_name = "versions"
    title = "Versions"
    template_name = "admin/configs/tab_versions.html"

    def context(self) -> dict[str, Any]:
        key = self.key
        versions = SystemConfig.objects.of(key.pk, None).select_related("created_by", "change_set")
        found = list(versions.order_by("-version")[: VERSIONS_SHOWN + 1])
        return {
            "rows": [version_row(version, key) for version in found[:VERSIONS_SHOWN]],
            "more_url": reverse("admin:configs_systemconfig_changelist")
            + f"?{urlencode({'key': key.pk, 'level': 'platform'})}"
            if len(found) > VERSIONS_SHOWN
            else "",
        }


class OverridesTab(KeyTab):
    """The tenants that have values of their own."""

    model = SystemConfig
    model_name = "overrides"
    title = "Overrides"
    template_name = "admin/configs/tab_versions.html"

    def context(self) -> dict[str, Any]:
        key = self.key
        versions = (
            SystemConfig.objects.filter(
                config_key=key, is_active=True, unset=False, enterprise__isnull=False
            )
            .select_related("enterprise", "created_by", "change_set")
            .order_by("enterprise__name")
        )
        found = list(versions[: OVERRIDES_SHOWN + 1])
        query = {"key": key.pk, "level": "tenant", "status__exact": "active"}
        return {
            "tenants": True,
            "rows": [version_row(version, key) for version in found[:OVERRIDES_SHOWN]],
            "more_url": reverse("admin:configs_systemconfig_changelist") + f"?{urlencode(query)}"
            if len(found) > OVERRIDES_SHOWN
            else "",
        }


class CompareTab(PageTab):
    """A version beside another of its level: the one before it, or the one that is asked for."""

    model = SystemConfig
    model_name = "compare"
    title = "Compare"
    template_name = "admin/configs/tab_compare.html"

    def context(self) -> dict[str, Any]:
        version = SystemConfig.objects.get(pk=self.object_id)
        found = SystemConfig.objects.of(version.config_key_id, version.enterprise_id)
        others = list(found.exclude(pk=version.pk).order_by("-version")[:CHOICES_SHOWN])
        earlier = (other for other in others if other.version < version.version)
        left = self.asked("left", others) or next(earlier, None) or next(iter(others), None)
        return compared(left, version, lefts=others)

    def asked(self, name: str, choices: list[SystemConfig]) -> SystemConfig | None:
        """Return the version whose number the address names."""
        number = self.request.GET.get(name, "")
        return next((found for found in choices if str(found.version) == number), None)


class DiffTab(CompareTab):
    """Any two versions of a key, of the platform or of a tenant, side by side."""

    model = ConfigKey
    model_name = "diff"
    title = "Diff"

    def context(self) -> dict[str, Any]:
        slug = self.request.GET.get("tenant", "").strip().replace("\x00", "")
        tenant = Enterprise.objects.living().filter(slug=slug).first()
        found = SystemConfig.objects.of(self.object_id, tenant.pk if tenant else None)
        choices = list(found.order_by("-version")[:CHOICES_SHOWN])
        right = self.asked("right", choices) or next(iter(choices), None)
        left = self.asked("left", choices) or next(iter(choices[1:]), None)
        return {
            **compared(left, right, lefts=choices, rights=choices),
            "tenant": tenant,
            "slug": slug,
            "by_tenant": True,
        }


def compared(
    left: SystemConfig | None,
    right: SystemConfig | None,
    *,
    lefts: list[SystemConfig],
    rights: list[SystemConfig] | None = None,
) -> dict[str, Any]:
    """Return what the template shows of two versions, and which others could be chosen."""
    return {
        "left": left,
        "right": right,
        "lefts": lefts,
        "rights": rights or [],
        "secret": any(version.is_secret for version in (left, right) if version),
        "lines": side_by_side(_side(left), _side(right)),
    }


def _side(version: SystemConfig | None) -> Any:
    # Two sealings of one value differ, so that there is nothing to compare.
    if version is None or version.unset or version.is_secret:
        return NOTHING
    return version.value


class ExplainTab(KeyTab):
    """Which value holds for a tenant, and what it hides."""

    model = ConfigKey
    model_name = "explain"
    title = "Explain"
    template_name = "admin/configs/tab_explain.html"

    def context(self) -> dict[str, Any]:
        key = self.key
        slug = self.request.GET.get("tenant", "").strip()
        tenant = Enterprise.objects.living().filter(slug=slug.replace("\x00", "")).first()
        return {
            "key": key,
            "slug": slug,
            "tenant": tenant,
            "unknown": bool(slug) and tenant is None,
            "layers": [
                {
                    "layer": LAYERS[layer.layer],
                    "value": brief(layer.value, secret=key.is_secret, unit=key.unit),
                    "version": layer.version,
                    "holds": layer.holds,
                    "url": reverse("admin:configs_systemconfig_change", args=[layer.config_id])
                    if layer.config_id
                    else "",
                }
                for layer in explain_config(key.pk, tenant.pk if tenant else None)
            ],
            "fault": configs.faults().get((key.pk, tenant.pk if tenant else None), ""),
        }


class ReadersTab(KeyTab):
    """The code that asks for the key, and the processes that hold an old value of it."""

    model = ConfigKey
    model_name = "readers"
    title = "Who reads it"
    template_name = "admin/configs/tab_readers.html"

    def context(self) -> dict[str, Any]:
        key = self.key
        active = SystemConfig.objects.of(key.pk, None).filter(is_active=True, unset=False).first()
        return {
            "key": key,
            "readers": readers().get(key.pk, []),
            "awaited": AWAITED.get(key.pk, ""),
            "wanted": active.version if active else 0,
            "processes": processes_with(key.pk) if key.requires_restart else [],
        }
