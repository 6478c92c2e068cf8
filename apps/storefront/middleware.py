"""On an enterprise's host only its storefront is served, and nothing else of the platform."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

from apps.storefront.answering import answer, unavailable
from apps.storefront.sites import Site, site_of
from layoverhq.middleware import UNREACHABLE, GetResponse

# Hand-written pages need nothing from elsewhere, and nothing inside of them.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class StorefrontMiddleware:
    """Answer for enterprises' hosts, and let everything else pass.

    It stands before sessions and users, so that no cookie means anything on these hosts, and
    before what checks ALLOWED_HOSTS, so that a new domain needs no restart.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.compress = GZipMiddleware(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            site = site_of(request)
        except UNREACHABLE as error:
            return _secured(request, unavailable(request, error))
        if site is None:
            return self.get_response(request)
        if settings.SECURE_SSL_REDIRECT and not request.is_secure():
            return HttpResponsePermanentRedirect(f"https://{site.host}{request.get_full_path()}")
        response = self._answered(request, site)
        return _secured(request, response)

    def _answered(self, request: HttpRequest, site: Site) -> HttpResponseBase:
        return self.compress.process_response(request, answer(request, site))


def _secured(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    for name, value in HEADERS.items():
        response.setdefault(name, value)
    if settings.SECURE_HSTS_SECONDS and request.is_secure():
        # Of the enterprise's other hosts we know nothing: they are left out.
        response.setdefault("Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}")
    return response
