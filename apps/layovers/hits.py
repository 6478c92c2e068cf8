"""How often kept analyses were read, told to the database in batches: no read costs a write."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from multiprocessing.util import Finalize
from typing import Final

import psycopg
import structlog
from psycopg.types.json import Jsonb

from layoverhq.snapshot import connect

log = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 15.0
FLUSH_READS: Final = 500

HIT: Final = "hit"
STALE: Final = "stale"
MISS: Final = "miss"


class Hits:
    """What this process has counted since it last told."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from nothing: for a process that was forked."""
        self._lock = threading.Lock()
        self._by_key: Counter[str] = Counter()
        self._reads: Counter[str] = Counter()
        self._told_at = time.monotonic()
        self._finalizer: Finalize | None = None

    def count(self, key: str, state: str) -> None:
        """Count a read; now and then it takes a batch to the database."""
        with self._lock:
            self._reads[state] += 1
            if state != MISS:
                self._by_key[key] += 1
            if self._finalizer is None:
                # What is left at the end of the process; one that is killed takes it along.
                self._finalizer = Finalize(None, self.flush, exitpriority=1)
            is_due = (
                self._reads.total() >= FLUSH_READS
                or time.monotonic() - self._told_at >= FLUSH_SECONDS
            )
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Tell the database; what it cannot be told now is told with the next batch."""
        with self._lock:
            by_key, reads = self._by_key, self._reads
            self._by_key, self._reads = Counter(), Counter()
            self._told_at = time.monotonic()
        if not reads:
            return
        try:
            with connect() as connection:
                connection.execute(
                    "select record_layover_hits(%s, %s, %s, %s)",
                    [Jsonb(dict(by_key)), reads[HIT], reads[STALE], reads[MISS]],
                )
        except psycopg.Error as error:
            log.warning("layover_hits_wait", error=str(error).strip()[:200])
            with self._lock:
                self._by_key += by_key
                self._reads += reads


hits = Hits()
os.register_at_fork(after_in_child=hits.reset)
