"""`manage.py stack`: the embedded servers by hand."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from layoverhq import environment
from layoverhq.stack import Stack, StackProblem


class Command(BaseCommand):
    help = "Start, stop, show or erase this checkout's embedded PostgreSQL and Valkey."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "status", "reset"])
        parser.add_argument("--yes", action="store_true", help="reset: erase without asking")

    def handle(self, *args: Any, action: str, yes: bool, **options: Any) -> None:
        stack = Stack(environment.var_directory())
        try:
            match action:
                case "start":
                    stack.start()
                    self._show(stack)
                case "stop":
                    stopped = stack.stop()
                    self.stdout.write(
                        f"Stopped {' and '.join(stopped)}." if stopped else "Nothing was running."
                    )
                case "status":
                    self._show(stack)
                case "reset":
                    self._reset(stack, yes)
        except StackProblem as problem:
            raise CommandError(str(problem)) from problem

    def _show(self, stack: Stack) -> None:
        for server in stack.status():
            if server.pid is None:
                self.stdout.write(f"{server.name}: stopped")
            else:
                self.stdout.write(f"{server.name}: 127.0.0.1:{server.port} (pid {server.pid})")

    def _reset(self, stack: Stack, yes: bool) -> None:
        if not yes:
            raise CommandError(f"this erases all data in {stack.directory}: repeat it with --yes")
        stack.reset()
        # Its password and key belonged to the erased database.
        (stack.directory / "access.json").unlink(missing_ok=True)
        self.stdout.write("Erased; the next start begins with an empty database.")
