"""The tabs of a key's page: versions, overrides, explanation, readers."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from apps.configs.admin.arrivals import AWAITED
from apps.configs.differences import brief
from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.queries import explain_config, processes_with, readers
from apps.configs.runtime import configs
from apps.tenants.models import Enterprise
from layoverhq.model_admin import PageTab

VERSIONS_SHOWN = 50
OVERRIDES_SHOWN = 50

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
        query = {"key": key.pk, "level": "tenant", "status": "active"}
        return {
            "tenants": True,
            "rows": [version_row(version, key) for version in found[:OVERRIDES_SHOWN]],
            "more_url": reverse("admin:configs_systemconfig_changelist") + f"?{urlencode(query)}"
            if len(found) > OVERRIDES_SHOWN
            else "",
        }


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
