"""Files of private offers: received whole, then loaded whole or not at all.

The web process spools a body and enters the job; a worker loads an enterprise's jobs one after
another, in the order of their arrival. One that was cut off is begun again: its transaction left
nothing behind.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import IO, Any
from uuid import UUID

import psycopg
import structlog
from celery import current_app
from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone

from apps.flights.airports import airports, ground
from apps.flights.models import OfferImport
from apps.flights.offers.formats import NDJSON, SUFFIXES, reader
from apps.flights.offers.journeys import Journeys
from apps.flights.offers.lines import GZIP_MAGIC, Unreadable, lines
from apps.flights.offers.normalised import NormalisedOffer, Refused
from apps.flights.offers.staging import COLUMNS, digest_of, staging_lines
from apps.flights.sole import sole
from apps.tenants.models import Enterprise
from apps.tenants.offboarding import transaction_on
from layoverhq.errors import Conflict, DomainError, InvalidInput
from layoverhq.tenancy import OPERATOR, TenantRef, atomic, current_alias, tenant_scope

log = structlog.get_logger(__name__)

CHUNK_BYTES = 262_144
# So many lines are read while the server stores as many before them. It begins with fewer, half as
# many again each time: until the first are read the server has nothing to do.
CHUNK_LINES = 10_000
FIRST_LINES = 1_000
PROMPT_SECONDS = 0.00005
# The table keeps no more of one file; all are counted.
REJECTS_KEPT = 10_000
MAXIMUM_WAITING = 20
MAXIMUM_ATTEMPTS = 5
# The file is kept, so that an operator can have it loaded after all.
WORTH_ANOTHER = ("gave_up", "cancelled")
STALLED_AFTER = timedelta(minutes=1)
KEPT_FOR = timedelta(days=30)
FILES_KEPT_FOR = timedelta(days=7)
STRAY_AFTER = timedelta(days=1)
LOAD_TASK = "apps.flights.tasks.load_offer_imports"

PENDING = (OfferImport.Status.QUEUED, OfferImport.Status.LOADING)
_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)

COPY_OFFERS = f"copy pg_temp.imported_offers ({COLUMNS}) from stdin"
COPY_REJECTS = """
copy pg_temp.imported_rejects (line, reason, field, detail, excerpt) from stdin
"""
MERGE = "select inserted, updated, unchanged from merge_imported_offers(%s)"
ENTER_REJECTS = "select enter_import_rejects(%s, %s)"
FINISH = """
update offer_imports
set status = 'done', finished_at = clock_timestamp(), bytes_done = bytes_received, lines_done = %s,
    rejected = %s, inserted = %s, updated = %s, unchanged = %s
where id = %s and status = 'loading'
"""


class ImportKeyReused(Conflict):
    """This Idempotency-Key came with another body."""

    code = "idempotency_conflict"


class NotRetryable(Conflict):
    """This import cannot be loaded again."""

    code = "not_retryable"


class NotCancellable(Conflict):
    """This import has ended."""

    code = "not_cancellable"


class Cancelled(Exception):
    """An operator ended the import while it was loaded."""


class TooManyImports(DomainError):
    """Too many imports wait to be loaded."""

    code = "too_many_imports"
    status = 429
    headers = {"Retry-After": "60"}  # noqa: RUF012  # as its base declares it


@dataclass(frozen=True, slots=True)
class Spool:
    """A body that has arrived whole; the file has no name and goes when it is closed."""

    file: IO[bytes]
    size: int
    sha256: str
    is_gzip: bool


def spool(stream: IO[bytes], *, expected: int) -> Spool:
    """Move a body to a file while it arrives. Raises InvalidInput of an empty or incomplete one."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by whoever takes the spool
    digest = hashlib.sha256()
    size = 0
    start = b""
    try:
        while chunk := stream.read(CHUNK_BYTES):
            start = start or chunk[: len(GZIP_MAGIC)]
            digest.update(chunk)
            file.write(chunk)
            size += len(chunk)
        if not size:
            detail = "Send the offers, with a Content-Length."
            raise InvalidInput.of("body", detail, code="required")
        if size != expected:
            detail = f"Of {expected} bytes {size} arrived."
            raise InvalidInput.of("body", detail, code="incomplete")
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return Spool(file, size, digest.hexdigest(), start == GZIP_MAGIC)


def receive_import(
    *,
    tenant: TenantRef,
    body: Spool,
    content_type: str = NDJSON,
    idempotency_key: str | None = None,
) -> OfferImport:
    """Keep a body to be loaded, unless it is here already; return its job.

    It is here already if its key is, or, without a key, if it is what the enterprise sent last.
    Raises InvalidInput, ImportKeyReused and TooManyImports.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        detail = "Use 1 to 255 ASCII characters without spaces."
        raise InvalidInput.of("Idempotency-Key", detail)
    with tenant_scope(tenant):
        with connections[current_alias()].cursor() as cursor:
            # Of two at once the second finds the first, and ids are in the order of arrival.
            cursor.execute(
                "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
                [f"receive offers {tenant.id}"],
            )
        own = OfferImport.objects.filter(enterprise_id=tenant.id)
        if known := _known(own, body, content_type, idempotency_key):
            return known
        if own.filter(status__in=PENDING).count() >= MAXIMUM_WAITING:
            raise TooManyImports(f"At most {MAXIMUM_WAITING} imports wait at once.")
        suffix = SUFFIXES[content_type] + (".gz" if body.is_gzip else "")
        stored = default_storage.save(
            f"imports/{tenant.id}/{body.sha256[:16]}.{suffix}", File(body.file)
        )
        try:
            received = OfferImport.objects.create(
                enterprise_id=tenant.id,
                idempotency_key=idempotency_key,
                content_type=content_type,
                content_sha256=body.sha256,
                bytes_received=body.size,
                file=stored,
            )
        except BaseException:
            default_storage.delete(stored)
            raise
        # If the broker is away, the schedule finds it.
        transaction.on_commit(
            lambda: current_app.send_task(LOAD_TASK, kwargs={"enterprise_id": str(tenant.id)}),
            using=current_alias(),
            robust=True,
        )
        received.refresh_from_db()
        return received


def _known(own: Any, body: Spool, content_type: str, key: str | None) -> OfferImport | None:
    same = (body.sha256, content_type)
    if key is not None:
        named: OfferImport | None = own.filter(idempotency_key=key).first()
        if named is not None and (named.content_sha256, named.content_type) != same:
            raise ImportKeyReused
        return named
    # An older one of the same content does not count: what came between may have changed offers.
    latest: OfferImport | None = own.order_by("-id").first()
    if latest is None or (latest.content_sha256, latest.content_type) != same:
        return None
    return None if latest.status == OfferImport.Status.FAILED else latest


def load_offer_imports(*, enterprise_id: UUID) -> int:
    """Load what the enterprise has waiting, unless another worker is at it; return how many.

    With the operator's role. What cannot be read fails by name; any other fault is raised, and the
    schedule tries again, a few times.
    """
    loaded = 0
    with _sole(enterprise_id) as alone:
        if not alone:
            log.info("offer_imports_busy", enterprise=str(enterprise_id))
            return 0
        waiting = OfferImport.objects.filter(enterprise_id=enterprise_id, status__in=PENDING)
        while job := waiting.order_by("id").first():
            _load(job)
            loaded += 1
    return loaded


def retry_import(*, job: OfferImport) -> OfferImport:
    """Load a failed import once more, after what waits before it. Raises NotRetryable."""
    with atomic():
        locked = OfferImport.objects.select_for_update().get(pk=job.pk)
        if why := retry_obstacle(locked):
            raise NotRetryable(f"This import {why}.")
        locked.status = OfferImport.Status.QUEUED
        locked.attempts = 0
        locked.problem_code = locked.problem = ""
        locked.started_at = locked.finished_at = None
        locked.bytes_done = locked.lines_done = locked.rejected = 0
        locked.save()
        transaction.on_commit(
            lambda: current_app.send_task(
                LOAD_TASK, kwargs={"enterprise_id": str(locked.enterprise_id)}
            ),
            using=current_alias(),
            robust=True,
        )
    return locked


def retry_obstacle(job: OfferImport) -> str:
    """Return why an import cannot be loaded again, empty if it can."""
    if job.status != OfferImport.Status.FAILED:
        return "has not failed"
    if not job.file:
        return "has lost its file: the enterprise has to send it again"
    later = OfferImport.objects.filter(
        enterprise_id=job.enterprise_id, pk__gt=job.pk, status=OfferImport.Status.DONE
    )
    # It would bring back prices that newer ones have replaced.
    return "is older than one that is loaded: the enterprise has to send it again" * later.exists()


def cancel_import(*, job: OfferImport, now: datetime) -> OfferImport:
    """End a waiting or loading import; nothing of it is loaded. Raises NotCancellable.

    A worker that is at it notices after the lines that it has in hand.
    """
    with atomic():
        locked = OfferImport.objects.select_for_update().get(pk=job.pk)
        if locked.is_finished:
            raise NotCancellable
        _end(locked, "cancelled", "An operator cancelled it.", now)
        log.warning("offer_import_cancelled", offer_import=str(job.pk))
    return locked


def stalled_imports() -> list[UUID]:
    """Return the enterprises whose imports should be moving and may not be."""
    waiting = OfferImport.objects.filter(
        status__in=PENDING, created_at__lt=timezone.now() - STALLED_AFTER
    )
    return list(waiting.order_by().values_list("enterprise_id", flat=True).distinct())


def purge_offer_imports(*, now: datetime) -> int:
    """Delete finished imports with their rejects after 30 days; return how many.

    Bodies that a killed worker or a full disk left behind go as well.
    """
    finished = OfferImport.objects.exclude(status__in=PENDING)
    for left in finished.exclude(file="").filter(
        ~Q(problem_code__in=WORTH_ANOTHER) | Q(finished_at__lt=now - FILES_KEPT_FOR)
    ):
        _discard(left)
    _erase_strays(now)
    _, deleted = finished.filter(finished_at__lt=now - KEPT_FOR).delete()
    return deleted.get(OfferImport._meta.label, 0)


def _erase_strays(now: datetime) -> None:
    """Delete bodies of enterprises that are gone, and those that no import came of."""
    folders, _ = (
        default_storage.listdir("imports") if default_storage.exists("imports") else ([], [])
    )
    living = {str(pk) for pk in Enterprise.objects.living().values_list("pk", flat=True)}
    kept = set(OfferImport.objects.exclude(file="").values_list("file", flat=True))
    for folder in folders:
        _, files = default_storage.listdir(f"imports/{folder}")
        for name in {f"imports/{folder}/{file}" for file in files} - kept:
            if folder not in living or _arrived_before(name, now - STRAY_AFTER):
                default_storage.delete(name)


def _arrived_before(name: str, moment: datetime) -> bool:
    """Return whether a body is so old that its import would be here; one that is gone is not."""
    try:
        return default_storage.get_modified_time(name) < moment
    except FileNotFoundError:
        return False


def _sole(enterprise_id: UUID) -> AbstractContextManager[bool]:
    return sole(f"load offers {enterprise_id}")


def _load(job: OfferImport) -> None:
    if job.attempts >= MAXIMUM_ATTEMPTS:
        _fail(job, "gave_up", f"It was begun {MAXIMUM_ATTEMPTS} times and never came to its end.")
        return
    job.attempts += 1
    job.status = OfferImport.Status.LOADING
    job.started_at = timezone.now()
    job.bytes_done = job.lines_done = job.rejected = 0
    job.save()
    try:
        _store(job)
    except Cancelled:
        log.warning("offer_import_given_up", offer_import=str(job.pk))
    except Unreadable as error:
        _fail(job, error.code, error.detail)
    else:
        _discard(job)
        log.info("offer_import_loaded", offer_import=str(job.pk))


def _fail(job: OfferImport, code: str, detail: str) -> None:
    _end(job, code, detail, timezone.now())
    if code not in WORTH_ANOTHER:
        _discard(job)
    log.warning("offer_import_failed", offer_import=str(job.pk), code=code)


def _end(job: OfferImport, code: str, detail: str, now: datetime) -> None:
    job.status = OfferImport.Status.FAILED
    job.problem_code, job.problem = code, detail
    job.finished_at = now
    # The counts of how far it was read stay as they were noted.
    job.save(update_fields=["status", "problem_code", "problem", "finished_at"])


def _discard(job: OfferImport) -> None:
    """Delete the spooled body."""
    default_storage.delete(job.file)
    OfferImport.objects.filter(pk=job.pk).update(file="")


Reject = tuple[int, str, str, str, str]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some lines of a file as COPY takes them, and how far the file is read with them."""

    staged: str
    days: tuple[date, date] | None
    rejects: list[Reject]
    rejected: int
    lines: int
    bytes: int


@dataclass(slots=True)
class _Reading:
    """A file on its way through; one thread reads it."""

    file: IO[bytes]
    content_type: str
    journeys: Journeys = field(default_factory=Journeys)
    lines: int = 0
    rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)
    offers: list[tuple[int, NormalisedOffer]] = field(default_factory=list)

    def chunks(self) -> Iterator[_Chunk]:
        """Yield the file by pieces. Raises Unreadable."""
        read_line = reader(self.content_type, zones=airports.get(), now=timezone.now())
        ends = piece = min(FIRST_LINES, CHUNK_LINES)
        for line in lines(self.file, most_bytes=settings.IMPORT_UNPACKED_LIMIT_BYTES):
            self.lines = line.number
            try:
                if (offer := read_line(line)) is not None:
                    self.offers.append((line.number, offer))
            except Refused as refusal:
                self._reject(line.number, refusal, line.excerpt)
            if line.number >= ends:
                piece = min(piece + piece // 2, CHUNK_LINES)
                ends = line.number + piece
                yield self._chunk()
        yield self._chunk()

    def _reject(self, number: int, refusal: Refused, excerpt: str = "") -> None:
        self.rejected += 1
        if self.rejected <= REJECTS_KEPT:
            self.rejects.append((number, refusal.reason, refusal.field, refusal.detail, excerpt))

    def _chunk(self) -> _Chunk:
        staged = list(staging_lines(self.offers, known=ground.get()))
        repeated = self.journeys.repeated(
            [digest_of(line) for line in staged], [number for number, _ in self.offers]
        )
        for position, first in repeated.items():
            refusal = Refused("duplicate", "", f"Line {first} has the same offer.")
            self._reject(self.offers[position][0], refusal)
            staged[position] = ""
        days = [offer.departure.text[:10] for _, offer in self.offers]
        chunk = _Chunk(
            staged="".join(staged),
            days=(date.fromisoformat(min(days)), date.fromisoformat(max(days))) if days else None,
            rejects=self.rejects,
            rejected=self.rejected,
            lines=self.lines,
            bytes=self.file.tell(),
        )
        self.offers, self.rejects = [], []
        return chunk


def _store(job: OfferImport) -> None:
    """Load a file in one transaction, with its rejects and its end. Raises Unreadable."""
    try:
        file = default_storage.open(job.file)
    except FileNotFoundError as error:
        raise Unreadable(
            "file_lost", "The file is gone from our storage: send it again."
        ) from error
    loader = connections[OPERATOR].copy(OPERATOR)
    try:
        with file, transaction_on(loader) as cursor:
            cursor.execute("set local temp_buffers = '64MB'")
            cursor.execute("select open_import_staging()")
            counts = [0, 0, 0]
            days: tuple[date, date] | None = None
            for chunk in _ahead(_Reading(file, job.content_type).chunks()):
                if chunk.days:
                    days = _partitioned(days, chunk.days)
                with cursor.copy(COPY_OFFERS) as copy:
                    copy.write(chunk.staged)
                cursor.execute(MERGE, [job.enterprise_id])
                counts = [sum(both) for both in zip(counts, cursor.fetchone(), strict=True)]
                with cursor.copy(COPY_REJECTS) as copy:
                    for reject in chunk.rejects:
                        copy.write_row(reject)
                _note(job, chunk)
            cursor.execute(ENTER_REJECTS, [job.enterprise_id, job.pk])
            cursor.execute(FINISH, [chunk.lines, chunk.rejected, *counts, job.pk])
            if not cursor.rowcount:
                raise Cancelled
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise Unreadable("enterprise_leaving", "The enterprise takes no offers.") from error
    finally:
        loader.close()


def _ahead(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """Yield what another thread reads: a chunk while the server works at the one before."""
    usual = sys.getswitchinterval()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="offer-reader") as pool:
        context = copy_context()
        # The thread that feeds the server needs the interpreter for a moment, thousands of times.
        sys.setswitchinterval(PROMPT_SECONDS)

        def read() -> _Chunk | None:
            return context.run(next, chunks, None)

        try:
            upcoming = pool.submit(read)
            while (chunk := upcoming.result()) is not None:
                upcoming = pool.submit(read)
                yield chunk
        finally:
            sys.setswitchinterval(usual)


def _note(job: OfferImport, chunk: _Chunk) -> None:
    """Save progress at once: the load has its transaction on another connection.

    Raises Cancelled.
    """
    loading = OfferImport.objects.filter(pk=job.pk, status=OfferImport.Status.LOADING)
    noted = loading.update(
        bytes_done=min(chunk.bytes, job.bytes_received),
        lines_done=chunk.lines,
        rejected=chunk.rejected,
    )
    if not noted:
        raise Cancelled


def _partitioned(standing: tuple[date, date] | None, days: tuple[date, date]) -> tuple[date, date]:
    """Make the partitions that days need beyond those that stand; return what stands then."""
    first, last = days
    if standing is not None:
        first, last = min(first, standing[0]), max(last, standing[1])
    if (first, last) != standing:
        _ensure_partitions(first, last)
    return first, last


def _ensure_partitions(first: date, last: date) -> None:
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select ensure_month_partitions(%s, %s, %s)", ["flight_layovers", first, last]
        )
