"""A tenant's configuration over HTTP: what it reads, what it sets, what it never sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from apps.audit.models import AuditEvent
from apps.configs.api.answers import KEPT_BYTES, Listings, listing
from apps.configs.models import ConfigCategory, SystemConfig
from apps.configs.runtime import configs, override_config
from apps.tenants.directory import api_keys
from apps.tenants.models import Enterprise, Scope
from layoverhq.errors import PROBLEM_CONTENT_TYPE, InvalidInput
from layoverhq.strict_json import parse_members
from layoverhq.tenancy import operator_scope
from tests.configs.declared import declare, own_versions, publish
from tests.isolation import roles
from tests.kernel.test_snapshot import until
from tests.tenants import factories

LIST = "/api/v1/configs"


def url(key: Any, rest: str = "") -> str:
    return f"{LIST}/{key}{rest}"


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    return body


def named(response: Any, status: int = 400, code: str = "invalid_input") -> set[str]:
    """Return the fields that a refusal names."""
    return {error["field"] for error in problem(response, status, code)["errors"]}


def put(client: Client, key: Any, value: Any, version: Any = 0) -> Any:
    body = {"value": value, "version": version}
    return client.put(url(key), body, content_type="application/json")


def put_raw(client: Client, key: Any, body: str | bytes) -> Any:
    return client.put(url(key), body, content_type="application/json")


def item(client: Client, key: Any) -> dict[str, Any]:
    """Return the key as the list tells of it."""
    (found,) = (i for i in client.get(LIST).json()["results"] if i["key"] == str(key))
    return dict(found)


def until_listed(client: Client, key: Any, value: Any) -> None:
    until(lambda: item(client, key)["value"] == value)


# --- the list


def test_list__seeded_key__has_value_unit_and_words(api):
    assert item(api, "layover.min_duration") == {
        "key": "layover.min_duration",
        "value": configs.get("layover.min_duration"),
        "source": "platform",
        "value_type": "number",
        "unit": "minutes",
        "is_secret": False,
        "overridable": True,
        "category": "business",
        "description": "Minimum layover duration in minutes",
    }


def test_list__keys__are_in_order_and_visible_ones_only(api):
    hidden = declare(tenant_visible=False, tenant_overridable=False, default_value=1)
    shown = declare(default_value=2)
    keys = [found["key"] for found in api.get(LIST).json()["results"]]
    assert keys == sorted(keys)
    assert shown.key in keys
    assert hidden.key not in keys
    assert "web.threads" not in keys


def test_list__layers__each_is_told_with_its_source(api, enterprise, other_enterprise):
    key = declare(default_value=1)
    assert (item(api, key)["value"], item(api, key)["source"]) == (1, "default")
    publish((key, 2))
    assert (item(api, key)["value"], item(api, key)["source"]) == (2, "platform")
    publish((key, 3, enterprise), (key, 4, other_enterprise))
    assert (item(api, key)["value"], item(api, key)["source"]) == (3, "tenant")
    other = factories.make_client(other_enterprise)
    assert (item(other, key)["value"], item(other, key)["source"]) == (4, "tenant")


def test_list__neither_value_nor_default__is_null(api):
    key = declare()
    assert (item(api, key)["value"], item(api, key)["source"]) == (None, "default")


@pytest.mark.parametrize(
    ("value_type", "value"),
    [("json", {"a": [1, {"é": None}], "b": 0.5}), ("array", [1, "x", []]), ("boolean", False)],
)
def test_list__values_of_any_shape__are_told_as_they_are(api, value_type, value):
    key = declare(value_type)
    publish((key, value))
    assert item(api, key)["value"] == value


def test_list__secret__is_null_and_is_never_opened(api, enterprise, monkeypatch):
    key = declare("string", is_secret=True)
    publish((key, "hush-platform"), (key, "hush-own", enterprise))
    monkeypatch.setattr("apps.configs.runtime.open_secret", lambda *_: pytest.fail("opened"))
    found = item(api, key)
    assert (found["value"], found["is_secret"], found["source"]) == (None, True, "tenant")
    for path in (LIST, url(key), url(key, "/explain")):
        text = api.get(path).content.decode()
        assert "hush" not in text
        assert "sealed:" not in text
    assert api.get(url(key)).json()["override"]["value"] is None
    assert [layer["value"] for layer in api.get(url(key, "/explain")).json()["layers"]] == [
        None,
        None,
    ]


def test_list__asked_again__asks_no_database(api, django_assert_num_queries):
    api.get(LIST)
    for alias in ("default", "operator"):
        with django_assert_num_queries(0, connection=connections[alias]):
            assert api.get(LIST).status_code == 200
            assert api.get(LIST, {"prefix": "layover."}).status_code == 200


def test_list__database_away__is_told_from_memory_and_the_rest_is_503(api, monkeypatch):
    assert api.get(LIST).status_code == 200
    connection = connections["default"]
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    # That the key is used cannot be noted, and no request fails for it.
    monkeypatch.setattr(api_keys, "_touched", {})
    assert item(api, "layover.min_duration")["source"] == "platform"
    for path in (url("layover.min_duration"), url("layover.min_duration", "/explain")):
        problem(api.get(path), 503, "unavailable")
    problem(put(api, "layover.min_duration", 5), 503, "unavailable")
    connection.close()


def test_list__prefix__takes_those_that_begin_so(api):
    body = api.get(LIST, {"prefix": "layover."}).json()
    assert [found["key"] for found in body["results"]] == ["layover.min_duration"]
    assert api.get(LIST, {"prefix": "layover.min_duration.x"}).json() == {"results": []}


@pytest.mark.parametrize("prefix", ["", " ", "Layover", "layover%", "a\x00", "é", "x" * 256, "'"])
def test_list__prefix_that_is_none__is_named(api, prefix):
    assert named(api.get(LIST, {"prefix": prefix})) == {"prefix"}


@pytest.mark.parametrize(
    ("query", "field"),
    [("colour=blue", "colour"), ("prefix=a&prefix=b", "prefix"), ("prefix=%ff", "prefix")],
)
def test_list__odd_parameters__are_named(api, query, field):
    assert named(api.get(f"{LIST}?{query}")) == {field}


def test_list__another_tenants_values__are_nowhere(api, other_enterprise):
    key = declare("string")
    publish((key, "only-the-other-knows", other_enterprise))
    for path in (LIST, url(key), url(key, "/explain")):
        response = api.get(path)
        assert response.status_code == 200
        assert "only-the-other-knows" not in response.content.decode()
        assert str(other_enterprise.pk) not in response.content.decode()


# --- entity tags


@pytest.mark.parametrize("path", [LIST, f"{LIST}?prefix=layover.", url("layover.min_duration")])
def test_etag__of_what_the_caller_has__is_304_without_a_body(api, path):
    first = api.get(path)
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    for held in (etag, f"W/{etag}", f'"other", {etag}', f'"a",W/{etag} , "b"', "*"):
        response = api.get(path, headers={"If-None-Match": held})
        assert response.status_code == 304, held
        assert response.content == b""
        assert response.headers["ETag"] == etag
        assert "Content-Type" not in response.headers
    for held in ('"other"', etag.strip('"'), "", '""', etag[:-1], "x" * 5000):
        response = api.get(path, headers={"If-None-Match": held})
        assert response.status_code == 200, held
        assert response.content == first.content


def test_etag__value_changed__is_another_until_it_is_back(api):
    key = declare(default_value=1)
    before = api.get(LIST).headers["ETag"]
    publish((key, 2))
    response = api.get(LIST, headers={"If-None-Match": before})
    assert response.status_code == 200
    assert response.headers["ETag"] != before
    assert f'"{key.key}","value":2' in response.content.decode()


def test_etag__another_tenants_override__changes_nothing_of_it(api, other_enterprise):
    key = declare(default_value=1)
    before = api.get(LIST).headers["ETag"]
    publish((key, 2, other_enterprise))
    assert api.get(LIST, headers={"If-None-Match": before}).status_code == 304


def test_caching__of_configuration__is_the_callers_own_and_asked_for_each_time(api):
    for path in (LIST, url("layover.min_duration")):
        response = api.get(path)
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert "Authorization" in response.headers["Vary"]


def test_list__header__tells_the_version_that_it_is_as_of(api):
    key = declare(default_value=1)
    publish((key, 2))
    response = api.get(LIST)
    assert int(response.headers["X-Config-Version"]) == configs.directory.version
    again = api.get(LIST, headers={"If-None-Match": response.headers["ETag"]})
    assert again.headers["X-Config-Version"] == response.headers["X-Config-Version"]


def test_listing__kept_bodies__stay_within_their_bytes(enterprise, other_enterprise, monkeypatch):
    content = configs.directory.get()
    answer = listing(content, enterprise.pk)
    assert listing(content, enterprise.pk) is answer
    listings = content.derived[Listings]
    assert 0 < listings.kept_bytes < KEPT_BYTES
    monkeypatch.setattr("apps.configs.api.answers.KEPT_BYTES", len(answer.body) + 10)
    listing(content, other_enterprise.pk)
    assert set(listings.answers) == {other_enterprise.pk}


# --- one key


def test_key__own_value__is_told_with_its_version_and_schema(api, enterprise):
    schema = {"type": "integer", "minimum": 0, "maximum": 10, "x-unit": "bags"}
    key = declare(schema=schema, default_value=1, description="Bags that go free.")
    expected = {
        "key": key.key,
        "value": 1,
        "source": "default",
        "value_type": "number",
        "unit": "bags",
        "is_secret": False,
        "overridable": True,
        "category": "business",
        "description": "Bags that go free.",
        "schema": schema,
        "override": {"version": 0, "value": None, "expires_at": None},
    }
    assert api.get(url(key)).json() == expected
    publish((key, 4, enterprise))
    override = {"version": 1, "value": 4, "expires_at": None}
    changed = {"value": 4, "source": "tenant", "override": override}
    assert api.get(url(key)).json() == {**expected, **changed}


def test_key__protected_category__is_not_overridable_in_either_face(api):
    key = declare(default_value=1, category_id="security")
    assert item(api, key)["overridable"] is False
    assert api.get(url(key)).json()["overridable"] is False
    problem(put(api, key, 2), 403, "not_overridable")


def test_key__category_protected_later__is_known_everywhere(api):
    with operator_scope():
        category = ConfigCategory.objects.create(name=factories.unique("cat"))
    key = declare(default_value=1, category_id=category.pk)
    assert item(api, key)["overridable"] is True
    with operator_scope():
        ConfigCategory.objects.filter(pk=category.pk).update(is_protected=True)
    until(lambda: item(api, key)["overridable"] is False)


ODD_KEYS = [
    "nowhere.to_be_found", "x", "a..b", ".a", "a.", "A.b", "a.b%00", "%00", "a.b%0A", "é.ü",
    "%ff%fe", "%ed%a0%80", "a" * 300, "a." + "b" * 300, "..", "a b.c", "'; drop table users; --",
    "%27%20or%201=1", "{}", "%25s", "a.b\ud7ff",
]  # fmt: skip


@pytest.mark.parametrize("key", ODD_KEYS)
def test_key__that_is_none__is_404_to_every_method(api, key):
    for response in (
        api.get(url(key)),
        api.get(url(key, "/explain")),
        put(api, key, 1),
        api.delete(url(key, "?version=1")),
    ):
        problem(response, 404, "not_found")


def test_key__invisible__is_as_one_that_does_not_exist(api):
    hidden = declare(tenant_visible=False, tenant_overridable=False, default_value=1)
    calls = (
        lambda key: api.get(url(key)),
        lambda key: api.get(url(key, "/explain")),
        lambda key: put(api, key, 1),
        lambda key: api.delete(url(key, "?version=0")),
    )
    for call in calls:
        told = [
            {**problem(call(key), 404, "not_found"), "request_id": ""}
            for key in (hidden.key, hidden.key[:-1] + "_")
        ]
        assert str(told[0]).replace(hidden.key, "…") == str(told[1]).replace(
            hidden.key[:-1] + "_", "…"
        )


# --- explain


def test_explain__layers__tell_which_holds_and_what_it_hides(api, enterprise, other_enterprise):
    key = declare(default_value=1)
    publish((key, 2))
    publish((key, 3, enterprise), (key, 9, other_enterprise))
    told = api.get(url(key, "/explain")).json()
    assert told == {
        "key": key.key,
        "is_secret": False,
        "layers": [
            {"source": "tenant", "value": 3, "version": 1, "holds": True, "problem": ""},
            {"source": "platform", "value": 2, "version": 1, "holds": False, "problem": ""},
            {"source": "default", "value": 1, "version": None, "holds": False, "problem": ""},
        ],
    }


def test_explain__nothing_stands__has_no_layer(api):
    assert api.get(url(declare(), "/explain")).json()["layers"] == []


def test_explain__value_that_its_schema_forbids_now__gives_way_to_the_default(api, enterprise):
    key = declare(default_value=1)
    publish((key, 2), (key, 50, enterprise))
    with roles.connect_as(roles.OPERATOR) as operator:
        operator.execute(
            "update config_keys set schema = '{\"maximum\": 10}' where key = %s", [key.key]
        )
    until(lambda: item(api, key)["value"] == 1)
    assert item(api, key)["source"] == "default"
    own, platform, default = api.get(url(key, "/explain")).json()["layers"]
    assert (own["value"], own["holds"], own["problem"]) == (50, False, "At most 10.")
    assert (platform["value"], platform["holds"]) == (2, False)
    assert (default["value"], default["holds"]) == (1, True)
    assert (api.get(url(key)).json()["value"], api.get(url(key)).json()["source"]) == (1, "default")
    assert configs.get(key.key, enterprise) == 1


# --- setting and clearing


def test_put__first_then_again__is_201_then_200_and_holds_everywhere(api, enterprise):
    key = declare(schema={"type": "integer", "minimum": 0}, default_value=1)
    response = put(api, key, 5)
    assert response.status_code == 201
    body = response.json()
    assert (body["value"], body["source"]) == (5, "tenant")
    assert body["override"] == {"version": 1, "value": 5, "expires_at": None}
    assert response.headers["ETag"] == api.get(url(key)).headers["ETag"]
    until_listed(api, key, 5)
    again = put(api, key, 6, 1)
    assert again.status_code == 200
    assert again.json()["override"]["version"] == 2
    until(lambda: configs.get(key.key, enterprise) == 6)
    # The first stays in the history, as it was.
    told = [(v.version, v.value, v.status, v.base_version) for v in own_versions(key, enterprise)]
    assert told == [(1, 5, "superseded", 0), (2, 6, "active", 1)]


def test_put__values_of_each_type__are_stored_as_given(api, enterprise):
    for value_type, value in [
        ("string", "Grüße \U0001f6eb"),
        ("number", -0.25),
        ("number", 2**53),
        ("boolean", False),
        ("json", {"a": {"b": [1, None, "x"]}}),
        ("array", []),
    ]:
        key = declare(value_type)
        assert put(api, key, value).status_code == 201
        (version,) = own_versions(key, enterprise)
        assert version.value == value
        assert api.get(url(key)).json()["value"] == value


def test_put__own_value__is_nobody_elses(api, other_enterprise):
    key = declare(default_value=1)
    put(api, key, 5)
    until_listed(api, key, 5)
    other = factories.make_client(other_enterprise)
    assert item(other, key)["value"] == 1
    assert other.get(url(key)).json()["override"]["version"] == 0
    assert own_versions(key, other_enterprise) == []
    assert configs.get(key.key) == 1


def test_put__audit_trail__tells_by_which_key_it_was_done(enterprise):
    issued = factories.make_key(enterprise, name="Settings sync")
    factories.await_key(issued.token)
    client = factories.client_with(issued.token)
    key = declare(default_value=1)
    response = put(client, key, 5)
    reason = f"API key “Settings sync” ({issued.key.prefix}…)"
    (version,) = own_versions(key, enterprise)
    assert (version.reason, version.created_by) == (reason, None)
    with operator_scope():
        event = AuditEvent.objects.get(table_name="system_configs", row_id=str(version.pk))
    assert event.operation == "INSERT"
    assert event.reason == reason
    assert event.enterprise_id == enterprise.pk
    assert event.user_id is None
    assert event.request_id == response.headers["X-Request-ID"]
    assert event.new_values["value"] == 5
    # What tenants are told names no key and no person.
    assert "Settings sync" not in client.get(url(key, "/explain")).content.decode()


def test_put__secret__is_sealed_in_table_and_trail_and_opens_for_the_code(api, enterprise):
    key = declare("string", is_secret=True)
    response = put(api, key, "my-own-secret")
    assert response.status_code == 201
    assert "my-own-secret" not in response.content.decode()
    (version,) = own_versions(key, enterprise)
    assert version.value.startswith("sealed:")
    with operator_scope():
        event = AuditEvent.objects.get(table_name="system_configs", row_id=str(version.pk))
    assert event.new_values["value"] == "[redacted]"
    until(lambda: configs.get(key.key, enterprise) == "my-own-secret")


def test_delete__own_value__is_204_and_the_platforms_holds_again(api, enterprise):
    key = declare(default_value=1)
    put(api, key, 5)
    until_listed(api, key, 5)
    response = api.delete(url(key, "?version=1"))
    assert response.status_code == 204
    assert response.content == b""
    until_listed(api, key, 1)
    assert api.get(url(key)).json()["override"] == {
        "version": 0,
        "value": None,
        "expires_at": None,
    }
    told = [(v.version, v.unset, v.status) for v in own_versions(key, enterprise)]
    assert told == [(1, False, "superseded"), (2, True, "active")]
    with operator_scope():
        event = AuditEvent.objects.get(
            table_name="system_configs",
            row_id=str(own_versions(key, enterprise)[1].pk),
            operation="INSERT",
        )
    assert event.reason.startswith("API key “test” (lhq_")
    # And it can be set again, as the first time.
    assert put(api, key, 7).status_code == 201
    assert api.get(url(key)).json()["override"]["version"] == 3


def test_delete__nothing_to_clear__is_404(api, enterprise):
    key = declare(default_value=1)
    problem(api.delete(url(key, "?version=0")), 404, "not_found")
    assert own_versions(key, enterprise) == []


def test_stale_version__of_put_and_delete__is_409_naming_it_and_writes_nothing(api, enterprise):
    key = declare(default_value=1)
    put(api, key, 5)
    put(api, key, 6, 1)
    for stale in (0, 1, 3, 2**31 - 1):
        assert named(put(api, key, 7, stale), 409, "stale_version") == {"version"}
        response = api.delete(url(key, f"?version={stale}"))
        assert named(response, 409, "stale_version") == {"version"}
    told = [(v.version, v.value, v.status) for v in own_versions(key, enterprise)]
    assert told == [(1, 5, "superseded"), (2, 6, "active")]


def test_put__operators_value_meanwhile__is_409_for_the_tenant(api, enterprise):
    key = declare(default_value=1)
    read = api.get(url(key)).json()["override"]["version"]
    publish((key, 9, enterprise))
    assert named(put(api, key, 5, read), 409, "stale_version") == {"version"}
    assert api.get(url(key)).json()["value"] == 9


def test_not_overridable__put_and_delete__are_403_and_write_nothing(api, enterprise):
    key = declare(default_value=1, tenant_overridable=False)
    problem(put(api, key, 5), 403, "not_overridable")
    problem(api.delete(url(key, "?version=1")), 403, "not_overridable")
    assert own_versions(key, enterprise) == []


def test_scope__reading_key__writes_nothing(enterprise):
    client = factories.make_client(enterprise, [Scope.CONFIGS_READ])
    key = declare(default_value=1)
    assert client.get(url(key)).status_code == 200
    problem(put(client, key, 5), 403, "scope_missing")
    problem(client.delete(url(key, "?version=1")), 403, "scope_missing")
    assert own_versions(key, enterprise) == []


def test_scope__writing_key__reads_nothing(enterprise):
    client = factories.make_client(enterprise, [Scope.CONFIGS_WRITE])
    key = declare(default_value=1)
    for path in (LIST, url(key), url(key, "/explain")):
        problem(client.get(path), 403, "scope_missing")
    assert put(client, key, 5).status_code == 201


# --- bad input


@pytest.fixture(scope="module")
def tenant() -> Enterprise:
    return factories.make_enterprise()


@pytest.fixture(scope="module")
def client(tenant: Enterprise) -> Client:
    return factories.make_client(tenant)


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """A key of each type, by type; the number is an integer from 0 to 10."""
    schemas = {"number": {"type": "integer", "minimum": 0, "maximum": 10}}
    return {
        value_type: declare(value_type, schema=schemas.get(value_type, {})).key
        for value_type in ("number", "string", "boolean", "json", "array")
    }


def assert_nothing_written(tenant: Enterprise) -> None:
    with operator_scope():
        assert not SystemConfig.objects.filter(enterprise=tenant).exists()


DEEP = 100_000
BAD_VALUES: list[tuple[str, str]] = [
    ("number", '"5"'),
    ("number", "true"),
    ("number", "null"),
    ("number", "[5]"),
    ("number", "11"),
    ("number", "-1"),
    ("number", "0.5"),
    ("number", "NaN"),
    ("number", "Infinity"),
    ("number", "-Infinity"),
    ("number", "1e400"),
    ("number", "-1e400"),
    ("number", str(2**53 + 1)),
    ("number", "9" * 400),
    ("number", "-" + "9" * 5000),
    ("json", f'{{"a": {2**53 + 1}}}'),
    ("array", "[NaN]"),
    ("string", "5"),
    ("string", '"\\ud800"'),
    ("string", '"a\\udc00b"'),
    ("string", '"\\u0000"'),
    ("string", '"' + "x" * 300_000 + '"'),
    ("string", '"' + "é" * 140_000 + '"'),
    ("string", '"raw\nline"'),
    ("boolean", "0"),
    ("boolean", '"true"'),
    ("json", "[]"),
    ("json", '"{}"'),
    ("json", '{"a": 1, "a": 2}'),
    ("json", '{"a": {"b": [{"c": 1, "c": 1}]}}'),
    ("json", '{"\\ud800": 1}'),
    ("json", '{"a": ' * 40 + "1" + "}" * 40),
    ("json", '{"a":' * DEEP + "1" + "}" * DEEP),
    ("array", "[" * DEEP + "]" * DEEP),
    ("array", "[" * DEEP),
    ("array", "[1,]"),
    ("array", "{}"),
    ("array", "nul"),
]


@pytest.mark.parametrize(
    ("value_type", "text"), BAD_VALUES, ids=[f"{t}-{v[:20]!r}" for t, v in BAD_VALUES]
)
def test_put__value_that_cannot_be__is_named_and_not_written(
    client, tenant, keys, value_type, text
):
    response = put_raw(client, keys[value_type], f'{{"value": {text}, "version": 0}}')
    assert named(response) == {"value"}
    assert len(response.content) < 2000
    assert_nothing_written(tenant)
    # Whichever comes first.
    response = put_raw(client, keys[value_type], f'{{"version": 0, "value": {text}}}')
    assert named(response) == {"value"}
    assert_nothing_written(tenant)


def test_put__values_that_can_be__are_the_mirror_of_these(keys):
    # But for its one fault, each request above would be served.
    enterprise = factories.make_enterprise()
    good = factories.make_client(enterprise)
    for value_type, text in [
        ("number", "10"),
        ("number", "10.0"),
        ("string", '"\\ud83d\\udeeb"'),
        ("string", '"' + "x" * 262_000 + '"'),
        ("json", '{"a": ' * 31 + "1" + "}" * 31),
        ("array", "[1]"),
        ("boolean", "false"),
    ]:
        before = good.get(url(keys[value_type])).json()["override"]["version"]
        body = f' {{ "value" : {text} ,\n"version":{before} }} '
        response = put_raw(good, keys[value_type], body)
        assert response.status_code in {200, 201}, (text[:50], response.content[:500])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"value": 5}, {"version"}),
        ({"version": 0}, {"value"}),
        ({}, {"value", "version"}),
        ({"value": 5, "version": 0, "colour": 1}, {"colour"}),
        ({"value": 5, "version": 0, "\ud800": 1}, {"\ufffd"}),
        ({"value": 5, "version": "0"}, {"version"}),
        ({"value": 5, "version": None}, {"version"}),
        ({"value": 5, "version": True}, {"version"}),
        ({"value": 5, "version": 0.0}, {"version"}),
        ({"value": 5, "version": -1}, {"version"}),
        ({"value": 5, "version": 2**31}, {"version"}),
        ({"value": 5, "version": 10**300}, {"version"}),
        ({"value": 5, "version": [0]}, {"version"}),
    ],
)
def test_put__members__missing_unknown_or_odd__are_named(client, tenant, keys, body, fields):
    assert named(put_raw(client, keys["number"], json.dumps(body))) == fields
    assert_nothing_written(tenant)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("", "value"),
        (" ", "body"),
        ("{", "body"),
        ("}", "body"),
        ("[]", "body"),
        ("null", "body"),
        ('"value"', "body"),
        ("\ufeff{}", "body"),
        (b"\xff\xfe", "body"),
        ('{"value": "caf\u00e9"}'.encode("latin-1"), "body"),
        ('{"value": 5, "version": 0', "body"),
        ('{"value": 5 "version": 0}', "body"),
        ('{"value": 5, "version": 0,}', "body"),
        ('{"value": 5, "version": 0} {}', "body"),
        ('{"value": 5, "version": 0} x', "body"),
        ('{value: 5, "version": 0}', "body"),
        ('{1: 5, "version": 0}', "body"),
        ('{"value" 5, "version": 0}', "body"),
        ('{"value": 5, "version": 0, "value": 6}', "value"),
        ('{"version": 0, "value": 5, "version": 1}', "version"),
        ('{"value": 5, "version": NaN}', "version"),
        ('{"value": 5, "version": ' + "[" * DEEP, "version"),
        ("[" * DEEP, "body"),
        ("{" + '"a":{' * DEEP, "a"),
        ('{"value": "' + "x" * 1_048_576 + '", "version": 0}', "body"),
    ],
)
def test_put__body_that_is_no_object__is_named_and_not_written(client, tenant, keys, body, field):
    assert field in named(put_raw(client, keys["number"], body))
    assert_nothing_written(tenant)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data"])
def test_put__body_of_another_type__is_415(client, tenant, keys, content_type):
    body = '{"value": 5, "version": 0}'
    response = client.put(url(keys["number"]), body, content_type=content_type)
    problem(response, 415, "unsupported_media_type")
    assert_nothing_written(tenant)


@pytest.mark.parametrize(
    "query",
    ["", "?version=", "?version=x", "?version=-1", "?version=1.0", "?version=%00", "?version=%ff",
     "?version=1&version=1", "?version=99999999999", "?version=2147483648", "?version=١"],
)  # fmt: skip
def test_delete__version_missing_or_odd__is_named(client, tenant, keys, query):
    assert named(client.delete(url(keys["number"], query))) == {"version"}
    assert_nothing_written(tenant)


def test_delete__unknown_parameter__is_named(client, keys):
    assert named(client.delete(url(keys["number"], "?version=1&force=1"))) == {"force"}


@pytest.mark.parametrize("path", ["", "/explain"])
def test_get__unknown_parameter__is_named(client, keys, path):
    assert named(client.get(url(keys["number"], f"{path}?tenant=x"))) == {"tenant"}


@pytest.mark.parametrize(
    "text", ["{}", ' {"a" : [1, {"b": null}], "c": "}"} ', '{"": {}, "\\u00e9": -1.5e3}']
)
def test_members__of_plain_json__are_what_the_library_reads(text):
    assert parse_members(text) == json.loads(text)


def test_members__refused__never_repeat_the_value():
    with pytest.raises(InvalidInput) as refusal:
        parse_members('{"value": "hush-hush" "version": 0}')
    assert "hush" not in str(refusal.value)


# --- the events, which this process does not serve


def test_events__without_an_address__is_404_that_says_who_has_them(api, settings):
    settings.STREAM_URL = ""
    body = problem(api.get("/api/v1/events"), 404, "not_routed")
    assert "stream process" in body["detail"]


def test_events__with_an_address__is_307_there(api, settings):
    settings.STREAM_URL = "http://127.0.0.1:8100"
    response = api.get("/api/v1/events?last_event_id=configs%3D1")
    assert response.status_code == 307
    expected = "http://127.0.0.1:8100/api/v1/events?last_event_id=configs%3D1"
    assert response.headers["Location"] == expected


def test_override_config__in_a_test__is_what_the_api_tells(api):
    with override_config({"layover.min_duration": 7}):
        assert item(api, "layover.min_duration")["value"] == 7
