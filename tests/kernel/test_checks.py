"""What a deployment must have, and how its absence is said."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys

import pytest
from django.conf import settings as live_settings
from django.core.checks import run_checks

from layoverhq.environment import EnvironmentProblem
from layoverhq.startup import verify


def strong_key(name: str = "k1") -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def found() -> list[tuple[str | None, str]]:
    return [
        (message.id, message.msg)
        for message in run_checks(tags=["layoverhq"], include_deployment_checks=True)
    ]


@pytest.fixture
def strong(settings):
    """Settings with secrets that will do."""
    settings.SECRET_KEY = secrets.token_urlsafe(50)
    settings.ENCRYPTION_KEYS = [strong_key()]
    return settings


def test_checks__strong_secrets__find_nothing(strong):
    strong.ENCRYPTION_KEYS = [strong_key("k2"), strong_key("k1")]
    assert found() == []


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "layoverhq.E001"),
        ("short", "layoverhq.E002"),
        ("a" * 60, "layoverhq.E002"),
        ("ab" * 40, "layoverhq.E002"),
        ("django-insecure-Qm7vT2xWk9LpR4sYdZ8nBf3hJc6gUe1aXo5iMtDyVrNbGqPwEzKs", "layoverhq.E002"),
    ],
)
def test_secret_key__missing_or_weak__is_an_error(strong, key, code):
    strong.SECRET_KEY = key
    ((found_code, said),) = found()
    assert found_code == code
    assert said.startswith("SECRET_KEY ")
    assert not key or key not in said


@pytest.mark.parametrize(
    ("keys", "code", "words"),
    [
        ([], "layoverhq.E003", "is not set"),
        (["no-colon"], "layoverhq.E004", "name:base64"),
        ([":" + strong_key()[3:]], "layoverhq.E004", "name:base64"),
        (["k1:***"], "layoverhq.E004", "is not base64"),
        (["k1:" + base64.b64encode(b"short").decode()], "layoverhq.E004", "5 bytes"),
        (["k1:" + base64.b64encode(b"a" * 32).decode()], "layoverhq.E004", "is weak"),
        (["k1:" + base64.b64encode(bytes(33)).decode()], "layoverhq.E004", "33 bytes"),
    ],
)
def test_encryption_keys__missing_or_weak__are_errors_without_the_key(strong, keys, code, words):
    strong.ENCRYPTION_KEYS = keys
    ((found_code, said),) = found()
    assert found_code == code
    assert said.startswith("ENCRYPTION_KEYS ")
    assert words in said
    for key in keys:
        assert key.partition(":")[2] == "" or key.partition(":")[2] not in said


def test_encryption_keys__one_of_two_weak__is_told_by_its_place(strong):
    strong.ENCRYPTION_KEYS = [strong_key(), "k2:AAAA"]
    ((_, said),) = found()
    assert "key 2" in said


def test_encryption_keys__one_name_for_two__is_an_error(strong):
    strong.ENCRYPTION_KEYS = [strong_key("k1"), strong_key("k2"), strong_key("k1")]
    assert found() == [
        ("layoverhq.E005", "ENCRYPTION_KEYS key 3 (k1) has the name of an earlier one")
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("SECRET_KEY", "weak"), ("ENCRYPTION_KEYS", ["k1:AAAA"])]
)
def test_verify__in_production_with_a_weak_secret__refuses(strong, name, value):
    setattr(strong, name, value)
    verify()
    strong.PRODUCTION = True
    with pytest.raises(EnvironmentProblem, match=f"^{name}: "):
        verify()


def manage(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command as production does: nothing but its own environment."""
    urls = ("DATABASE_URL", "OPERATOR_DATABASE_URL", "OWNER_DATABASE_URL", "REDIS_URL")
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=live_settings.BASE_DIR,
        env={
            "PATH": os.environ["PATH"],
            "ENVIRONMENT": "production",
            "VAR_DIR": os.environ["VAR_DIR"],
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ENCRYPTION_KEYS": strong_key(),
            "ALLOWED_HOSTS": "api.example.com",
            **{name: os.environ[name] for name in urls},
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_deploy__production_settings__is_clean():
    process = manage("check", "--deploy", "--fail-level", "WARNING")
    assert process.returncode == 0, process.stderr
    assert "no issues" in process.stdout


def test_check_deploy__without_secrets__fails_and_names_both():
    process = manage("check", "--deploy", SECRET_KEY="", ENCRYPTION_KEYS="")
    assert process.returncode == 1
    assert "SECRET_KEY is not set" in process.stderr
    assert "ENCRYPTION_KEYS is not set" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("DATABASE_URL", ""), ("REDIS_URL", "http://x"), ("PROXY_COUNT", "many")],
)
def test_command__malformed_variable__is_one_line_that_names_it(variable, value):
    process = manage("check", **{variable: value})
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {variable}: ")
    assert len(process.stderr.strip().splitlines()) == 1
