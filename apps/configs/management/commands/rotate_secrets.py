from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from apps.configs.operations import Resealing, reseal_secrets
from layoverhq.checks import check_encryption_keys
from layoverhq.startup import verify
from layoverhq.tenancy import operator_scope


class Command(BaseCommand):
    help = "Seal every secret anew with the first key of ENCRYPTION_KEYS; may be run again."

    def handle(self, *args: Any, **options: Any) -> None:
        for message in check_encryption_keys(None):
            raise CommandError(f"{message.msg}.")
        verify()
        with operator_scope(reason="rotation of the encryption keys"):
            end = self._reseal()
        for why in end.unreadable:
            self.stderr.write(why)
        if end.unreadable:
            raise CommandError(f"{len(end.unreadable)} of {end.total} secrets did not open.")
        self.stdout.write(f"{end.done} secrets are sealed anew.")

    def _reseal(self) -> Resealing:
        with tqdm(desc="Secrets", unit="secret", file=sys.stderr) as bar:
            for step in reseal_secrets():
                bar.total = step.total
                bar.update(step.done - bar.n)
        return step
