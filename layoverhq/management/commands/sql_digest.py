from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from layoverhq.migrations import digest_of, sql_folder


class Command(BaseCommand):
    help = "Print the digest that a migration pins for an app's SQL file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app_label")
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        path = sql_folder(options["app_label"]) / f"{options['name']}.sql"
        if not path.exists():
            raise CommandError(f"{path} does not exist")
        self.stdout.write(digest_of(path.read_text()))
