"""A server of the project's own and a browser to look at it with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
from playwright.sync_api import Page, sync_playwright

from apps.tenants.models import User
from tests.tenants import factories

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Serve the worker's database as `make up` does; returns the URL."""
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "PORT": str(port), "WEB_WORKERS": "1", "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen([sys.executable, "manage.py", "serve"], cwd=ROOT, env=environ)
    url = f"http://127.0.0.1:{port}"
    try:
        _await(f"{url}/healthz", process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server
                return
        except (URLError, OSError):
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)


@pytest.fixture
def account() -> User:
    """An operator; made before the browser starts, whose loop forbids Django's database calls."""
    return factories.make_operator()


@pytest.fixture(params=[(1280, 800), (390, 844)], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, account: User) -> Iterator[Page]:
    """A page of a fresh browser, at the width of a desk or of a phone."""
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")
    width, height = request.param
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(15_000)
        yield context.new_page()
        browser.close()
