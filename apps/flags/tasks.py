"""Scheduled work on flags."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task, signals

from apps.flags import operations
from apps.flags.recording import recorder
from layoverhq.tenancy import operator_scope

log = structlog.get_logger(__name__)


@shared_task
def apply_schedules(**kwargs: Any) -> None:
    """Publish the versions that are scheduled for now, and take the steps that are due."""
    with operator_scope():
        published = operations.apply_due_versions()
        stepped = operations.apply_due_steps()
    if published or stepped:
        log.info("flag_schedules_applied", published=published, steps=stepped)


@signals.worker_process_shutdown.connect
def tell_what_was_counted(**kwargs: Any) -> None:
    """Send what the worker's process counted before it ends."""
    recorder.stop()
