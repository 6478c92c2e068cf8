"""Secrets at rest: sealed with AES-256-GCM by a key of the ring in ENCRYPTION_KEYS.

The first key seals and all of them open. What a secret belongs to goes in as associated data, so
that a sealed text opens nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import os
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from layoverhq.checks import key_problem

MARK = "sealed"
NONCE_BYTES = 12


class CannotOpen(Exception):
    """The sealed text cannot be opened; the message says why and never what it holds."""


class CannotSeal(Exception):
    """There is no usable first key in ENCRYPTION_KEYS."""


@cache
def _ring(entries: tuple[str, ...]) -> dict[str, AESGCM]:
    ring: dict[str, AESGCM] = {}
    for entry in entries:
        if not key_problem(entry):
            name, _, encoded = entry.partition(":")
            # Of two keys of one name it is the first that seals.
            ring.setdefault(name, AESGCM(base64.b64decode(encoded)))
    return ring


def sealing_key() -> str:
    """Return the name of the key that seals; raises CannotSeal where there is none to use."""
    entries = tuple(settings.ENCRYPTION_KEYS)
    if not entries:
        raise CannotSeal("ENCRYPTION_KEYS is not set, so that nothing can be sealed.")
    if fault := key_problem(entries[0]):
        raise CannotSeal(f"The first key of ENCRYPTION_KEYS {fault}.")
    return entries[0].partition(":")[0]


def key_names() -> list[str]:
    """Return the names of the ring's usable keys, the sealing one first."""
    return list(_ring(tuple(settings.ENCRYPTION_KEYS)))


def seal(secret: bytes, *, owner: str) -> str:
    """Return `sealed:<key>:<base64 of nonce and ciphertext>`; `owner` says whose secret it is."""
    name = sealing_key()
    nonce = os.urandom(NONCE_BYTES)
    body = _ring(tuple(settings.ENCRYPTION_KEYS))[name].encrypt(nonce, secret, owner.encode())
    return f"{MARK}:{name}:{base64.b64encode(nonce + body).decode()}"


def unseal(text: str, *, owner: str) -> bytes:
    """Return the secret. Raises CannotOpen."""
    name = sealed_by(text)
    cipher = _ring(tuple(settings.ENCRYPTION_KEYS)).get(name)
    if cipher is None:
        raise CannotOpen(f"it is sealed with the key “{name}”, which ENCRYPTION_KEYS has not")
    try:
        body = base64.b64decode(text.rpartition(":")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise CannotOpen("it is damaged") from error
    if len(body) <= NONCE_BYTES:
        raise CannotOpen("it is damaged")
    try:
        return cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], owner.encode())
    except InvalidTag as error:
        raise CannotOpen(
            f"the key “{name}” does not open it: another key of that name sealed it, or it was"
            " moved or damaged"
        ) from error


def sealed_by(text: str) -> str:
    """Return the name of the key that sealed it. Raises CannotOpen for anything else."""
    mark, _, rest = text.partition(":")
    name, separator, _ = rest.rpartition(":")
    if mark != MARK or not separator:
        raise CannotOpen("it is not sealed")
    return name
