"""Between the shared tables and an own schema: whole in one place, whatever cuts it off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections
from django.utils import timezone
from psycopg import sql

from apps.audit.models import AuditEvent
from apps.tenants import moving
from apps.tenants.homes import EnterpriseMoving, home_scope
from apps.tenants.models import Enterprise, EnterpriseMove
from apps.tenants.offboarding import start_offboarding
from apps.tenants.operations import WrongStatus
from apps.trips.models import SavedSearch, Traveller, Trip
from layoverhq import context
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import TenantRef, operator_scope, tenant_scope
from tests.isolation import roles
from tests.tenants import factories
from tests.trips.factories import TABLES, add_traveller, populate, stored

DEDICATED, POOLED = Enterprise.Isolation.DEDICATED, Enterprise.Isolation.POOLED

pytestmark = pytest.mark.usefixtures("tidy", "queued")

Rows = dict[str, list[str]]


def rows_in(schema: str, enterprise: Enterprise) -> Rows:
    """Return every row of the enterprise in a schema, as text; nothing where it does not stand."""
    found: Rows = {}
    with roles.connect_as_superuser() as superuser:
        for table in TABLES:
            if superuser.execute("select to_regclass(%s)", [f"{schema}.{table}"]).fetchone() == (
                None,
            ):
                continue
            rows = superuser.execute(
                sql.SQL("select to_jsonb(t)::text from {} t where enterprise_id = %s").format(
                    sql.Identifier(schema, table)
                ),
                [enterprise.pk],
            ).fetchall()
            if rows:
                found[table] = sorted(text for (text,) in rows)
    return found


def schema_stands(enterprise: Enterprise) -> bool:
    with roles.connect_as_superuser() as superuser:
        return (
            superuser.execute(
                "select 1 from pg_namespace where nspname = %s", [enterprise.schema_name]
            ).fetchone()
            is not None
        )


def begun(enterprise: Enterprise, target: str = DEDICATED) -> EnterpriseMove:
    with operator_scope():
        return moving.start_move(enterprise=enterprise, target=target, reason="it pays for it")


def advanced(move: EnterpriseMove) -> EnterpriseMove:
    with operator_scope():
        moving.advance_move(move_id=move.pk)
        return EnterpriseMove.objects.get(pk=move.pk)


def moved(enterprise: Enterprise, target: str = DEDICATED) -> EnterpriseMove:
    done = advanced(begun(enterprise, target))
    assert done.stage == EnterpriseMove.Stage.DONE
    return done


def test_move__there_and_back__every_row_arrives_and_none_stays(enterprise, other_enterprise, shop):
    populate(enterprise, shop)
    populate(other_enterprise, shop, travellers=1)
    theirs = rows_in("public", other_enterprise)
    before = rows_in("public", enterprise)
    assert {table: len(rows) for table, rows in before.items()} == dict.fromkeys(TABLES, 3)

    there = moved(enterprise)

    assert rows_in(enterprise.schema_name, enterprise) == before
    assert rows_in("public", enterprise) == {}
    assert stored(enterprise).isolation == DEDICATED
    assert {(entry["table"], entry["rows"]) for entry in there.tables} == {
        (table, 3) for table in TABLES
    }
    assert all(entry["checksum"] != "0" for entry in there.tables)

    back = moved(stored(enterprise), POOLED)

    assert rows_in("public", enterprise) == before
    assert stored(enterprise).isolation == POOLED
    assert not schema_stands(enterprise)
    assert back.tables == there.tables or {e["table"]: e["checksum"] for e in back.tables} == {
        e["table"]: e["checksum"] for e in there.tables
    }
    assert rows_in("public", other_enterprise) == theirs


def test_move__done__the_trail_names_who_and_why(enterprise, shop):
    operator = factories.make_operator()
    add_traveller(enterprise)
    with context.bind(actor_id=operator.pk):
        move = begun(enterprise)
    advanced(move)
    with operator_scope():
        event = AuditEvent.objects.get(
            table_name="enterprises", row_id=str(enterprise.pk), operation="UPDATE"
        )
    assert (event.user_id, event.reason) == (operator.pk, "it pays for it")
    assert event.new_values["isolation"] == DEDICATED


def test_scope__of_before_the_move__is_led_to_where_the_rows_are(enterprise, shop):
    traveller = add_traveller(enterprise)
    stale = enterprise.ref
    moved(enterprise)
    with home_scope(stale) as tenant:
        assert tenant == TenantRef(enterprise.pk, enterprise.schema_name)
        assert Traveller.objects.get() == traveller
        Traveller.objects.create(enterprise=enterprise, reference="late", name="Bo")
    assert rows_in("public", enterprise) == {}
    assert len(rows_in(enterprise.schema_name, enterprise)["travellers"]) == 2
    late = stored(enterprise).ref
    moved(stored(enterprise), POOLED)
    with home_scope(late) as tenant:
        assert tenant.schema == ""
        assert Traveller.objects.count() == 2


def test_write__that_never_asked_for_the_home__is_refused_by_the_database(enterprise):
    stale = enterprise.ref
    moved(enterprise)
    with (
        pytest.raises(OperationalError, match="lives in"),
        tenant_scope(stale),
    ):
        Traveller.objects.create(enterprise=enterprise, reference="lost", name="Bo")
    assert rows_in("public", enterprise) == {}


def failing(name: str, *, after: bool) -> Callable[[pytest.MonkeyPatch], None]:
    def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
        usual = getattr(moving, name)

        def broken(*arguments: Any, **keywords: Any) -> Any:
            if after:
                usual(*arguments, **keywords)
            raise RuntimeError("pulled the plug")

        monkeypatch.setattr(moving, name, broken)

    return break_it


# The last of them just before the commit.
STEPS = [
    ("create_enterprise_schema", True),
    ("_lock", True),
    ("_copy_table", False),
    ("_copy_table", True),
    ("_verify", True),
    ("_switch", True),
    ("_delete_rows", True),
    ("_enter", True),
]


@pytest.mark.parametrize(("name", "after"), STEPS)
def test_move__cut_off_between_steps__leaves_all_where_it_was_and_begins_again(
    name, after, enterprise, shop, monkeypatch
):
    populate(enterprise, shop, travellers=2)
    before = rows_in("public", enterprise)
    move = begun(enterprise)
    with monkeypatch.context() as patched:
        failing(name, after=after)(patched)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            advanced(move)
    assert rows_in("public", enterprise) == before
    assert rows_in(enterprise.schema_name, enterprise) == {}
    assert stored(enterprise).isolation == POOLED
    with operator_scope():
        stuck = EnterpriseMove.objects.get(pk=move.pk)
        assert "pulled the plug" in stuck.error
        assert not stuck.is_finished
        monkeypatch.setattr(moving, "STALLED_AFTER", -moving.STALLED_AFTER)
        assert move.pk in moving.stalled_moves(now=timezone.now())
    # The enterprise works on meanwhile.
    add_traveller(enterprise, reference="meanwhile")

    done = advanced(move)

    assert (done.stage, done.error, done.attempts) == (EnterpriseMove.Stage.DONE, "", 2)
    assert rows_in("public", enterprise) == {}
    assert len(rows_in(enterprise.schema_name, enterprise)["travellers"]) == 3


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 1), (2, 2), (30, 30), (99, 30)])
def test_move__failed_so_often__is_tried_again_after(enterprise, attempts, minutes):
    move = begun(enterprise)
    with operator_scope():
        EnterpriseMove.objects.filter(pk=move.pk).update(attempts=attempts)
        failed_at = EnterpriseMove.objects.get(pk=move.pk).updated_at
        for seconds, expected in ((-1, False), (1, True)):
            now = failed_at + timedelta(minutes=minutes, seconds=seconds)
            assert (move.pk in moving.stalled_moves(now=now)) is expected


@pytest.mark.parametrize(("name", "after"), [*STEPS[3:], ("_drop_empty", False)])
def test_move_back__cut_off_between_steps__is_whole_in_one_place(
    name, after, enterprise, shop, monkeypatch
):
    populate(enterprise, shop, travellers=2)
    before = rows_in("public", enterprise)
    moved(enterprise)
    move = begun(stored(enterprise), POOLED)
    with monkeypatch.context() as patched:
        failing(name, after=after)(patched)
        with pytest.raises(RuntimeError):
            advanced(move)
    homes = [rows_in("public", enterprise), rows_in(enterprise.schema_name, enterprise)]
    # The last step comes after the move itself.
    assert homes == ([before, {}] if name == "_drop_empty" else [{}, before])

    assert advanced(move).stage == EnterpriseMove.Stage.DONE
    assert rows_in("public", enterprise) == before
    assert not schema_stands(enterprise)


def test_move__schema_was_left_half_made__is_completed(enterprise, shop):
    populate(enterprise, shop, travellers=1)
    with roles.connect_as(roles.OWNER) as owner:
        owner.execute(sql.SQL("create schema {}").format(sql.Identifier(enterprise.schema_name)))
    moved(enterprise)
    assert len(rows_in(enterprise.schema_name, enterprise)) == len(TABLES)


def test_move__connection_is_killed_while_it_copies__rolls_back(enterprise, shop, monkeypatch):
    populate(enterprise, shop, travellers=1)
    before = rows_in("public", enterprise)
    move = begun(enterprise)

    def killed(cursor: Any, *arguments: Any) -> None:
        cursor.execute("select pg_backend_pid()")
        roles.terminate(cursor.fetchone()[0])
        cursor.execute("select 1")

    with monkeypatch.context() as patched:
        patched.setattr(moving, "_verify", lambda *args: None)
        patched.setattr(moving, "_switch", killed)
        with pytest.raises(psycopg.Error):
            advanced(move)
    assert rows_in("public", enterprise) == before
    assert advanced(move).stage == EnterpriseMove.Stage.DONE


def test_move__what_arrives_differs__is_refused_and_named(enterprise, shop, monkeypatch):
    populate(enterprise, shop, travellers=1)
    before = rows_in("public", enterprise)
    usual = moving._copy_table

    def spoiling(cursor: Any, table: str, places: tuple[str, str], move: EnterpriseMove) -> None:
        usual(cursor, table, places, move)
        if table == "trips":
            cursor.execute(
                sql.SQL("update {} set price_minor = price_minor + 1").format(
                    sql.Identifier(places[1], table)
                )
            )

    monkeypatch.setattr(moving, "_copy_table", spoiling)
    with pytest.raises(moving.NotTheSame, match="trips"):
        advanced(begun(enterprise))
    assert rows_in("public", enterprise) == before
    assert stored(enterprise).isolation == POOLED


def test_writer__while_rows_move__waits_and_is_then_refused_with_503(enterprise, shop, monkeypatch):
    api = factories.make_client(enterprise)
    populate(enterprise, shop, travellers=1)
    answers: list[Any] = []
    usual = moving._verify

    def write_meanwhile(*arguments: Any) -> None:
        answers.append(
            api.post(
                "/api/v1/travellers", {"reference": "meanwhile", "name": "Bo"}, "application/json"
            )
        )
        answers.append(api.get("/api/v1/travellers"))
        usual(*arguments)

    monkeypatch.setattr(moving, "_verify", write_meanwhile)
    with roles.connect_as_superuser() as superuser:
        # Not to wait two seconds twice.
        superuser.execute("alter function public.enter_home() set lock_timeout = '50ms'")
        try:
            moved(enterprise)
        finally:
            superuser.execute("alter function public.enter_home() set lock_timeout = '2s'")

    assert [answer.status_code for answer in answers] == [503, 503]
    assert {answer.json()["code"] for answer in answers} == {"enterprise_moving"}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    # The same key, of a process that need not have heard of the move yet.
    assert [one["name"] for one in api.get("/api/v1/travellers").json()["results"]] == ["Ann Arbor"]
    assert "meanwhile" not in str(rows_in(enterprise.schema_name, enterprise)["travellers"])


def test_writers__all_the_while__lose_nothing(enterprise):
    stop = threading.Event()
    written: list[str] = []
    faults: list[BaseException] = []

    def write() -> None:
        number = 0
        ref = enterprise.ref
        try:
            while not stop.is_set() or not written:
                try:
                    with home_scope(ref):
                        reference = f"{threading.get_ident()}-{number}"
                        Traveller.objects.create(
                            enterprise_id=enterprise.pk, reference=reference, name="Ann"
                        )
                    written.append(reference)
                    number += 1
                except EnterpriseMoving:
                    pass
        except BaseException as error:  # noqa: BLE001  # told in the test's own thread
            faults.append(error)
        finally:
            connections["default"].close()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        moved(enterprise)
        moved(stored(enterprise), POOLED)
        moved(stored(enterprise))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not faults
    with home_scope(enterprise.ref):
        found = set(Traveller.objects.values_list("reference", flat=True))
    assert found == set(written)
    assert rows_in("public", enterprise) == {}


def test_move__two_workers__one_does_it(enterprise, shop, monkeypatch):
    populate(enterprise, shop, travellers=1)
    move = begun(enterprise)
    usual = moving._verify

    def second_worker(*arguments: Any) -> None:
        moving.advance_move(move_id=move.pk)
        usual(*arguments)

    monkeypatch.setattr(moving, "_verify", second_worker)
    assert advanced(move).attempts == 1


def test_start__under_way_there_already_or_leaving__is_refused(enterprise):
    with operator_scope():
        with pytest.raises(moving.AlreadyThere):
            moving.start_move(enterprise=enterprise, target=POOLED, reason="why")
        move = moving.start_move(enterprise=enterprise, target=DEDICATED, reason="why")
        with pytest.raises(InvalidInput, match="under way"):
            moving.start_move(enterprise=enterprise, target=DEDICATED, reason="why")
        start_offboarding(enterprise=enterprise)
        moving.advance_move(move_id=move.pk)
        move.refresh_from_db()
        assert move.stage == EnterpriseMove.Stage.CALLED_OFF
        with pytest.raises(WrongStatus):
            moving.start_move(enterprise=enterprise, target=DEDICATED, reason="why")
    assert stored(enterprise).isolation == POOLED


def test_call_off__not_yet_moved__everything_stays(enterprise, shop):
    populate(enterprise, shop, travellers=1)
    before = rows_in("public", enterprise)
    move = begun(enterprise)
    with operator_scope():
        moving.call_off_move(move=move)
        with pytest.raises(WrongStatus):
            moving.call_off_move(move=move)
        with pytest.raises(WrongStatus):
            moving.resume_move(move=move)
    assert advanced(move).stage == EnterpriseMove.Stage.CALLED_OFF
    assert rows_in("public", enterprise) == before


def test_isolation__in_an_own_schema__nobody_else_sees_a_row(enterprise, other_enterprise, shop):
    populate(enterprise, shop, travellers=1)
    moved(enterprise)
    for table in TABLES:
        address = sql.Identifier(enterprise.schema_name, table)
        with roles.connect_as(roles.APP) as app:
            for stranger in ("", str(other_enterprise.pk)):
                with roles.acting_as(app, stranger):
                    assert app.execute(sql.SQL("select from {}").format(address)).fetchall() == []
                    if table != "alert_events":
                        assert app.execute(sql.SQL("delete from {}").format(address)).rowcount == 0
            with roles.acting_as(app, enterprise.pk):
                own = sql.SQL("select enterprise_id from {}").format(address)
                assert {row[0] for row in app.execute(own)} == {enterprise.pk}
    with home_scope(other_enterprise.ref):
        assert not Traveller.objects.exists()
        assert not SavedSearch.objects.exists()
        assert not Trip.objects.exists()


def test_columns__of_both_homes__are_the_same(enterprise):
    moved(enterprise)
    listing = (
        "select table_name, column_name, data_type, is_nullable, column_default"
        " from information_schema.columns where table_schema = %s and table_name = any(%s)"
        " order by 1, 2"
    )
    with roles.connect_as_superuser() as superuser:
        own, shared = (
            superuser.execute(listing, [schema, list(TABLES)]).fetchall()
            for schema in (enterprise.schema_name, "public")
        )
    assert own == shared
    assert {row[0] for row in own} == set(TABLES)
