"""A visit: one request to one storefront, and how its pages are made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails

from apps.storefront.assets import asset
from apps.storefront.branding import Brand, brand_of
from apps.storefront.sites import Site

URLCONF = "apps.storefront.urls"

# How long a page may be kept, by browsers and by proxies; it is the same for all who ask.
PAGE_SECONDS = 30


@dataclass
class Visit:
    """A request with the site that it is for."""

    request: HttpRequest
    site: Site

    @cached_property
    def brand(self) -> Brand:
        return brand_of(self.site.tenant, self.site.enterprise_name)

    @cached_property
    def htmx(self) -> HtmxDetails:
        return HtmxDetails(self.request)

    @property
    def wants_fragment(self) -> bool:
        """Whether a part of the page is asked for, and not a page to show as a whole."""
        return bool(self.htmx) and not self.htmx.history_restore_request and not self.htmx.boosted

    def page(
        self,
        template: str,
        context: dict[str, Any] | None = None,
        *,
        status: int = 200,
        keep_seconds: int = PAGE_SECONDS,
    ) -> HttpResponse:
        """Render a template with the brand; nothing of it depends on who asks."""
        # Without the request: context processors would look for a session.
        body = render_to_string(
            template,
            {
                "brand": self.brand,
                "theme_url": url("theme", self.brand.theme.digest),
                "css_url": url("asset", asset("storefront.css").digest, "storefront.css"),
                "js_url": url("asset", asset("storefront.js").digest, "storefront.js"),
                "htmx_url": url("asset", asset("htmx.js").digest, "htmx.js"),
                "logo_url": url("logo", self.brand.logo) if self.brand.logo else "",
                "icon_url": url("icon", self.brand.theme.digest),
                "home_url": url("home"),
                **(context or {}),
            },
        )
        response = HttpResponse(body, status=status)
        response["Cache-Control"] = (
            f"public, max-age={keep_seconds}" if keep_seconds else "no-store"
        )
        # One address answers whole pages and parts of them.
        patch_vary_headers(response, ["HX-Request"])
        return response


def url(name: str, *args: Any) -> str:
    """Return the path of a page of storefronts."""
    return reverse(f"storefront-{name}", urlconf=URLCONF, args=args)
