"""Celery: the context travels in the headers, and maintenance runs with the operator's role."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

from celery import Celery, Task, signals

from layoverhq import context, processes
from layoverhq.environment import EnvironmentProblem

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "layoverhq.settings")

app = Celery("layoverhq")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

HEADER = "layoverhq"


@signals.before_task_publish.connect
def send_context(headers: dict[str, Any], **kwargs: Any) -> None:
    """Put who asked, for whom and why into the message."""
    bound = context.current()
    headers.setdefault(
        HEADER,
        {
            "request_id": bound.request_id,
            "actor_id": str(bound.actor_id or ""),
            "enterprise_id": str(bound.enterprise_id or ""),
            "schema": bound.schema,
            "reason": bound.reason,
        },
    )


_entered: dict[str, ExitStack] = {}


@signals.task_prerun.connect
def enter_context(task_id: str, task: Task[Any, Any], **kwargs: Any) -> None:
    """Bind the message's context around the task."""
    carried = (getattr(task.request, HEADER, None) or {}) if task.request else {}
    stack = ExitStack()
    stack.enter_context(
        context.bind(
            request_id=carried.get("request_id") or uuid4().hex,
            actor_id=UUID(carried["actor_id"]) if carried.get("actor_id") else None,
            enterprise_id=UUID(carried["enterprise_id"]) if carried.get("enterprise_id") else None,
            schema=carried.get("schema", ""),
            reason=carried.get("reason", ""),
        )
    )
    _entered[task_id] = stack


@signals.task_postrun.connect
def leave_context(task_id: str, **kwargs: Any) -> None:
    """Unbind it."""
    if stack := _entered.pop(task_id, None):
        stack.close()


@signals.setup_logging.connect
def keep_logging(**kwargs: Any) -> None:
    """Leave Django's logging configuration in place."""


def _verify(**kwargs: Any) -> None:
    from layoverhq.startup import verify

    try:
        verify()
    except EnvironmentProblem as problem:
        sys.exit(f"error: {problem}")


@signals.worker_init.connect
def verify_worker(**kwargs: Any) -> None:
    """Refuse to work where the database would not hold tenants apart."""
    processes.be("worker")
    _verify()


@signals.worker_process_init.connect
def begin_worker(**kwargs: Any) -> None:
    """Be a worker in each of its processes, however they were started."""
    processes.be("worker")


@signals.beat_init.connect
def verify_beat(**kwargs: Any) -> None:
    """Refuse to schedule where the database would not hold tenants apart."""
    processes.be("beat")
    _verify()
