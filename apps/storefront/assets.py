"""The few files that all storefronts load, by addresses that never change their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

FILES = {
    "storefront.css": ("apps.storefront", "static/storefront/storefront.css", "text/css"),
    "storefront.js": ("apps.storefront", "static/storefront/storefront.js", "text/javascript"),
    "htmx.js": ("django_htmx", "static/django_htmx/htmx-2.min.js", "text/javascript"),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file's content, its type, and the digest that its address carries."""

    content: bytes
    content_type: str
    digest: str


@cache
def asset(name: str) -> Asset:
    """Return a file of FILES."""
    package, path, kind = FILES[name]
    content = files(package).joinpath(path).read_bytes()
    return Asset(content, f"{kind}; charset=utf-8", hashlib.sha256(content).hexdigest()[:16])
