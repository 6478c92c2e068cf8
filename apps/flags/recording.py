"""The thread that tells the database what evaluation left behind: counts, exposures, usage.

One a process, every few seconds, on a connection of its own that stands only while there is
something to tell. A database that is away loses nothing: counts stay in their tallies, exposures
and usage wait, within bounds; what is over them is logged. A transaction whose end is not known is
told again: counts may come twice then, exposures and usage cannot. A process that is killed takes
what it has not told with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from multiprocessing.util import Finalize
from typing import Any

import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from apps.flags.counting import Counted, tallies
from apps.flags.exposing import Exposure, api_usage, exposures
from layoverhq.snapshot import connect

log = structlog.get_logger(__name__)

Connection = psycopg.Connection[dict[str, Any]]

FLUSH_SECONDS = 10.0
BATCH = 5_000


class Recorder:
    """The thread, and what it sends."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Know of no thread: none was started, or a fork left it behind."""
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._flushing = threading.Lock()
        self._stopping = threading.Event()
        self._away = False

    def start(self) -> None:
        """Start the thread unless it runs."""
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._stopping.clear()
                self._thread = threading.Thread(target=self._run, name="flag-recorder", daemon=True)
                self._thread.start()
                # At the end of any process; those that multiprocessing forks run no atexit.
                Finalize(None, self.stop, exitpriority=1)

    def stop(self) -> None:
        """End the thread, once it has told what there is."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._thread = None

    def _run(self) -> None:
        ends = False
        while not ends:
            ends = self._stopping.wait(FLUSH_SECONDS)
            try:
                self.flush()
            except Exception:
                # Without its thread a process would count and note for nobody.
                log.exception("flag_recorder_failed")

    def flush(self) -> bool:
        """Tell the database what there is; return whether it has it all now."""
        with self._flushing:
            try:
                self._tell()
            except psycopg.OperationalError as error:
                if not self._away:
                    log.warning(
                        "flag_records_wait",
                        error=str(error).strip(),
                        answers=len(tallies.untold()),
                        exposures=len(exposures.waiting),
                    )
                self._away = True
                return False
            if self._away:
                log.info("flag_records_told")
            self._away = False
        if dropped := exposures.dropped:
            exposures.dropped -= dropped
            log.warning("flag_exposures_dropped", count=dropped)
        return True

    def _tell(self) -> None:
        counted = tallies.untold()
        if not counted and not exposures.waiting and not api_usage.waiting:
            return
        with connect() as connection:
            _send_counts(connection, counted)
            _send_exposures(connection)
            _send_usage(connection)


def _sent(connection: Connection, function: str, documents: Sequence[dict[str, Any]]) -> None:
    """Call a function with documents. What it refuses is lost, and told; nothing else waits on it.

    Raises OperationalError where the database is away.
    """
    statement = sql.SQL("select {}(%s)").format(sql.Identifier(function))
    try:
        connection.execute(statement, [Jsonb(documents)])
    except psycopg.errors.ReadOnlySqlTransaction as error:
        # A standby, while another server takes over.
        raise psycopg.OperationalError(str(error)) from error
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        log.error(
            "flag_records_refused", by=function, count=len(documents), error=str(error).strip()
        )


def _send_counts(connection: Connection, counted: list[Counted]) -> None:
    if counted:
        _sent(connection, "record_flag_evaluations", [each._asdict() for each in counted])
        tallies.told(counted)


def _send_exposures(connection: Connection) -> None:
    # Only this thread takes from the left; what is sent is taken off once the database has it.
    waiting = exposures.waiting
    while waiting:
        batch: list[Exposure] = [waiting[place] for place in range(min(BATCH, len(waiting)))]
        _sent(connection, "record_flag_exposures", [each.document() for each in batch])
        for _ in batch:
            waiting.popleft()


def _send_usage(connection: Connection) -> None:
    # What waited from before as it was, then what came meanwhile; no more, since it never ends.
    for _ in range(2):
        if taken := api_usage.take():
            _sent(connection, "record_api_usage", [usage.document() for usage in taken])
            api_usage.sent()


recorder = Recorder()
os.register_at_fork(after_in_child=recorder.reset)
