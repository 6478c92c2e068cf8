"""SQL is installed as its migration pinned it, and schedules are seeded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.writer import MigrationWriter
from django.utils.module_loading import import_string
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from layoverhq import migrations
from layoverhq.celery import app as celery_app
from layoverhq.migrations import InstallSQL, SQLDigestMismatch, digest_of, pinned_text
from layoverhq.permission_groups import SeedGroups
from layoverhq.schedules import SeedSchedule
from layoverhq.tenancy import operator_scope
from tests.tenants.factories import unique

FIRST = "create function public.answer() returns text language sql return '100%s';\n"
SECOND = "create or replace function public.answer() returns text language sql return '42';\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app's folder of SQL, with one function."""
    monkeypatch.setattr(migrations, "sql_folder", lambda app_label: tmp_path)
    (tmp_path / "answer.sql").write_text(FIRST)
    (tmp_path / "answer.drop.sql").write_text("drop function public.answer();\n")
    return tmp_path


@pytest.fixture
def undone() -> Iterator[None]:
    """Roll back all that the test makes with the owner's role."""
    with transaction.atomic(using="owner"):
        yield
        transaction.set_rollback(True, using="owner")


def run(operation: Any, *, forwards: bool = True, alias: str = "owner") -> None:
    move = operation.database_forwards if forwards else operation.database_backwards
    state = MigrationLoader(None).project_state()
    with connections[alias].schema_editor(atomic=False) as editor:
        move("layoverhq", editor, state, state)


def answer() -> str | None:
    with connections["owner"].cursor() as cursor:
        cursor.execute("select to_regprocedure('public.answer()')")
        if cursor.fetchone()[0] is None:
            return None
        cursor.execute("select answer()")
        return str(cursor.fetchone()[0])


@pytest.mark.usefixtures("folder", "undone")
def test_install_sql__forwards_and_backwards__makes_and_drops():
    operation = InstallSQL("layoverhq", "answer", digest=digest_of(FIRST))
    run(operation)
    # A percent sign in the text is no parameter.
    assert answer() == "100%s"
    run(operation, forwards=False)
    assert answer() is None


def test_install_sql__edited_text__fails_and_says_what_to_do(folder):
    operation = InstallSQL("layoverhq", "answer", digest="0" * 16)
    with pytest.raises(SQLDigestMismatch) as mismatch:
        run(operation)
    said = str(mismatch.value)
    assert "layoverhq/sql/answer.sql" in said
    assert digest_of(FIRST) in said
    assert "0" * 16 in said
    assert "sql/replaced/" in said
    assert answer() is None


def test_install_sql__missing_file__fails(folder):
    (folder / "answer.sql").unlink()
    with pytest.raises(FileNotFoundError, match=r"answer\.sql"):
        run(InstallSQL("layoverhq", "answer", digest="0" * 16))


def test_pinned_text__line_endings_and_spaces__count(folder):
    (folder / "answer.sql").write_text(FIRST + " ")
    with pytest.raises(SQLDigestMismatch):
        pinned_text("layoverhq", "answer", digest_of(FIRST))


@pytest.mark.usefixtures("undone")
def test_install_sql__after_a_release__each_migration_installs_its_own_text(folder):
    (folder / "replaced").mkdir()
    (folder / "replaced" / f"answer.{digest_of(FIRST)}.sql").write_text(FIRST)
    (folder / "answer.sql").write_text(SECOND)
    run(InstallSQL("layoverhq", "answer", digest=digest_of(FIRST)))
    assert answer() == "100%s"
    run(InstallSQL("layoverhq", "answer", digest=digest_of(SECOND), replaces=digest_of(FIRST)))
    assert answer() == "42"


@pytest.mark.usefixtures("undone")
def test_install_sql__replacing__reverses_to_the_text_before(folder):
    first = SECOND.replace("42", "41")
    (folder / "replaced").mkdir()
    (folder / "replaced" / f"answer.{digest_of(first)}.sql").write_text(first)
    (folder / "answer.sql").write_text(SECOND)
    operation = InstallSQL(
        "layoverhq", "answer", digest=digest_of(SECOND), replaces=digest_of(first)
    )
    run(operation)
    assert answer() == "42"
    run(operation, forwards=False)
    assert answer() == "41"


def test_pinned_text__edited_replaced_file__is_not_taken(folder):
    (folder / "replaced").mkdir()
    (folder / "replaced" / f"answer.{digest_of(SECOND)}.sql").write_text("select 'forged'")
    with pytest.raises(SQLDigestMismatch):
        pinned_text("layoverhq", "answer", digest_of(SECOND))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("alias", ["default", "operator"])
def test_install_sql__on_a_serving_alias__does_nothing(alias):
    with transaction.atomic(using=alias):
        run(InstallSQL("layoverhq", "answer", digest=digest_of(FIRST)), alias=alias)
    assert answer() is None


@pytest.mark.parametrize(
    "operation",
    [
        InstallSQL("layoverhq", "answer", digest="a" * 16),
        InstallSQL("layoverhq", "answer", digest="a" * 16, replaces="b" * 16),
        SeedSchedule("Nightly", task="x.y", crontab="1 2 * * *", help_text="Why."),
        SeedGroups({"Readers": ["view_flag"]}),
    ],
)
def test_operations__written_into_a_migration__come_back_the_same(operation):
    _, arguments, keywords = operation.deconstruct()
    assert type(operation)(*arguments, **keywords).deconstruct() == operation.deconstruct()
    assert MigrationWriter.serialize(operation)[0]
    assert operation.describe()
    assert operation.migration_name_fragment


def test_sql_digest__command__prints_what_a_migration_pins(capsys):
    call_command("sql_digest", "layoverhq", "tenant_isolation")
    printed = capsys.readouterr().out.strip()
    assert pinned_text("layoverhq", "tenant_isolation", printed)
    with pytest.raises(CommandError, match="does not exist"):
        call_command("sql_digest", "layoverhq", "nothing")


@pytest.fixture
def schedule() -> Iterator[SeedSchedule]:
    operation = SeedSchedule(
        unique("Nightly"),
        task="layoverhq.tasks.clear_sessions",
        crontab="17 3 * * 1",
        help_text="Clears.",
    )
    yield operation
    run(operation, forwards=False)


def seeded(operation: SeedSchedule) -> PeriodicTask:
    with operator_scope():
        task: PeriodicTask = PeriodicTask.objects.select_related("crontab").get(name=operation.name)
        return task


def test_seed_schedule__fresh__is_there_for_operators(schedule):
    run(schedule)
    task = seeded(schedule)
    assert (task.task, task.description, task.enabled) == (
        "layoverhq.tasks.clear_sessions", "Clears.", True,
    )  # fmt: skip
    assert (task.crontab.minute, task.crontab.hour, task.crontab.day_of_week) == ("17", "3", "1")
    assert str(task.crontab.timezone) == "UTC"


def test_seed_schedule__edited_by_an_operator__is_never_overwritten(schedule):
    run(schedule)
    with operator_scope():
        crontab, _ = CrontabSchedule.objects.get_or_create(minute="5", hour="5", timezone="UTC")
        PeriodicTask.objects.filter(name=schedule.name).update(
            enabled=False, crontab=crontab, description="Mine."
        )
    run(schedule)
    task = seeded(schedule)
    assert (task.enabled, task.crontab.minute, task.description) == (False, "5", "Mine.")


def test_seed_schedule__backwards__is_gone(schedule):
    run(schedule)
    run(schedule, forwards=False)
    with operator_scope():
        assert not PeriodicTask.objects.filter(name=schedule.name).exists()


def test_seeded_schedules__all__name_a_task_that_exists():
    # Not by import_default_modules(): see test_celery.py.
    celery_app.autodiscover_tasks(force=True)
    with operator_scope():
        tasks = list(PeriodicTask.objects.exclude(task="celery.backend_cleanup"))
    assert tasks
    for task in tasks:
        assert task.task in celery_app.tasks, task.name
        assert import_string(task.task)
        assert task.description, task.name


def test_seeded_groups__all__have_the_permissions_that_they_name():
    groups = {
        name: (migration.app_label, set(codenames))
        for migration in MigrationLoader(None).disk_migrations.values()
        for operation in migration.operations
        if isinstance(operation, SeedGroups)
        for name, codenames in operation.groups.items()
    }
    assert groups
    with operator_scope():
        for name, (app_label, codenames) in groups.items():
            held = Group.objects.get(name=name).permissions.select_related("content_type")
            found = {(each.content_type.app_label, each.codename) for each in held}
            assert found == {(app_label, codename) for codename in codenames}, name
