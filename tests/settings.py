"""The project's settings, with a password hash that costs nothing."""

from layoverhq.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
