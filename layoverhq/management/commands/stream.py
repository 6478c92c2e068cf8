from __future__ import annotations

import asyncio
import resource
import signal
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from apps.configs.stream.asgi import EventsApp
from apps.configs.stream.changes import ConfigChanges
from apps.configs.stream.hub import Hub
from apps.flags.stream import FlagChanges
from layoverhq import environment, processes
from layoverhq.snapshot import listener
from layoverhq.startup import verify

log = structlog.get_logger(__name__)

# Files that the process has open besides its streams.
OTHER_FILES = 64
MOST_FILES = 262_144
STOP_SECONDS = 3


class Command(BaseCommand):
    help = "Stream changes of configuration and flags to tenants (granian, ASGI) on PORT."

    def handle(self, *args: Any, **options: Any) -> None:
        processes.be("stream")
        verify()
        host = environment.read("HOST") or "127.0.0.1"
        port = environment.integer("PORT", 8100, 1, 65535)
        asyncio.run(serve(host, port, capacity=open_files() - OTHER_FILES))


def open_files() -> int:
    """Raise the number of files that may be open as far as it goes; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


async def serve(host: str, port: int, *, capacity: int) -> None:
    """Serve until a signal says to stop.

    In this very process, on a loop of ours: granian's own workers wait for open responses to end
    when they are asked to stop, and do not tell the application that they were.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hub = Hub(capacity, [ConfigChanges(), FlagChanges()])
    hub.start()
    server = Server(
        EventsApp(hub),
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        backpressure=capacity + OTHER_FILES // 2,
        log_level=LogLevels.error,
    )
    serving = loop.create_task(server.serve())
    watching = loop.create_task(hub.watch())
    stopping = loop.create_task(stop.wait())
    log.info("stream_serving", host=host, port=port, capacity=capacity)
    work = {serving, watching, stopping}
    ended, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await asyncio.gather(hub.close(), asyncio.to_thread(listener.stop))
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait({serving}, timeout=STOP_SECONDS)
    if stopping not in ended:
        raise CommandError(f"it ended by itself: {ended.pop().exception()!r}")
    log.info("stream_stopped")
