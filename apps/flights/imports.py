"""Files of private offers: received whole, then loaded whole or not at all.

The web process spools a body and enters the job; a worker loads an enterprise's jobs one after
another, in the order of their arrival. One that was cut off is begun again: its transaction left
nothing behind.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
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
from django.utils import timezone

from apps.flights.airports import airports, ground
from apps.flights.models import OfferImport
from apps.flights.offers.lines import GZIP_MAGIC, Line, Unreadable, lines
from apps.flights.offers.ndjson import read_offer
from apps.flights.offers.normalised import NormalisedOffer, Refused
from apps.flights.offers.staging import COLUMNS, staging_rows
from apps.flights.sole import sole
from apps.tenants.offboarding import transaction_on
from layoverhq.errors import Conflict, DomainError, InvalidInput
from layoverhq.tenancy import OPERATOR, TenantRef, atomic, current_alias, tenant_scope

log = structlog.get_logger(__name__)

CHUNK_BYTES = 262_144
NOTE_SECONDS = 1.0
# The table keeps no more of one file; all are counted.
REJECTS_KEPT = 10_000
MAXIMUM_WAITING = 20
MAXIMUM_ATTEMPTS = 5
STALLED_AFTER = timedelta(minutes=1)
KEPT_FOR = timedelta(days=30)
LOAD_TASK = "apps.flights.tasks.load_offer_imports"

PENDING = (OfferImport.Status.QUEUED, OfferImport.Status.LOADING)
_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)

COPY_OFFERS = f"copy pg_temp.imported_offers ({COLUMNS}) from stdin"
COPY_REJECTS = """
copy pg_temp.imported_rejects (line, reason, field, detail, excerpt) from stdin
"""
STORE = "select inserted, updated, unchanged, duplicates from store_imported_offers(%s, %s)"
FINISH = """
update offer_imports
set status = 'done', finished_at = clock_timestamp(), bytes_done = bytes_received, lines_done = %s,
    inserted = %s, updated = %s, unchanged = %s, rejected = %s
where id = %s
"""


class ImportKeyReused(Conflict):
    """This Idempotency-Key came with another body."""

    code = "idempotency_conflict"


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
    *, tenant: TenantRef, body: Spool, idempotency_key: str | None = None
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
        if known := _known(own, body, idempotency_key):
            return known
        if own.filter(status__in=PENDING).count() >= MAXIMUM_WAITING:
            raise TooManyImports(f"At most {MAXIMUM_WAITING} imports wait at once.")
        suffix = "ndjson.gz" if body.is_gzip else "ndjson"
        stored = default_storage.save(
            f"imports/{tenant.id}/{body.sha256[:16]}.{suffix}", File(body.file)
        )
        try:
            received = OfferImport.objects.create(
                enterprise_id=tenant.id,
                idempotency_key=idempotency_key,
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


def _known(own: Any, body: Spool, key: str | None) -> OfferImport | None:
    if key is not None:
        named: OfferImport | None = own.filter(idempotency_key=key).first()
        if named is not None and named.content_sha256 != body.sha256:
            raise ImportKeyReused
        return named
    # An older one of the same content does not count: what came between may have changed offers.
    latest: OfferImport | None = own.order_by("-id").first()
    if latest is None or latest.content_sha256 != body.sha256:
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


def stalled_imports() -> list[UUID]:
    """Return the enterprises whose imports should be moving and may not be."""
    waiting = OfferImport.objects.filter(
        status__in=PENDING, created_at__lt=timezone.now() - STALLED_AFTER
    )
    return list(waiting.order_by().values_list("enterprise_id", flat=True).distinct())


def purge_offer_imports(*, now: datetime) -> int:
    """Delete finished imports with their rejects after 30 days; return how many.

    Bodies that a killed worker left behind go as well.
    """
    finished = OfferImport.objects.exclude(status__in=PENDING)
    for left in finished.exclude(file=""):
        _discard(left)
    _, deleted = finished.filter(finished_at__lt=now - KEPT_FOR).delete()
    return deleted.get(OfferImport._meta.label, 0)


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
    except Unreadable as error:
        _fail(job, error.code, error.detail)
    else:
        _discard(job)
        log.info("offer_import_loaded", offer_import=str(job.pk))


def _fail(job: OfferImport, code: str, detail: str) -> None:
    job.status = OfferImport.Status.FAILED
    job.problem_code, job.problem = code, detail
    job.finished_at = timezone.now()
    # The counts of how far it was read stay as they were noted.
    job.save(update_fields=["status", "problem_code", "problem", "finished_at"])
    _discard(job)
    log.warning("offer_import_failed", offer_import=str(job.pk), code=code)


def _discard(job: OfferImport) -> None:
    """Delete the spooled body."""
    default_storage.delete(job.file)
    OfferImport.objects.filter(pk=job.pk).update(file="")


@dataclass(slots=True)
class _Reading:
    """How far a file is read, and what was refused of it."""

    job: OfferImport
    file: IO[bytes]
    lines: int = 0
    rejected: int = 0
    first_day: date | None = None
    last_day: date | None = None
    rejects: list[tuple[int, str, str, str, str]] = field(default_factory=list)
    noted_at: float = field(default_factory=time.monotonic)

    def offers(self) -> Iterator[tuple[int, NormalisedOffer]]:
        """Yield each usable offer with its line's number."""
        zones, now = airports.get(), timezone.now()
        for line in lines(self.file, most_bytes=settings.IMPORT_UNPACKED_LIMIT_BYTES):
            self.lines = line.number
            try:
                if line.refusal:
                    raise line.refusal
                offer = read_offer(line.text, zones=zones, now=now)
            except Refused as refusal:
                self._reject(line, refusal)
            else:
                day = offer.departure_day
                self.first_day = min(self.first_day or day, day)
                self.last_day = max(self.last_day or day, day)
                yield line.number, offer
            if time.monotonic() - self.noted_at >= NOTE_SECONDS:
                self._note()

    def _reject(self, line: Line, refusal: Refused) -> None:
        self.rejected += 1
        if len(self.rejects) < REJECTS_KEPT:
            self.rejects.append(
                (line.number, refusal.reason, refusal.field, refusal.detail, line.excerpt)
            )

    def _note(self) -> None:
        """Save progress at once: the load has its transaction on another connection."""
        self.noted_at = time.monotonic()
        OfferImport.objects.filter(pk=self.job.pk).update(
            bytes_done=min(self.file.tell(), self.job.bytes_received),
            lines_done=self.lines,
            rejected=self.rejected,
        )


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
            reading = _Reading(job, file)
            cursor.execute("select open_import_staging()")
            with cursor.copy(COPY_OFFERS) as copy:
                for row in staging_rows(reading.offers(), known=ground.get()):
                    copy.write_row(row)
            with cursor.copy(COPY_REJECTS) as copy:
                for reject in reading.rejects:
                    copy.write_row(reject)
            if reading.first_day and reading.last_day:
                _ensure_partitions(reading.first_day, reading.last_day)
            cursor.execute(STORE, [job.enterprise_id, job.pk])
            inserted, updated, unchanged, duplicates = cursor.fetchone()
            rejected = reading.rejected + duplicates
            cursor.execute(FINISH, [reading.lines, inserted, updated, unchanged, rejected, job.pk])
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise Unreadable("enterprise_leaving", "The enterprise takes no offers.") from error
    finally:
        loader.close()


def _ensure_partitions(first: date, last: date) -> None:
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select ensure_month_partitions(%s, %s, %s)", ["flight_layovers", first, last]
        )
