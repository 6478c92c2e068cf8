"""How an enterprise leaves: its rows go to an archive, then, once confirmed, out of the database.

Both steps run in a worker and may be cut off at any point: they are begun again from the
offboarding's row, the export from its start, the erasure from what is left.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any
from uuid import UUID

import structlog
from celery import current_app
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connections, transaction
from django.utils import timezone
from psycopg import sql

from apps.tenants.models import Enterprise, Offboarding, User
from apps.tenants.operations import WrongStatus, drop_enterprise_schema, lock_enterprise
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import OPERATOR, atomic

log = structlog.get_logger(__name__)

CHUNK_ROWS = 5_000
# Of no use outside, and not the enterprise's to have.
SECRET_COLUMNS = ["password", "key_hash", "sealed_secret", "old_sealed_secret"]
# What stays: the fact of the departure, and who did what and when; and for a week which names
# changed, by which processes catch up.
KEPT_TABLES = frozenset({"audit_log", "offboardings", "snapshot_changes"})
STALLED_AFTER = timedelta(minutes=2)
ADVANCE_TASK = "apps.tenants.tasks.advance_offboarding"

# Children before the parents that they reference, so that rows can go in this order.
TENANT_TABLES = """
with recursive tenant_tables as (
    select c.oid, n.nspname as schema, c.relname as name, a.attname as column
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attname in ('enterprise_id', 'tenant_id')
    where c.relkind in ('r', 'p')
        and not c.relispartition
        and not a.attisdropped
        and n.nspname = any(%s)
),
depths as (
    select oid, 0 as depth from tenant_tables
    union all
    select f.confrelid, d.depth + 1
    from depths d
    join pg_constraint f on f.conrelid = d.oid and f.contype = 'f' and f.confrelid <> f.conrelid
    where d.depth < 20
)
select t.schema, t.name, t.column
from tenant_tables t
join depths d using (oid)
group by t.schema, t.name, t.column
order by max(d.depth), t.schema, t.name
"""


@dataclass(frozen=True, slots=True)
class TenantTable:
    """A table that holds tenants' rows."""

    schema: str
    name: str
    column: str

    @property
    def owner(self) -> sql.Identifier:
        return sql.Identifier(self.column)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def label(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


class NotConfirmed(InvalidInput):
    """The confirmation does not match."""

    code = "not_confirmed"


def start_offboarding(*, enterprise: Enterprise) -> Offboarding:
    """Refuse the enterprise's keys from now on and begin the export of its rows."""
    with atomic():
        locked = lock_enterprise(
            enterprise,
            expected=[Enterprise.Status.ACTIVE, Enterprise.Status.SUSPENDED],
            verb="offboarded",
        )
        locked.status = Enterprise.Status.OFFBOARDING
        locked.save(update_fields=["status", "updated_at"])
        offboarding = Offboarding.objects.create(enterprise=locked)
        _enqueue(offboarding)
        return offboarding


def erase_enterprise(*, offboarding: Offboarding, confirmation: str) -> Offboarding:
    """Begin the erasure of an exported enterprise; `confirmation` is its slug, typed."""
    with atomic():
        locked = Offboarding.objects.select_for_update().get(pk=offboarding.pk)
        if locked.stage != Offboarding.Stage.EXPORTED:
            raise WrongStatus(f"{locked.enterprise} is {locked.get_stage_display().lower()}.")
        if confirmation != locked.enterprise.slug:
            raise NotConfirmed.of("confirmation", f"Type “{locked.enterprise.slug}” to confirm.")
        locked.stage = Offboarding.Stage.ERASING
        locked.rows_done = 0
        locked.save()
        _enqueue(locked)
        return locked


def _enqueue(offboarding: Offboarding) -> None:
    # If the broker is away, the schedule finds the stalled offboarding.
    transaction.on_commit(
        lambda: current_app.send_task(ADVANCE_TASK, kwargs={"offboarding_id": str(offboarding.pk)}),
        using=OPERATOR,
        robust=True,
    )


def stalled_offboardings() -> list[UUID]:
    """Return the offboardings that should be moving and are not."""
    return list(
        Offboarding.objects.filter(
            stage__in=[Offboarding.Stage.EXPORTING, Offboarding.Stage.ERASING],
            updated_at__lt=timezone.now() - STALLED_AFTER,
        ).values_list("pk", flat=True)
    )


def advance_offboarding(*, offboarding_id: UUID) -> None:
    """Do what the offboarding waits for, unless another worker is at it.

    A fault is noted on the offboarding and raised; the schedule tries again.
    """
    with sole(str(offboarding_id)) as alone:
        if not alone:
            log.info("offboarding_busy", offboarding=str(offboarding_id))
            return
        offboarding = Offboarding.objects.select_related("enterprise").get(pk=offboarding_id)
        try:
            if offboarding.stage == Offboarding.Stage.EXPORTING:
                _export(offboarding)
            elif offboarding.stage == Offboarding.Stage.ERASING:
                _erase(offboarding)
        except Exception as error:
            Offboarding.objects.filter(pk=offboarding_id).update(
                error=f"{type(error).__name__}: {error}"[:1000], updated_at=timezone.now()
            )
            raise


@contextmanager
def sole(work: str) -> Iterator[bool]:
    """Hold the advisory lock of a piece of work, on a connection of its own; false if another is
    at it."""
    holder = connections[OPERATOR].copy(OPERATOR)
    try:
        with transaction_on(holder) as cursor:
            cursor.execute("select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [work])
            yield cursor.fetchone()[0]
    finally:
        holder.close()


@contextmanager
def transaction_on(connection: Any) -> Iterator[Any]:
    """Run the block with a cursor inside a transaction of a connection without an alias."""
    connection.ensure_connection()
    with connection.connection.transaction(), connection.connection.cursor() as cursor:
        yield cursor


def tenant_tables(enterprise: Enterprise) -> list[TenantTable]:
    """Return every table that may hold the enterprise's rows, children first."""
    schemas = ["public"] + ([enterprise.schema_name] if enterprise.is_dedicated else [])
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute(TENANT_TABLES, [schemas])
        return [TenantTable(*row) for row in cursor.fetchall()]


def _count(tables: list[TenantTable], enterprise: Enterprise) -> int:
    total = 0
    with connections[OPERATOR].cursor() as cursor:
        for table in tables:
            cursor.execute(
                sql.SQL("select count(*) from {} where {} = %s").format(
                    table.identifier, table.owner
                ),
                [enterprise.pk],
            )
            total += cursor.fetchone()[0]
    return total


def _note(offboarding: Offboarding, **changes: Any) -> None:
    """Save progress at once: the long reads hold their transaction on another connection."""
    for name, value in changes.items():
        setattr(offboarding, name, value)
    offboarding.save(update_fields=[*changes, "updated_at"])


def _export(offboarding: Offboarding) -> None:
    enterprise = offboarding.enterprise
    tables = tenant_tables(enterprise)
    _note(offboarding, rows_total=_count(tables, enterprise), rows_done=0, error="")
    counts: dict[str, int] = {}
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for table in tables:
                _note(offboarding, table_now=table.label)
                with archive.open(f"{table.label}.ndjson", "w", force_zip64=True) as member:
                    counts[table.label] = _export_table(table, offboarding, member)
            manifest = {
                "enterprise": {
                    "id": str(enterprise.pk),
                    "name": enterprise.name,
                    "slug": enterprise.slug,
                    "subscription_plan": enterprise.subscription_plan,
                    "created_at": enterprise.created_at.isoformat(),
                },
                "exported_at": timezone.now().isoformat(),
                "rows": counts,
            }
            archive.writestr("manifest.json", json.dumps(manifest, indent=2))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        name = f"offboarding/{enterprise.slug}-{timezone.now():%Y%m%d}-{digest[:8]}.zip"
        stored = default_storage.save(name, File(file))
    _note(
        offboarding,
        stage=Offboarding.Stage.EXPORTED,
        # The trail of the export itself came on top of what was counted.
        rows_total=offboarding.rows_done,
        table_now="",
        archive=stored,
        archive_sha256=digest,
    )
    log.info("enterprise_exported", enterprise=str(enterprise.pk), rows=sum(counts.values()))


def _export_table(table: TenantTable, offboarding: Offboarding, member: IO[bytes]) -> int:
    """Write the table's rows as one JSON object a line, in chunks; return how many."""
    query = sql.SQL("select (to_jsonb(t) - %s::text[])::text from {} t where {} = %s").format(
        table.identifier, table.owner
    )
    rows = 0
    reader = connections[OPERATOR].copy(OPERATOR)
    try:
        reader.ensure_connection()
        with reader.connection.transaction(), reader.connection.cursor("export") as cursor:
            cursor.itersize = CHUNK_ROWS
            cursor.execute(query, [SECRET_COLUMNS, offboarding.enterprise_id])
            while chunk := cursor.fetchmany(CHUNK_ROWS):
                member.writelines(line.encode() + b"\n" for (line,) in chunk)
                rows += len(chunk)
                _note(offboarding, rows_done=offboarding.rows_done + len(chunk))
    finally:
        reader.close()
    return rows


def _erase(offboarding: Offboarding) -> None:
    enterprise = offboarding.enterprise
    tables = [table for table in tenant_tables(enterprise) if table.name not in KEPT_TABLES]
    _note(offboarding, rows_total=offboarding.rows_done + _count(tables, enterprise), error="")
    with atomic():
        for through in (User.groups.through, User.user_permissions.through):
            through.objects.filter(user__enterprise=enterprise).delete()
    for table in tables:
        _note(offboarding, table_now=table.label)
        while erased := _erase_chunk(table, enterprise.pk):
            _note(offboarding, rows_done=offboarding.rows_done + erased)
    # A pooled one may have an empty one, of a move that was called off.
    drop_enterprise_schema(enterprise=enterprise)
    with atomic(), connections[OPERATOR].cursor() as cursor:
        cursor.execute("select erase_offboarded_trail(%s)", [enterprise.pk])
        Enterprise.objects.filter(pk=enterprise.pk).update(
            status=Enterprise.Status.OFFBOARDED,
            isolation=Enterprise.Isolation.POOLED,
            deleted_at=timezone.now(),
            updated_at=timezone.now(),
        )
        _note(offboarding, stage=Offboarding.Stage.ERASED, table_now="")
    log.info("enterprise_erased", enterprise=str(enterprise.pk), rows=offboarding.rows_done)


def _erase_chunk(table: TenantTable, enterprise_id: UUID) -> int:
    # A ctid may name rows of several partitions: all that match are this enterprise's.
    statement = sql.SQL(
        "delete from {0} where {1} = %(enterprise)s and ctid = any(array("
        "select ctid from {0} where {1} = %(enterprise)s limit %(rows)s))"
    ).format(table.identifier, table.owner)
    with atomic(), connections[OPERATOR].cursor() as cursor:
        cursor.execute(statement, {"enterprise": enterprise_id, "rows": CHUNK_ROWS})
        return int(cursor.rowcount)
