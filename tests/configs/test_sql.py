"""What the database answers and refuses by itself, whoever asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connections
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from apps.configs import operations
from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.operations import UNSET, Proposal
from apps.configs.queries import explain_config
from apps.configs.runtime import configs
from apps.tenants.models import Enterprise
from layoverhq.bucketing import in_rollout, rollout_bucket
from layoverhq.snapshot import connect
from layoverhq.tenancy import TenantRef, operator_scope
from tests.configs import factories
from tests.configs.factories import declare, draft, history, key_name, publish, set_value
from tests.isolation import roles
from tests.kernel.test_snapshot import PATIENCE_SECONDS
from tests.tenants.factories import make_enterprise, make_operator


@pytest.fixture(scope="module")
def superuser() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as_superuser() as connection:
        yield connection


@pytest.fixture(scope="module")
def writer() -> Iterator[psycopg.Connection[Any]]:
    """A bare connection of the operator's role."""
    with roles.connect_as(roles.OPERATOR) as connection:
        yield connection


# --- two answers to one question

NOTHING: Any = "nothing"
CLEARED: Any = "cleared"
TYPED_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.integers(-100, 100) | st.sampled_from([0.5, 30.0, 2**53]),
    "string": st.sampled_from(["", "a", "ünïcödé", "null"]),
    "boolean": st.booleans(),
    "array": st.lists(st.integers(0, 3), max_size=2),
    "json": st.dictionaries(st.sampled_from(["a", "b"]), st.none() | st.lists(st.booleans())),
}


@dataclass(frozen=True)
class KeyState:
    """All that stands for one key: values, NOTHING (never set) or CLEARED (set and unset)."""

    value_type: str
    default: Any
    platform: Any
    overrides: Mapping[int, Any]
    staged: Any
    percentage: int
    named: frozenset[int]

    def expected(self, release: UUID, tenants: list[UUID], tenant: int | None) -> Any:
        """Return what the guide's order of levels makes of it."""
        layers = [self.platform, self.default]
        if tenant is not None:
            reached = tenant in self.named or in_rollout(
                str(release), str(tenants[tenant]), self.percentage
            )
            layers.insert(0, self.staged if reached else NOTHING)
            layers.insert(0, self.overrides.get(tenant, NOTHING))
        return next((value for value in layers if value not in (NOTHING, CLEARED)), None)


TENANTS = 4


@st.composite
def key_states(draw: st.DrawFn) -> KeyState:
    value_type = draw(st.sampled_from(list(TYPED_VALUES)))
    values = TYPED_VALUES[value_type]
    maybe = st.sampled_from([NOTHING, CLEARED]) | values
    return KeyState(
        value_type=value_type,
        default=draw(st.just(NOTHING) | values),
        platform=draw(maybe),
        overrides=draw(st.dictionaries(st.integers(0, TENANTS - 1), maybe)),
        staged=draw(st.just(NOTHING) | values),
        percentage=draw(st.sampled_from([0, 1, 25, 50, 75, 100])),
        named=draw(st.frozensets(st.integers(0, TENANTS - 1), max_size=2)),
    )


@pytest.fixture(scope="module")
def tenants() -> list[UUID]:
    return [make_enterprise().pk for _ in range(TENANTS)]


def build(writer: psycopg.Connection[Any], state: KeyState, key: str, tenants: list[UUID]) -> UUID:
    """Bring the state about by bare inserts and return the release's change set."""
    default = None if state.default is NOTHING else Jsonb(state.default)
    writer.execute(
        "insert into config_keys (key, value_type, schema, default_value, description, category,"
        " requires_restart, is_secret, tenant_visible, tenant_overridable, version, updated_at)"
        " values (%s, %s, '{}', %s, 'x', 'business', false, false, true, true, 1, now())",
        [key, state.value_type, default],
    )

    def add(tenant: UUID | None, value: Any) -> None:
        if value is not NOTHING:
            writer.execute(
                "insert into system_configs (key, tenant_id, value, value_type, category, unset)"
                " values (%s, %s, %s, %s, 'business', %s)",
                [
                    key,
                    tenant,
                    Jsonb(None if value is CLEARED else value),
                    state.value_type,
                    value is CLEARED,
                ],
            )

    add(None, state.platform)
    for tenant, value in state.overrides.items():
        add(tenants[tenant], value)
    (release,) = writer.execute(
        "insert into config_change_sets (title, reason, stage, problem, updated_at)"
        " values ('world', 'x', 'staged', '', now()) returning id"
    ).fetchone() or (None,)
    assert release
    for tenant in state.named:
        writer.execute(
            "insert into config_release_tenants (change_set_id, enterprise_id) values (%s, %s)",
            [release, tenants[tenant]],
        )
    if state.staged is not NOTHING:
        writer.execute(
            "insert into system_configs (key, value, value_type, category, status, change_set_id,"
            " release_percentage) values (%s, %s, %s, 'business', 'staged', %s, %s)",
            [key, Jsonb(state.staged), state.value_type, release, state.percentage],
        )
    return release


def answers(
    connection: psycopg.Connection[Any], keys: list[str], tenant: UUID | None
) -> dict[str, Any]:
    return dict(
        connection.execute(
            "select key, get_config(key, %s) from unnest(%s::text[]) as key", [tenant, keys]
        ).fetchall()
    )


def thawed(value: Any) -> Any:
    """Return the plain JSON of a value that configs.get returned."""
    if isinstance(value, Mapping):
        return {name: thawed(item) for name, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, tuple) else value


@settings(max_examples=60)
@given(st.lists(key_states(), min_size=1, max_size=4))
def test_get_config__any_state_of_the_world__sql_and_python_answer_the_same(
    writer, app_bare, tenants, states
):
    world = {key_name("world"): state for state in states}
    releases = {}
    with writer.transaction():
        for key, state in world.items():
            releases[key] = build(writer, state, key, tenants)
    configs.directory.get()
    with connect() as connection:
        configs.directory.refresh(connection, at_least=configs.directory.version + 1)
    keys = list(world)
    for tenant in (None, *range(TENANTS)):
        tenant_id = None if tenant is None else tenants[tenant]
        ref = TenantRef(tenant_id) if tenant_id else None
        expected = {
            key: state.expected(releases[key], tenants, tenant) for key, state in world.items()
        }
        assert answers(writer, keys, tenant_id) == expected
        with roles.acting_as(app_bare, tenant_id):
            assert answers(app_bare, keys, tenant_id) == expected
        assert {key: thawed(configs.get(key, ref)) for key in keys} == expected
        assert (
            dict(zip(keys, map(thawed, configs.together(*keys, tenant=ref)), strict=True))
            == expected
        )
        with operator_scope():
            for key in keys:
                explained = explain_config(key, tenant_id)
                first = explained[0].value if explained else None
                assert first == expected[key]
                assert [layer.holds for layer in explained] == [
                    position == 0 for position in range(len(explained))
                ]


@pytest.fixture(scope="module")
def app_bare() -> Iterator[psycopg.Connection[Any]]:
    with roles.connect_as(roles.APP) as connection:
        yield connection


def test_explain__all_levels_set__names_each_with_what_it_hides(enterprise):
    key = declare(default_value=1, tenant_visible=True, tenant_overridable=True)
    platform = set_value(key, 2)
    staged = draft(Proposal(key.key, 3))
    with operator_scope():
        operations.stage_release(change_set=staged, enterprises=[enterprise])
        release = staged.items.get()
    own = set_value(key, 4, enterprise)
    with operator_scope():
        explained = explain_config(key.key, enterprise.pk)
    assert [(layer.layer, layer.value, layer.config_id, layer.holds) for layer in explained] == [
        ("tenant", 4, own.pk, True),
        ("release", 3, release.pk, False),
        ("platform", 2, platform.pk, False),
        ("default", 1, None, False),
    ]
    assert [layer.version for layer in explained] == [1, 2, 1, None]


def test_get_config__undeclared_or_without_value__is_null(enterprise, writer):
    key = declare()
    assert answers(writer, [key.key, "never.declared"], enterprise.pk) == {
        key.key: None,
        "never.declared": None,
    }


# --- buckets

storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@given(st.lists(st.tuples(storable, storable), min_size=1, max_size=20))
def test_rollout_bucket__any_text__sql_and_python_answer_the_same(app_bare, pairs):
    rows = app_bare.execute(
        "select rollout_bucket(salt, unit) from unnest(%s::text[], %s::text[])"
        " with ordinality as pair (salt, unit, position) order by position",
        [[salt for salt, _ in pairs], [unit for _, unit in pairs]],
    ).fetchall()
    assert [bucket for (bucket,) in rows] == [rollout_bucket(salt, unit) for salt, unit in pairs]


def test_rollout_bucket__ten_thousand_tenants__are_spread_evenly_and_differently_by_salt():
    units = [str(uuid4()) for _ in range(10_000)]
    first = {unit for unit in units if in_rollout("one", unit, 10)}
    second = {unit for unit in units if in_rollout("two", unit, 10)}
    assert 800 < len(first) < 1200
    assert 800 < len(second) < 1200
    assert len(first & second) < 200


@given(storable, st.integers(0, 99))
def test_rollout__raised__takes_nobody_off(unit, percentage):
    assert not in_rollout("salt", unit, 0)
    assert in_rollout("salt", unit, 100)
    if in_rollout("salt", unit, percentage):
        assert in_rollout("salt", unit, percentage + 1)


def test_rollout__tenants_at_the_very_edge__are_outside_in_sql_and_python(app_bare):
    # One bucket in a hundred is an edge; by chance, few tests would meet it.
    release = uuid4()
    edges = {}
    while len(edges) < 20:
        tenant = uuid4()
        if (bucket := rollout_bucket(str(release), str(tenant))) % 100 == 0:
            edges[tenant] = bucket // 100
    for tenant, percentage in edges.items():
        for asked in (percentage, percentage + 1):
            row = app_bare.execute(
                "select in_config_release(%s, %s, %s)", [release, asked, tenant]
            ).fetchone()
            assert row == (asked > percentage,)
            assert in_rollout(str(release), str(tenant), asked) == (asked > percentage)


# --- writing as the guide writes


def guide_insert(connection: psycopg.Connection[Any], key: str, value: Any, **more: Any) -> None:
    """Insert as the guide's own statements do, with more columns where named."""
    row = {
        "key": key,
        "value": Jsonb(value),
        "value_type": "number",
        "category": "runtime",
        "description": "of the guide",
        **more,
    }
    connection.execute(
        sql.SQL("insert into system_configs ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Placeholder, row)),
        ),
        row,
    )


def test_insert__as_in_the_guide__is_an_active_version_that_everybody_obeys(writer):
    key = declare("number", description="As declared.", default_value=1)
    guide_insert(writer, key.key, 17)
    factories.await_value(key, 17)
    with operator_scope():
        row = SystemConfig.objects.get(config_key=key)
    assert (row.version, row.status, row.is_active, row.unset) == (1, "active", True, False)
    assert row.enterprise_id is row.created_by_id is row.change_set_id is None


def test_insert__that_misstates_the_declaration__takes_what_is_declared(writer):
    key = declare("string", description="As declared.", category_id="security", is_secret=True)
    guide_insert(
        writer, key.key, "sealed:x:y", value_type="number", is_secret=False, version=99,
        requires_restart=True,
    )  # fmt: skip
    with operator_scope():
        row = SystemConfig.objects.get(config_key=key)
    assert (row.value_type, row.description, row.category) == ("string", "As declared.", "security")
    assert (row.is_secret, row.requires_restart, row.version) == (True, False, 1)


def test_insert__second_active_value__refused(writer, enterprise):
    key = declare()
    guide_insert(writer, key.key, 1)
    guide_insert(writer, key.key, 1, tenant_id=enterprise.pk)
    for tenant in (None, enterprise.pk):
        with pytest.raises(errors.UniqueViolation, match="idx_system_configs_key_tenant_active"):
            guide_insert(writer, key.key, 2, tenant_id=tenant)
    assert history(key) == [(1, "active", 1)]
    assert history(key, enterprise) == [(1, "active", 1)]


@pytest.mark.parametrize("key", ["never.declared", "", "x' or true --"])
def test_insert__undeclared_key__refused(writer, key):
    with pytest.raises(errors.ForeignKeyViolation) as refusal:
        guide_insert(writer, key, 1)
    assert refusal.value.diag.constraint_name == "system_configs_key_declared"


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        ("number", "30"), ("number", True), ("number", [1]), ("number", {}), ("number", None),
        ("number", 2**53 + 1), ("number", -(2**53) - 1), ("number", 1e300),
        ("string", 1), ("string", None), ("string", ["a"]), ("string", False),
        ("boolean", "true"), ("boolean", 1), ("boolean", None),
        ("json", []), ("json", "{}"), ("json", None), ("json", 1),
        ("array", {}), ("array", "[]"), ("array", None),
    ],
)  # fmt: skip
def test_insert__value_of_another_type__refused_by_its_constraint(writer, value_type, value):
    key = declare(value_type)
    with pytest.raises(errors.CheckViolation, match="system_configs_value_typed"):
        guide_insert(writer, key.key, value)
    assert history(key) == []


def test_insert__secret_that_is_no_text__refused(writer):
    key = declare("number", is_secret=True)
    with pytest.raises(errors.CheckViolation, match="system_configs_value_typed"):
        guide_insert(writer, key.key, 5)


def test_insert__value_with_unset__refused(writer):
    key = declare()
    with pytest.raises(errors.CheckViolation, match="system_configs_value_typed"):
        guide_insert(writer, key.key, 5, unset=True)


def test_insert__half_a_megabyte__refused(writer):
    key = declare("string")
    with pytest.raises(errors.CheckViolation, match="system_configs_value_size"):
        guide_insert(writer, key.key, "x" * 500_000)


def test_insert__staged_for_a_tenant_or_without_a_release__refused(writer, enterprise):
    key = declare()
    release = draft(Proposal(key.key, 1))
    for more in (
        {"tenant_id": enterprise.pk, "change_set_id": release.pk, "release_percentage": 100},
        {"release_percentage": 100},
        {"change_set_id": release.pk},
    ):
        with pytest.raises(errors.CheckViolation, match="system_configs_staged_whole"):
            guide_insert(writer, key.key, 2, status="staged", **more)


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "Upper.case"}, {"key": "nodots"}, {"key": "a..b"}, {"key": "a.b\n"},
        {"key": "1.a"},
        {"value_type": "integer"}, {"default_value": Jsonb("text")},
        {"default_value": Jsonb(2**60)}, {"schema": Jsonb([])},
        {"is_secret": True, "default_value": Jsonb(1)}, {"tenant_overridable": True},
        {"category": "never made"},
        {"requires_restart": True, "tenant_visible": True, "tenant_overridable": True},
    ],
    ids=str,
)  # fmt: skip
def test_declaration__written_by_hand__is_checked(writer, fields):
    row = {
        "key": key_name(),
        "value_type": "number",
        "schema": Jsonb({}),
        "default_value": None,
        "description": "x",
        "category": "business",
        "requires_restart": False,
        "is_secret": False,
        "tenant_visible": False,
        "tenant_overridable": False,
        "version": 1,
        **fields,
    }
    with pytest.raises((errors.CheckViolation, errors.ForeignKeyViolation)):
        writer.execute(
            sql.SQL("insert into config_keys ({}, updated_at) values ({}, now())").format(
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(map(sql.Placeholder, row)),
            ),
            row,
        )


# --- history


@pytest.fixture
def overridden(enterprise: Enterprise) -> ConfigKey:
    """A key with history, of the platform's and of the enterprise's."""
    key = declare(tenant_visible=True, tenant_overridable=True)
    for value in (1, 2):
        set_value(key, value)
        set_value(key, value * 10, enterprise)
    return key


IMMUTABLE = {
    "id": "uuidv7()",
    "key": "'layover.min_duration'",
    "value": "'99'",
    "value_type": "'string'",
    "description": "'x'",
    "category": "'x'",
    "requires_restart": "true",
    "is_secret": "true",
    "tenant_id": "null",
    "unset": "true",
    "version": "version + 100",
    "reason": "'x'",
    "change_set_id": "null",
    "created_by": "null",
    "created_at": "now()",
}


@pytest.mark.parametrize("role", [roles.APP, roles.OPERATOR])
@pytest.mark.parametrize("column", IMMUTABLE)
def test_history__any_fact_of_a_version__is_rewritten_by_nobody(
    enterprise, overridden, role, column
):
    before = history(overridden), history(overridden, enterprise)
    with (
        roles.connect_as(role) as connection,
        roles.acting_as(connection, enterprise.pk),
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(
            sql.SQL("update system_configs set {} = {} where key = %s").format(
                sql.Identifier(column), sql.SQL(IMMUTABLE[column])
            ),
            [overridden.key],
        )
    assert (history(overridden), history(overridden, enterprise)) == before


@pytest.mark.parametrize("role", [roles.APP, roles.OPERATOR])
def test_history__deleted__refused(enterprise, overridden, role):
    with (
        roles.connect_as(role) as connection,
        roles.acting_as(connection, enterprise.pk),
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("delete from system_configs where key = %s", [overridden.key])
    assert len(history(overridden)) == len(history(overridden, enterprise)) == 2


@pytest.mark.parametrize("role", [roles.APP, roles.OPERATOR])
def test_history__what_was_superseded__comes_back_as_a_new_version_only(
    enterprise, overridden, role
):
    with roles.connect_as(role) as connection, roles.acting_as(connection, enterprise.pk):
        connection.execute(
            "update system_configs set status = 'superseded' where key = %s and tenant_id = %s"
            " and status = 'active'",
            [overridden.key, enterprise.pk],
        )
        with pytest.raises(errors.InsufficientPrivilege, match="from superseded to active"):
            connection.execute(
                "update system_configs set status = 'active' where key = %s and tenant_id = %s"
                " and version = 1",
                [overridden.key, enterprise.pk],
            )


@pytest.mark.parametrize(
    ("before", "after", "may"),
    [
        (before, after, after in allowed)
        for before, allowed in {
            "draft": {"scheduled", "staged", "active", "rejected"},
            "scheduled": {"draft", "active", "rejected"},
            "staged": {"active", "rejected"},
            "active": {"superseded"},
            "superseded": set(),
            "rejected": set(),
        }.items()
        for after in ("draft", "scheduled", "staged", "active", "superseded", "rejected")
        if after != before
    ],
)
def test_status__from_one_to_another__goes_one_way(writer, before, after, may):
    key = declare()
    release = draft(Proposal(key.key, 1))
    guide_insert(
        writer, key.key, 2, status=before, change_set_id=release.pk, release_percentage=5
    )  # fmt: skip
    change = "update system_configs set status = %s where key = %s and value = '2'"
    if may:
        writer.execute(change, [after, key.key])
    else:
        with pytest.raises(errors.InsufficientPrivilege, match=f"from {before} to {after}"):
            writer.execute(change, [after, key.key])
    assert history(key)[1][1] == (after if may else before)


def test_delete__of_an_enterprise_that_is_being_erased__takes_its_rows_only(
    enterprise, other_enterprise, overridden, writer
):
    set_value(overridden, 5, other_enterprise)
    writer.execute(
        "insert into offboardings (enterprise_id, stage, rows_total, rows_done, table_now, archive,"
        " archive_sha256, error, updated_at) values (%s, 'erasing', 0, 0, '', '', '', '', now())",
        [enterprise.pk],
    )
    for condition in ("tenant_id is null", "tenant_id is distinct from %(erased)s", "true"):
        with pytest.raises(errors.InsufficientPrivilege, match="never deleted"):
            writer.execute(
                sql.SQL("delete from system_configs where key = %(key)s and {}").format(
                    sql.SQL(condition)
                ),
                {"key": overridden.key, "erased": enterprise.pk},
            )
    writer.execute("delete from system_configs where tenant_id = %s", [enterprise.pk])
    assert history(overridden, enterprise) == []
    assert history(overridden, other_enterprise) == [(1, "active", 5)]
    assert len(history(overridden)) == 2
    factories.await_value(overridden, 2, enterprise)


# --- tenants


def test_tenant__own_value_by_hand__is_taken_and_holds_for_nobody_else(
    enterprise, other_enterprise, app_bare
):
    key = declare(tenant_visible=True, tenant_overridable=True, default_value=1)
    with app_bare.transaction():
        act_as(app_bare, enterprise)
        guide_insert(app_bare, key.key, 7, tenant_id=enterprise.pk)
    factories.await_value(key, 7, enterprise)
    assert configs.get(key.key) == configs.get(key.key, other_enterprise) == 1


def act_as(connection: psycopg.Connection[Any], enterprise: Enterprise) -> None:
    connection.execute(
        "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise.pk)]
    )


def test_tenant__platforms_or_anothers_value__cannot_be_written(
    enterprise, other_enterprise, app_bare, overridden
):
    for tenant in (None, other_enterprise.pk):
        with (
            roles.acting_as(app_bare, enterprise.pk),
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
        ):
            guide_insert(app_bare, overridden.key, 7, tenant_id=tenant, status="active")
    with roles.acting_as(app_bare, enterprise.pk):
        touched = app_bare.execute(
            "update system_configs set status = 'superseded' where tenant_id is null"
        )
        assert touched.rowcount == 0
    assert history(overridden)[-1] == (2, "active", 2)


def test_tenant__anothers_override__is_neither_seen_nor_told(
    other_enterprise, enterprise, app_bare, overridden
):
    # `overridden` has values of `enterprise`; the other one looks.
    with roles.acting_as(app_bare, other_enterprise.pk):
        assert answers(app_bare, [overridden.key], enterprise.pk) == {overridden.key: 2}
        assert answers(app_bare, [overridden.key], other_enterprise.pk) == {overridden.key: 2}
        seen = app_bare.execute(
            "select distinct tenant_id from system_configs where key = %s", [overridden.key]
        ).fetchall()
    assert seen == [(None,)]
    assert configs.get(overridden.key, other_enterprise) == 2


def test_tenant__key_that_is_the_platforms__cannot_be_overridden_by_hand(enterprise, app_bare):
    visible = declare(tenant_visible=True)
    with (
        roles.acting_as(app_bare, enterprise.pk),
        pytest.raises(errors.InsufficientPrivilege, match="not set like this by a tenant"),
    ):
        guide_insert(app_bare, visible.key, 7, tenant_id=enterprise.pk)


def test_tenant__naming_a_user_or_a_release__refused_whether_they_exist_or_not(
    enterprise, app_bare, overridden
):
    operator = make_operator()
    release = draft(Proposal(overridden.key, 1))
    refusals = set()
    for more in (
        {"created_by": operator.pk},
        {"created_by": uuid4()},
        {"change_set_id": release.pk},
        {"change_set_id": uuid4()},
        {"release_percentage": 100},
        {"status": "draft"},
        {"status": "staged"},
        {"status": "superseded"},
    ):
        with (
            roles.acting_as(app_bare, enterprise.pk),
            pytest.raises(errors.InsufficientPrivilege) as refusal,
        ):
            guide_insert(app_bare, overridden.key, 7, tenant_id=enterprise.pk, **more)
        refusals.add(refusal.value.diag.message_primary)
    assert len(refusals) == 1


def test_tenant__draft_that_an_operator_made_for_it__cannot_be_activated_by_hand(
    enterprise, app_bare
):
    key = declare(category_id="security")
    draft(Proposal(key.key, 7, enterprise))
    with (
        roles.acting_as(app_bare, enterprise.pk),
        pytest.raises(errors.InsufficientPrivilege, match="from draft to active"),
    ):
        app_bare.execute("update system_configs set status = 'active' where key = %s", [key.key])
    assert history(key, enterprise) == [(1, "draft", 7)]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into config_keys (key) values ('a.b')",
        "update config_keys set schema = '{}'",
        "delete from config_keys",
        "insert into config_categories (name) values ('mine')",
        "update config_categories set is_protected = false",
        "select from config_change_sets",
        "insert into config_release_tenants (enterprise_id) values (current_enterprise_id())",
        "delete from config_release_tenants",
        "select reseal_config(uuidv7(), 'a', 'b')",
        "select raise_snapshot('configs')",
        "select forget_snapshot_changes(now())",
        "select audit_reading('system_configs', 'x', null)",
        "select from snapshot_changes",
        "select from processes",
        "delete from processes",
    ],
)
def test_tenant__what_is_the_operators__refused(enterprise, app_bare, statement):
    with (
        roles.acting_as(app_bare, enterprise.pk),
        pytest.raises(errors.InsufficientPrivilege),
    ):
        app_bare.execute(statement)


# --- notifications


class Ear:
    """Hears the channel `config_change`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("listen config_change")
        self._connection = connection
        self._waiting: list[dict[str, Any]] = []

    def hear(self, count: int, *keys: ConfigKey) -> list[dict[str, Any]]:
        """Return the next notifications of these keys."""
        names = {key.key for key in keys}
        told: list[dict[str, Any]] = []
        while len(told) < count:
            if not self._waiting:
                heard = self._connection.notifies(timeout=PATIENCE_SECONDS, stop_after=1)
                self._waiting = [json.loads(notification.payload) for notification in heard]
                assert self._waiting, f"heard only {told}"
            payload = self._waiting.pop(0)
            if payload["key"] in names:
                told.append(payload)
        return told


@pytest.fixture
def ear() -> Iterator[Ear]:
    with roles.connect_as(roles.APP) as connection:
        yield Ear(connection)


def told_of(key: ConfigKey, tenant: Enterprise | None, version: int) -> dict[str, Any]:
    return {
        "key": key.key,
        "tenant_id": str(tenant.pk) if tenant else None,
        "version": version,
        "requires_restart": False,
    }


def test_notify__insert_and_update__tell_key_tenant_and_version_and_no_value(
    ear, writer, enterprise
):
    key = declare("string")
    guide_insert(writer, key.key, "the platform's words")
    guide_insert(writer, key.key, "the tenant's words", tenant_id=enterprise.pk)
    assert ear.hear(2, key) == [told_of(key, None, 1), told_of(key, enterprise, 1)]
    publish(Proposal(key.key, "other words"))
    # The update of the old version is no change of its own: the new one's tells it.
    assert ear.hear(1, key) == [told_of(key, None, 2)]
    writer.execute(
        "update system_configs set expires_at = now() + interval '1 day'"
        " where key = %s and is_active and tenant_id is null",
        [key.key],
    )
    assert ear.hear(1, key) == [told_of(key, None, 2)]


def test_notify__delete__tells_what_is_gone(overridden, ear, writer, enterprise):
    writer.execute(
        "insert into offboardings (enterprise_id, stage, rows_total, rows_done, table_now, archive,"
        " archive_sha256, error, updated_at) values (%s, 'erasing', 0, 0, '', '', '', '', now())",
        [enterprise.pk],
    )
    writer.execute("delete from system_configs where tenant_id = %s", [enterprise.pk])
    told = ear.hear(2, overridden)
    assert sorted(told, key=lambda payload: payload["version"]) == [
        told_of(overridden, enterprise, 1),
        told_of(overridden, enterprise, 2),
    ]


def test_notify__cleared__tells_the_version_that_says_so(ear):
    key = declare()
    set_value(key, 1)
    set_value(key, UNSET)
    assert ear.hear(2, key) == [told_of(key, None, 1), told_of(key, None, 2)]


def test_notify__staged_and_withdrawn__are_told(ear, enterprise):
    key = declare()
    release = draft(Proposal(key.key, 1))
    with operator_scope():
        operations.stage_release(change_set=release, enterprises=[enterprise])
    assert ear.hear(1, key) == [told_of(key, None, 1)]
    with operator_scope():
        operations.withdraw_release(change_set=release)
    assert ear.hear(1, key) == [told_of(key, None, 1)]


def test_notify__draft_or_rolled_back__is_not_told(ear, writer):
    key, marker = declare(), declare()
    draft(Proposal(key.key, 1))
    with writer.transaction(force_rollback=True):
        guide_insert(writer, key.key, 2)
    # Notifications come in the order of commits: whatever was told would be heard before this.
    guide_insert(writer, marker.key, 1)
    assert ear.hear(1, key, marker) == [told_of(marker, None, 1)]


def test_notify__restart_needed__says_so(ear, writer):
    key = declare(requires_restart=True)
    guide_insert(writer, key.key, 1)
    assert ear.hear(1, key) == [{**told_of(key, None, 1), "requires_restart": True}]


def test_notify__value_of_200_kilobytes__neither_aborts_the_write_nor_is_told(ear):
    key = declare("string")
    with roles.connect_as(roles.APP) as other:
        other.execute("listen hot_snapshot")
        set_value(key, "kilobytes " * 20_000)
        told = list(other.notifies(timeout=PATIENCE_SECONDS, stop_after=1))
    assert len(told[0].payload) < 100
    assert ear.hear(1, key) == [told_of(key, None, 1)]
    assert history(key)[0][2].startswith("kilobytes")


def test_changes__logged__name_what_changed_in_the_order_of_versions(writer, enterprise):
    key = declare("string")
    start = factories.stored_version()
    set_value(key, "private words")
    set_value(key, "private words", enterprise)
    with connect() as connection:
        rows = connection.execute(
            "select version, subject, tenant_id from snapshot_changes_since('configs', %s)", [start]
        ).fetchall()
    ours = [row for row in rows if row["subject"] == key.key]
    assert {row["tenant_id"] for row in ours} == {None, enterprise.pk}
    assert [row["version"] for row in ours] == sorted(row["version"] for row in ours)
    with operator_scope(), connections["operator"].cursor() as cursor:
        cursor.execute("select to_jsonb(c)::text from snapshot_changes c")
        assert "private" not in str(cursor.fetchall())


# --- turns


def test_versions__many_writers_at_once__are_numbered_without_gap_or_repeat(enterprise):
    key = declare()
    failures: list[Exception] = []

    def write() -> None:
        try:
            with roles.connect_as(roles.OPERATOR) as connection:
                for _ in range(10):
                    guide_insert(connection, key.key, 1, status="draft")
                    guide_insert(
                        connection, key.key, 1, status="draft", tenant_id=enterprise.pk
                    )  # fmt: skip
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    for tenant in (None, enterprise):
        assert [version for version, _, _ in history(key, tenant)] == list(range(1, 41))
