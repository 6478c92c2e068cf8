"""How an enterprise's travellers move between the shared tables and a schema of its own.

The rows are copied, verified, and deleted where they were in one transaction, in which the
enterprise itself is switched. Whatever cuts it off before the commit leaves everything where it
was, and nothing is half there afterwards; the schedule begins it again. Meanwhile the enterprise's
scopes wait a moment and are then refused with 503: see apps.tenants.homes. Only what stands around
the transaction, making the schema and dropping it once it is empty, is done in steps of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from celery import current_app
from django.db import connections, transaction
from django.utils import timezone
from psycopg import errors, sql

from apps.tenants.models import Enterprise, EnterpriseMove
from apps.tenants.offboarding import TENANT_TABLES, TenantTable, sole, transaction_on
from apps.tenants.operations import (
    WrongStatus,
    create_enterprise_schema,
    drop_enterprise_schema,
    lock_enterprise,
)
from layoverhq import context
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import OPERATOR, OWNER, atomic

log = structlog.get_logger(__name__)

ADVANCE_TASK = "apps.tenants.tasks.advance_enterprise_move"
STALLED_AFTER = timedelta(minutes=1)
# A move that fails for good refuses the enterprise's calls at each attempt: the gaps between them
# grow by STALLED_AFTER, to so many of it.
LONGEST_GAP = 30
# How long it waits for the enterprise's running scopes: meanwhile new ones wait as well.
LOCK_WAIT = "5s"

Stage = EnterpriseMove.Stage
MOVABLE = (Enterprise.Status.ACTIVE, Enterprise.Status.SUSPENDED)

COLUMNS = """
select array_agg(a.attname order by a.attnum)
from pg_attribute a
where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
"""
# The sum does not depend on the order of rows, and counts one that is there twice.
CHECKSUM = """
select count(*), coalesce(sum(hashtextextended(row({columns})::text, 0)::numeric), 0)::text
from {table}
where enterprise_id = %s
"""
SET_CONTEXT = """
select set_config('app.current_user_id', %s, true), set_config('app.reason', %s, true),
    set_config('app.request_id', %s, true)
"""


class AlreadyThere(WrongStatus):
    """The enterprise's rows are there already."""

    code = "already_there"


class NotTheSame(Exception):
    """What arrived is not what was sent."""


class _Leaving(Exception):
    """The enterprise is being offboarded."""


@dataclass(frozen=True, slots=True)
class MovedTable:
    """How much of a table was moved; the checksum was the same in both places."""

    table: str
    rows: int
    checksum: str


def start_move(*, enterprise: Enterprise, target: str, reason: str) -> EnterpriseMove:
    """Begin to move the enterprise's rows to an own schema, or back to the shared tables.

    Raises WrongStatus, or AlreadyThere, or InvalidInput of a move that is under way.
    """
    with atomic():
        locked = lock_enterprise(enterprise, expected=MOVABLE, verb="moved")
        if locked.isolation == target:
            raise AlreadyThere(f"{locked} is there already.")
        if EnterpriseMove.objects.filter(enterprise=locked, finished_at__isnull=True).exists():
            raise InvalidInput.of("enterprise", "A move is under way.", code="moving")
        move = EnterpriseMove.objects.create(
            enterprise=locked, target=target, reason=reason, actor_id=context.current().actor_id
        )
        _enqueue(move)
        return move


def resume_move(*, move: EnterpriseMove) -> EnterpriseMove:
    """Begin a move again at once, that its schedule would begin again later, and count anew.

    Raises WrongStatus.
    """
    with atomic():
        locked = EnterpriseMove.objects.select_for_update().get(pk=move.pk)
        if locked.is_finished:
            raise WrongStatus(f"The move is {locked.get_stage_display().lower()}.")
        _note(locked, attempts=0, error="")
        _enqueue(locked)
        return locked


def call_off_move(*, move: EnterpriseMove) -> EnterpriseMove:
    """Give a move up that has not happened. Raises WrongStatus."""
    with sole(_work(move.pk)) as alone:
        if not alone:
            raise WrongStatus("A worker is at it: wait until it ends or fails.")
        move.refresh_from_db()
        if move.is_finished or move.stage == Stage.CLEARING:
            raise WrongStatus(f"The move is {move.get_stage_display().lower()}.")
        _call_off(move)
        return move


def stalled_moves(*, now: datetime) -> list[UUID]:
    """Return the moves that should be going on and are not; after each attempt it waits longer."""
    return [
        move.pk
        for move in EnterpriseMove.objects.filter(finished_at__isnull=True)
        if now - move.updated_at > STALLED_AFTER * max(1, min(move.attempts, LONGEST_GAP))
    ]


def advance_move(*, move_id: UUID) -> None:
    """Take the move to its end, unless another worker is at it.

    With the operator's role. A fault is noted on the move and raised; the schedule tries again.
    """
    with sole(_work(move_id)) as alone:
        if not alone:
            log.info("enterprise_move_busy", move=str(move_id))
            return
        move = EnterpriseMove.objects.select_related("enterprise").get(pk=move_id)
        if move.is_finished:
            return
        _note(move, attempts=move.attempts + 1, error="")
        try:
            _advance(move)
        except Exception as error:
            _note(move, error=f"{type(error).__name__}: {error}"[:1000])
            raise


def _work(move_id: UUID) -> str:
    return f"move {move_id}"


def _enqueue(move: EnterpriseMove) -> None:
    # If the broker is away, the schedule finds the stalled move.
    transaction.on_commit(
        lambda: current_app.send_task(ADVANCE_TASK, kwargs={"move_id": str(move.pk)}),
        using=OPERATOR,
        robust=True,
    )


def _note(move: EnterpriseMove, **changes: Any) -> None:
    """Save progress at once: the copy has its transaction on another connection."""
    for name, value in changes.items():
        setattr(move, name, value)
    move.save(update_fields=[*changes, "updated_at"])


def _advance(move: EnterpriseMove) -> None:
    if move.stage in (Stage.QUEUED, Stage.PREPARING):
        _note(move, stage=Stage.PREPARING)
        if move.target == Enterprise.Isolation.DEDICATED:
            create_enterprise_schema(enterprise=move.enterprise)
        _note(move, stage=Stage.COPYING)
    if move.stage == Stage.COPYING:
        try:
            _move_rows(move)
        except _Leaving:
            _call_off(move)
            return
        move.refresh_from_db()
    if move.stage == Stage.CLEARING:
        _clear(move)


def _call_off(move: EnterpriseMove) -> None:
    # A schema that was made for it stays, empty: to drop it from a page would wait for that page.
    _note(move, stage=Stage.CALLED_OFF, table_now="", finished_at=timezone.now())
    log.info("enterprise_move_called_off", enterprise=str(move.enterprise_id))


def own_tables(schema: str) -> list[TenantTable]:
    """Return the tables of an own schema that hold the enterprise's rows, parents first."""
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute(TENANT_TABLES, [[schema]])
        return [TenantTable(*row) for row in cursor.fetchall()][::-1]


def _move_rows(move: EnterpriseMove) -> None:
    """Copy, verify, switch and delete, in one transaction. Raises NotTheSame."""
    schema = move.enterprise.schema_name
    tables = own_tables(schema)
    places = (
        ("public", schema) if move.target == Enterprise.Isolation.DEDICATED else (schema, "public")
    )
    mover = connections[OPERATOR].copy(OPERATOR)
    try:
        with transaction_on(mover) as cursor:
            _lock(cursor, move)
            sent = [_checksum(cursor, places[0], table, move) for table in tables]
            _note(move, rows_total=sum(each.rows for each in sent), rows_done=0)
            for table, before in zip(tables, sent, strict=True):
                _note(move, table_now=f"copying {table.name}")
                _copy_table(cursor, table.name, places, move)
                _note(move, rows_done=move.rows_done + before.rows)
            _note(move, table_now="comparing")
            _verify(sent, [_checksum(cursor, places[1], table, move) for table in tables])
            _switch(cursor, move)
            for table in reversed(tables):
                _note(move, table_now=f"deleting {table.name} where they were")
                _delete_rows(cursor, table.name, places[0], move)
            _enter(cursor, move, sent, now=timezone.now())
    finally:
        mover.close()
    log.info(
        "enterprise_moved",
        enterprise=str(move.enterprise_id),
        target=move.target,
        rows=sum(each.rows for each in sent),
    )


def _lock(cursor: Any, move: EnterpriseMove) -> None:
    """Keep the enterprise's scopes out until the commit, and its status as it is."""
    bound = context.current()
    cursor.execute(SET_CONTEXT, [str(move.actor_id or ""), move.reason, bound.request_id])
    cursor.execute("select set_config('lock_timeout', %s, true)", [LOCK_WAIT])
    try:
        cursor.execute("select pg_advisory_xact_lock(home_lock(%s))", [move.enterprise_id])
        # Not its key: other tables' rows that refer to it may come and go meanwhile.
        cursor.execute(
            "select status, isolation from enterprises where id = %s for no key update",
            [move.enterprise_id],
        )
    except errors.LockNotAvailable as error:
        raise TimeoutError(
            f"The enterprise's own work did not pause within {LOCK_WAIT}."
        ) from error
    status, isolation = cursor.fetchone()
    if status not in MOVABLE or isolation == move.target:
        raise _Leaving


def _columns(cursor: Any, schema: str, table: str) -> sql.Composed:
    cursor.execute(COLUMNS, [sql.Identifier(schema, table).as_string(cursor)])
    return sql.SQL(", ").join(sql.Identifier(name) for name in cursor.fetchone()[0])


def _checksum(cursor: Any, schema: str, table: TenantTable, move: EnterpriseMove) -> MovedTable:
    # In the order of the own schema's columns, in both places.
    columns = _columns(cursor, table.schema, table.name)
    cursor.execute(
        sql.SQL(CHECKSUM).format(columns=columns, table=sql.Identifier(schema, table.name)),
        [move.enterprise_id],
    )
    return MovedTable(table.name, *cursor.fetchone())


def _copy_table(cursor: Any, table: str, places: tuple[str, str], move: EnterpriseMove) -> None:
    cursor.execute(
        sql.SQL(
            "insert into {target} ({columns}) select {columns} from {source}"
            " where enterprise_id = %s"
        ).format(
            target=sql.Identifier(places[1], table),
            source=sql.Identifier(places[0], table),
            columns=_columns(cursor, places[0], table),
        ),
        [move.enterprise_id],
    )


def _verify(sent: Sequence[MovedTable], arrived: Sequence[MovedTable]) -> None:
    if differing := [a.table for a, b in zip(sent, arrived, strict=True) if a != b]:
        raise NotTheSame(f"What arrived is not what was sent: {', '.join(differing)}.")


def _switch(cursor: Any, move: EnterpriseMove) -> None:
    # The trigger on it tells every process, at the commit.
    cursor.execute(
        "update enterprises set isolation = %s, updated_at = now() where id = %s",
        [move.target, move.enterprise_id],
    )


def _delete_rows(cursor: Any, table: str, schema: str, move: EnterpriseMove) -> None:
    cursor.execute(
        sql.SQL("delete from {} where enterprise_id = %s").format(sql.Identifier(schema, table)),
        [move.enterprise_id],
    )


def _enter(
    cursor: Any, move: EnterpriseMove, moved: Sequence[MovedTable], *, now: datetime
) -> None:
    """Note in the same transaction that it happened."""
    clearing = move.target == Enterprise.Isolation.POOLED
    cursor.execute(
        "update enterprise_moves set stage = %s, tables = %s::jsonb, table_now = '',"
        " finished_at = %s, updated_at = %s where id = %s",
        [
            Stage.CLEARING if clearing else Stage.DONE,
            json.dumps([asdict(each) for each in moved]),
            None if clearing else now,
            now,
            move.pk,
        ],
    )


def _clear(move: EnterpriseMove) -> None:
    """Drop the schema that the rows came from."""
    _drop_empty(move.enterprise)
    _note(move, stage=Stage.DONE, finished_at=timezone.now())


def _drop_empty(enterprise: Enterprise) -> None:
    """Drop the own schema; one that holds a row is left, and the fault told."""
    tables = own_tables(enterprise.schema_name)
    with transaction.atomic(using=OWNER), connections[OWNER].cursor() as cursor:
        for table in tables:
            cursor.execute(sql.SQL("select exists (select from {})").format(table.identifier))
            if cursor.fetchone()[0]:
                raise NotTheSame(f"{table.label} still holds rows: it is not dropped.")
        drop_enterprise_schema(enterprise=enterprise)
