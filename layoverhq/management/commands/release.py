from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from layoverhq.environment import require_reachable


class Command(BaseCommand):
    help = "Bring the database to this release: every migration, in public and in own schemas."

    def handle(self, *args: Any, **options: Any) -> None:
        require_reachable("OWNER_DATABASE_URL")
        call_command("migrate_schemas", verbosity=options["verbosity"], interactive=False)
