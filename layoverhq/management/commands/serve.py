from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from apps.configs.runtime import configs
from layoverhq import environment
from layoverhq.snapshot import connect
from layoverhq.startup import verify

# How long requests may take to end.
STOP_SECONDS = 10


class Command(BaseCommand):
    help = "Serve API, admin and docs over HTTP (granian, WSGI) on PORT."

    def handle(self, *args: Any, **options: Any) -> None:
        verify()
        if settings.PRODUCTION:
            call_command("collectstatic", interactive=False, verbosity=0)
        # Read once and not followed: what follows would not survive the exec below.
        with connect() as connection:
            configs.directory.refresh(connection, at_least=0)
        arguments = [
            sys.executable,
            "-m",
            "granian",
            "--interface=wsgi",
            f"--host={environment.read('HOST') or '127.0.0.1'}",
            f"--port={environment.integer('PORT', 8000, 1, 65535)}",
            f"--workers={environment.integer('WEB_WORKERS', 2, 1, 512)}",
            f"--blocking-threads={configs.get('web.threads')}",
            "--backlog=2048",
            "--respawn-failed-workers",
            # One whose signal another of its threads takes is never told, and would be waited for.
            f"--workers-kill-timeout={STOP_SECONDS}",
            "--no-access-log",
            "layoverhq.wsgi:application",
        ]
        os.execv(sys.executable, arguments)  # noqa: S606 - our own interpreter, fixed arguments
