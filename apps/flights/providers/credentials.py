"""What each kind of provider wants of those who ask it: secret configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from apps.configs.runtime import HasId, SecretUnreadable, configs
from layoverhq.remote import RemoteFault

# Shown to operators; the code below names each by a literal.
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "amadeus": ("provider.amadeus.client_id", "provider.amadeus.client_secret"),
    "duffel": ("provider.duffel.token",),
    "kiwi": ("provider.kiwi.api_key",),
}


def credentials_of(kind: str, buyer: HasId | None = None) -> tuple[str, ...]:
    """Return the credentials of a kind in the order of KEYS, an enterprise's own where it has any.

    Raises RemoteFault: no_credentials.
    """
    try:
        if kind == "amadeus":
            found = configs.together(
                "provider.amadeus.client_id", "provider.amadeus.client_secret", tenant=buyer
            )
        elif kind == "duffel":
            found = configs.together("provider.duffel.token", tenant=buyer)
        else:
            found = configs.together("provider.kiwi.api_key", tenant=buyer)
    except SecretUnreadable as error:
        raise RemoteFault("no_credentials", f"A credential does not open: {error}") from error
    found = tuple(value.strip() if value else "" for value in found)
    missing = [key for key, value in zip(KEYS[kind], found, strict=True) if not value]
    if missing:
        raise RemoteFault("no_credentials", f"Set {' and '.join(missing)} first.")
    unusable = [
        key
        for key, value in zip(KEYS[kind], found, strict=True)
        if not (value.isascii() and value.isprintable())
    ]
    if unusable:
        detail = f"{' and '.join(unusable)}: there are characters in it that no header can have."
        raise RemoteFault("no_credentials", detail)
    return found
