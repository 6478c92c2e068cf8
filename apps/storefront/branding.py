"""How an enterprise's storefront looks: what its configuration says, made readable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import lru_cache

from apps.configs.runtime import configs
from apps.storefront import colours
from apps.storefront.colours import Palette
from layoverhq.tenancy import TenantRef

NAME = "storefront.name"
TAGLINE = "storefront.tagline"
PRIMARY = "storefront.primary_color"
ACCENT = "storefront.accent_color"
LOGO = "storefront.logo"
KEYS = (NAME, TAGLINE, PRIMARY, ACCENT, LOGO)


@dataclass(frozen=True, slots=True)
class Brand:
    """A storefront's name, words, colours and logo; `logo` is an image's digest or empty."""

    name: str
    tagline: str
    primary: str
    accent: str
    logo: str

    @property
    def theme(self) -> Theme:
        return theme(self.primary, self.accent)


@dataclass(frozen=True, slots=True)
class Theme:
    """The stylesheet of a pair of colours, and the digest that its address carries."""

    light: Palette
    dark: Palette
    css: str
    digest: str

    @property
    def least(self) -> dict[str, tuple[float, float]]:
        """Return each pair's least contrast in either theme, and what it needs."""
        return {
            name: (
                min(
                    colours.contrast(*palette.pairs[name][:2])
                    for palette in (self.light, self.dark)
                ),
                needed,
            )
            for name, (_, _, needed) in self.light.pairs.items()
        }


@lru_cache(maxsize=1024)
def theme(primary: str, accent: str) -> Theme:
    """Return the theme of two colours, `#rrggbb` each."""
    light, dark = colours.light(primary, accent), colours.dark(primary, accent)
    css = (
        f":root{{color-scheme:light dark;{_properties(light)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{_properties(dark)}}}}}"
    )
    return Theme(light, dark, css, hashlib.sha256(css.encode()).hexdigest()[:16])


def _properties(palette: Palette) -> str:
    return "".join(
        f"--{field.name.replace('_', '-')}:{getattr(palette, field.name)};"
        for field in fields(palette)
    )


def brand_of(tenant: TenantRef, enterprise_name: str) -> Brand:
    """Return what holds for the tenant, of one version of the configuration."""
    name, tagline, primary, accent, logo = values_of(tenant).values()
    return Brand(name or enterprise_name, tagline, primary.lower(), accent.lower(), logo)


def values_of(tenant: TenantRef | None) -> dict[str, str]:
    """Return what each of KEYS is for a tenant, or for the platform, of one version."""
    values = configs.together(
        "storefront.name",
        "storefront.tagline",
        "storefront.primary_color",
        "storefront.accent_color",
        "storefront.logo",
        tenant=tenant,
    )
    return dict(zip(KEYS, values, strict=True))
