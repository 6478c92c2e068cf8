"""The context of who asked travels with a task, and ends with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Task, signals
from celery.app.trace import build_tracer
from kombu import Connection

from layoverhq import context, processes
from layoverhq.celery import HEADER, app
from layoverhq.context import RequestContext
from layoverhq.tenancy import current_alias

seen: list[tuple[RequestContext, str]] = []


@app.task(name="tests.note_context")
def note_context(fail: bool = False, **kwargs: Any) -> None:
    seen.append((context.current(), current_alias()))
    if fail:
        raise ValueError("as asked")


@pytest.fixture
def broker() -> Iterator[Connection]:
    seen.clear()
    with Connection("memory://") as connection:
        yield connection


def published(broker: Connection, **options: Any) -> dict[str, Any]:
    """Publish the task and return the headers of its message."""
    note_context.apply_async(connection=broker, queue="celery", **options)
    with broker.SimpleQueue("celery") as queue:
        message = queue.get(block=True, timeout=5)
        message.ack()
    headers: dict[str, Any] = message.headers
    return headers


def work(task: Task[Any, Any], headers: dict[str, Any], **arguments: Any) -> None:
    """Run the task as a worker does that received these headers."""
    build_tracer(task.name, task, app=app, propagate=False)(
        headers["id"], (), arguments, request={**headers, "args": (), "kwargs": arguments}
    )


def test_task__published_in_a_context__runs_in_it(broker):
    actor, enterprise = uuid4(), uuid4()
    with context.bind(
        request_id="r1", actor_id=actor, enterprise_id=enterprise, schema="tenant_x", reason="why"
    ):
        headers = published(broker)
    work(note_context, headers)
    bound, alias = seen[0]
    assert (bound.request_id, bound.reason, bound.schema) == ("r1", "why", "tenant_x")
    assert (bound.actor_id, bound.enterprise_id) == (actor, enterprise)
    assert isinstance(bound.actor_id, UUID)
    assert alias == "default"


def test_task__published_by_nobody__has_a_request_id_of_its_own(broker):
    work(note_context, published(broker))
    bound, _ = seen[0]
    assert len(bound.request_id) == 32
    assert bound == RequestContext(request_id=bound.request_id)


def test_task__message_of_a_stranger__runs_without_context(broker):
    headers = published(broker)
    del headers[HEADER]
    work(note_context, headers)
    assert seen[0][0].enterprise_id is None


@pytest.mark.parametrize("fail", [False, True])
def test_task__ended__leaves_no_context_to_the_next(broker, fail):
    with context.bind(request_id="r1", enterprise_id=uuid4()):
        headers = published(broker)
    work(note_context, headers, fail=fail)
    assert context.current() == RequestContext()
    work(note_context, published(broker))
    assert seen[1][0].enterprise_id is None
    assert seen[1][0].request_id != "r1"


def test_task__publishing_another__hands_its_context_on(broker):
    with context.bind(request_id="r1", reason="why"):
        headers = published(broker)
        again = published(broker)
    assert headers[HEADER] == again[HEADER]
    assert headers["id"] != again["id"]


def test_header__context__carries_no_address_and_no_agent(broker):
    with context.bind(ip="10.0.0.1", user_agent="agent"):
        headers = published(broker)
    assert "10.0.0.1" not in str(headers[HEADER])
    assert "agent" not in str(headers[HEADER])


def test_tasks__of_the_project__take_arguments_of_later_releases():
    # As a worker finds them, without its django.setup(): that would configure logging anew, and
    # what later tests capture would come from loggers that know the old configuration.
    app.autodiscover_tasks(force=True)
    ours = [task for name, task in app.tasks.items() if name.startswith(("layoverhq.", "apps."))]
    assert ours
    closed = [
        task.name
        for task in ours
        if not any(
            parameter.kind is parameter.VAR_KEYWORD
            for parameter in inspect.signature(task.run).parameters.values()
        )
    ]
    assert not closed


@pytest.mark.parametrize(
    ("signal", "kind"),
    [
        (signals.worker_init, "worker"),
        (signals.worker_process_init, "worker"),
        (signals.beat_init, "beat"),
    ],
)
def test_process__of_celery__says_what_it_is(signal, kind, monkeypatch):
    monkeypatch.setattr(processes, "_kind", "command")
    signal.send(sender=None)
    assert processes._kind == kind
