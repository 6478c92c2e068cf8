"""Flags over OpenFeature's protocol: to its own provider, to callers who err, to nobody else."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
import requests
from django.conf import settings as live_settings
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from openfeature import api as openfeature
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from apps.flags.api.ofrep import views
from apps.flags.api.ofrep.views import LIMIT_BYTES
from apps.flags.context import LONGEST_TEXT
from apps.flags.runtime import flags
from apps.tenants.models import ApiKey, Enterprise, Scope
from apps.tenants.operations import suspend_enterprise
from layoverhq.errors import DomainError
from layoverhq.stack import Stack
from layoverhq.strict_json import MAXIMUM_DEPTH
from layoverhq.tenancy import operator_scope
from tests.configs.test_stream import MAKE_TENANT, Server, serving
from tests.flags.rows import catch_up, change, plant_flag, plant_segment
from tests.kernel.test_snapshot import until
from tests.tenants import factories

BULK = "/ofrep/v1/evaluate/flags"
SIZES = [{"key": "small", "value": "S"}, {"key": "large", "value": "L"}]


def ask(client: Client, key: str | None = None, context: Any = None, **options: Any) -> Any:
    """Return the response for one flag, or for all of them."""
    path = BULK if key is None else f"{BULK}/{quote(key, safe='')}"
    body = {"context": {} if context is None else context}
    return client.post(path, body, content_type="application/json", **options)


def told(client: Client, key: str, context: Any = None) -> dict[str, Any]:
    """Return what a tenant is told of one flag, which bulk tells as well."""
    response = ask(client, key, context)
    assert response.status_code == 200, response.content
    assert response.headers["Content-Type"] == "application/json"
    one: dict[str, Any] = response.json()
    assert one == {each["key"]: each for each in ask(client, None, context).json()["flags"]}[key]
    return one


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """Return the refusal, a document of the protocol's."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert body.keys() - {"key"} == {"errorCode", "errorDetails"}
    assert body["errorCode"] == code, body
    assert body["errorDetails"]
    return body


# --- what a flag is


def test_switch__on_for_everybody__is_static_with_value_variant_and_version(api):
    flag = plant_flag(version=7)
    assert told(api, flag) == {
        "key": flag,
        "value": True,
        "reason": "STATIC",
        "variant": "on",
        "metadata": {"version": 7},
    }


@pytest.mark.parametrize("how", [{"enabled": False}, {"is_killed": True}])
def test_flag__disabled_or_killed__is_its_off_variant_and_not_the_callers_default(api, how):
    flag = plant_flag(**how)
    answer = told(api, flag)
    assert (answer["value"], answer["variant"], answer["reason"]) == (False, "off", "DISABLED")


def test_rule__that_decides__is_in_the_metadata(api):
    flag = plant_flag(
        rollout_percentage=0,
        rules=[{"id": "germans", "conditions": {"country": "DE"}, "rollout": 10_000,
                "variant": "on"}],
    )  # fmt: skip
    answer = told(api, flag, {"country": "DE"})
    assert (answer["value"], answer["reason"]) == (True, "TARGETING_MATCH")
    assert answer["metadata"]["rule"] == "germans"
    otherwise = told(api, flag, {"country": "FR"})
    assert (otherwise["value"], otherwise["reason"]) == (False, "DEFAULT")
    assert "rule" not in otherwise["metadata"]


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        ("string", "Zürich ✈"), ("string", ""), ("number", 3), ("number", 2.5), ("number", 0),
        ("json", {"a": [1, None, {"b": "c"}]}), ("json", [1, [2]]), ("json", {}),
        ("boolean", False),
    ],
)  # fmt: skip
def test_value__of_each_type__is_told_as_it_is(api, value_type, value):
    flag = plant_flag(value_type=value_type, variants=[{"key": "on", "value": value}])
    answer = told(api, flag)
    assert answer["value"] == value
    assert type(answer["value"]) is type(value)


def test_value__that_there_is_none_of__is_left_to_the_callers_code(api):
    flag = plant_flag(value_type="json", variants=[{"key": "on", "value": None}])
    answer = told(api, flag)
    assert "value" not in answer
    assert (answer["variant"], answer["reason"]) == ("on", "STATIC")


def test_change__of_a_flag__is_told_within_a_moment_with_its_version(api):
    flag = plant_flag(version=1)
    assert told(api, flag)["value"] is True
    version = change(flag, enabled=False, version=2)
    answer = told(api, flag)
    assert (answer["value"], answer["metadata"]["version"]) == (False, 2)
    for response in (ask(api, flag), ask(api)):
        assert int(response.headers["X-Flags-Version"]) >= version


def test_segment__changed__changes_the_answers(api):
    segment = plant_segment(members=["ann"])
    flag = plant_flag(conditions={"user": {"$inGroup": segment}})
    assert told(api, flag, {"targetingKey": "ann"})["value"] is True
    assert told(api, flag, {"targetingKey": "bob"})["value"] is False


# --- whom it is asked for


def test_targeting_key__is_the_user__unless_the_context_has_one(api):
    flag = plant_flag(user_overrides={"ann": False})
    assert told(api, flag, {"targetingKey": "ann"})["metadata"]["rule"] == "user_overrides"
    assert told(api, flag, {"targetingKey": "bob", "user": "ann"})["value"] is False
    assert told(api, flag, {"targetingKey": "ann", "user": "bob"})["value"] is True
    assert told(api, flag, {"targetingKey": "ann", "user": None})["value"] is False
    # A condition may ask for it by its own name.
    by_name = plant_flag(conditions={"targetingKey": "ann"})
    assert told(api, by_name, {"targetingKey": "ann", "user": "bob"})["value"] is True


def test_targeting_key__absent__is_nobody_and_no_fault(api, enterprise):
    half = plant_flag(rollout_percentage=50)
    assert told(api, half)["reason"] == "DEFAULT"
    ours = plant_flag(rollout_percentage=0, tenant_overrides={str(enterprise.pk): True})
    assert told(api, ours)["value"] is True


def test_enterprise_and_plan__are_the_keys__whatever_is_sent(api, enterprise, other_enterprise):
    flag = plant_flag(
        tenant_overrides={str(other_enterprise.pk): True},
        conditions={"enterprise": str(enterprise.pk), "plan": enterprise.subscription_plan},
    )
    for context in (
        {},
        {"enterprise": str(other_enterprise.pk), "plan": "enterprise"},
        {"enterprise": None, "plan": None},
        {"enterprise": [str(other_enterprise.pk)]},
    ):
        answer = told(api, flag, context)
        assert (answer["value"], answer["reason"]) == (True, "TARGETING_MATCH")
        assert "rule" not in answer["metadata"]


def test_override__of_one_tenant__is_told_to_that_one_alone(enterprise, other_enterprise):
    mine, others = factories.make_client(enterprise), factories.make_client(other_enterprise)
    flag = plant_flag(
        value_type="string",
        variants=[{"key": "on", "value": "for all"}, {"key": "own", "value": "ours alone"}],
        tenant_overrides={str(enterprise.pk): "own"},
    )
    assert told(mine, flag)["value"] == "ours alone"
    for response in (ask(others, flag), ask(others), ask(others, None, {"enterprise": "x"})):
        text = response.content.decode()
        assert "ours alone" not in text
        assert str(enterprise.pk) not in text
    assert told(others, flag)["value"] == "for all"
    # What one was told is not kept for the other.
    assert told(mine, flag)["value"] == "ours alone"


@given(users=st.lists(st.uuids().map(str), min_size=1, max_size=5), country=st.sampled_from("ab"))
def test_answer__to_any_context__is_that_of_the_code(users, country):
    flag = ANY_FLAG.setdefault(
        "name",
        plant_flag(
            value_type="string",
            variants=[*SIZES, {"key": "off", "value": "none"}],
            on_variant="small",
            allocations={"small": [[0, 5000]], "large": [[5000, 10_000]]},
            rules=[{"id": "a", "conditions": {"country": "a"}, "rollout": 3000,
                    "variant": "large"}],
        ),
    )  # fmt: skip
    enterprise = ANY_FLAG.setdefault("enterprise", factories.make_enterprise())
    client = ANY_FLAG.setdefault("client", factories.make_client(enterprise))
    for user in users:
        context = {"user": user, "country": country, "enterprise": str(enterprise.pk)}
        answer = flags.evaluate(flag, context)
        assert told(client, flag, {"targetingKey": user, "country": country}) == {
            "key": flag,
            "value": answer.value,
            "variant": answer.variant,
            "reason": answer.reason,
            "metadata": {"version": 1, **({"rule": answer.rule} if answer.rule else {})},
        }


ANY_FLAG: dict[str, Any] = {}


# --- which flags there are


@pytest.mark.parametrize("how", [{"tenant_visible": False}, {"is_archived": True}])
def test_flag__that_tenants_do_not_see__is_not_found_as_one_that_is_none(api, how):
    hidden = plant_flag(**how)
    body = refused(ask(api, hidden), 404, "FLAG_NOT_FOUND")
    assert body == {**refused(ask(api, "nowhere"), 404, "FLAG_NOT_FOUND"), "key": hidden}
    assert hidden not in ask(api).content.decode()


def test_flag__taken_out_of_sight_and_back__is_gone_and_there(api):
    flag = plant_flag()
    change(flag, tenant_visible=False)
    refused(ask(api, flag), 404, "FLAG_NOT_FOUND")
    change(flag, tenant_visible=True)
    assert told(api, flag)["value"] is True


def test_hidden_prerequisite__decides__and_is_not_told(api):
    hidden = plant_flag(tenant_visible=False, is_killed=True)
    flag = plant_flag(prerequisites=[{"flag": hidden, "variants": ["on"]}])
    answer = told(api, flag)
    assert (answer["value"], answer["metadata"]["rule"]) == (False, "prerequisites")
    assert hidden not in ask(api).content.decode()


def test_bulk__all_visible_flags__by_name(api):
    planted = {plant_flag() for _ in range(3)}
    names = [each["key"] for each in ask(api).json()["flags"]]
    assert names == sorted(names)
    assert planted | {"real_time_weather", "enhanced_search"} <= set(names)


@pytest.mark.parametrize(
    "key",
    ["", " ", "a/b", "/", "..", "a\x00b", "a\nb", "é", "✈", "%", "x" * 5000, "' or 1=1 --", "{}",
     "real_time_weather/", "REAL_TIME_WEATHER", "flags", "<script>", "?", "#", "null"],
)  # fmt: skip
def test_key__that_is_no_flags__is_not_found_and_named(api, key):
    assert refused(ask(api, key), 404, "FLAG_NOT_FOUND")["key"] == key


@pytest.mark.parametrize("path", ["%ff", "%ed%a0%80", "%c3%28"])
def test_key__that_is_no_text__is_not_found(api, path):
    response = api.post(f"{BULK}/{path}", {"context": {}}, content_type="application/json")
    refused(response, 404, "FLAG_NOT_FOUND")


# --- what cannot be used


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def each(client: Client, body: str | bytes, **options: Any) -> Iterator[Any]:
    """Send a body to both addresses."""
    options = {"content_type": "application/json", **options}
    for path in (BULK, f"{BULK}/real_time_weather"):
        response = client.post(path, body, **options)
        if response.status_code != 200:
            assert ("key" in response.json()) is (path != BULK)
        yield response


@pytest.mark.parametrize(
    "body",
    [
        "{", "[]", "null", "1", '"x"', "{]", b"\xff", b"\x00", "x" * 100, '{"context": {}} {}',
        '{"context": NaN}', '{"context": {"a": NaN}}', '{"context": {"a": [-Infinity]}}',
        '{"context": {"a": 1, "a": 2}}', '{"context": {}, "context": {}}', "{'context': {}}",
        '{"context": {"a": ' + "9" * 5000 + "}}", '{"context": ' + "[" * 100_000, " ", "\ufeff{}",
        '{"context": ' + nested(20_000) + "}",
    ],
)  # fmt: skip
def test_body__that_is_no_json__is_a_parse_error(api, body):
    for response in each(api, body):
        refused(response, 400, "PARSE_ERROR")


@pytest.mark.parametrize(
    "body",
    [
        "", "{}", '{"Context": {}}', '{"context": null}', '{"context": []}', '{"context": "x"}',
        '{"context": 1}', '{"context": true}', '{"context": {"targetingKey": 7}}',
        '{"context": {"targetingKey": ["ann"]}}', '{"context": {"targetingKey": {"a": 1}}}',
        '{"context": {"targetingKey": true}}', '{"context": {"a": "\\u0000"}}',
        '{"context": {"\\u0000": 1}}', '{"context": {"a": ["\\ud800"]}}',
        '{"context": {"a": 1e999}}',
        '{"context": {"user": "\\udfff"}}', '{"context": ' + nested(MAXIMUM_DEPTH + 1) + "}",
        '{"context": {"a": ' + "[" * MAXIMUM_DEPTH + "]" * MAXIMUM_DEPTH + "}}",
        json.dumps({"context": {"targetingKey": "x" * (LONGEST_TEXT + 1)}}),
        json.dumps({"context": {"x" * (LONGEST_TEXT + 1): 1}}),
    ],
)  # fmt: skip
def test_context__that_cannot_be_used__is_an_invalid_context(api, body):
    for response in each(api, body):
        assert refused(response, 400, "INVALID_CONTEXT")["errorDetails"].startswith("context")


@pytest.mark.parametrize("key", ["null", '""'])
def test_targeting_key__that_is_none__is_missing(api, key):
    for response in each(api, f'{{"context": {{"targetingKey": {key}}}}}'):
        refused(response, 400, "TARGETING_KEY_MISSING")


@pytest.mark.parametrize(
    "context",
    [
        nested(MAXIMUM_DEPTH), '{"a": ["\\ud83d\\udeeb", -0.0, 1e-300, 12345678901234567890]}',
        '{"user": []}', '{"user": {}}', '{"user": 7, "targetingKey": "x"}', '{"$in": [1]}',
        '{"": {"": null}}', '{"a.b": 1, "a": {"b": 2}}', '{"__proto__": {}}',
        json.dumps({"targetingKey": "x" * LONGEST_TEXT}),
    ],
)  # fmt: skip
def test_context__that_is_odd__is_the_mirror_of_these(api, context):
    for response in each(api, f'{{"later": [1], "context": {context}}}'):
        assert response.status_code == 200, response.content


def test_context__larger_than_it_may_be__is_413_at_the_byte(api):
    start, end = '{"context": {"a": "', '"}}'
    texts = ["x" * 9_000] * (LIMIT_BYTES // 9_003)
    whole = json.dumps({"context": {"a": texts}})
    fits = whole[:-2] + " " * (LIMIT_BYTES - len(whole)) + "}}"
    assert len(fits) == LIMIT_BYTES
    for response in each(api, fits):
        assert response.status_code == 200, response.content
    for body in (fits + " ", start + "x" * 1_000_000 + end, start + "x" * 6_000_000 + end):
        for response in each(api, body):
            assert f"{LIMIT_BYTES:,}" in refused(response, 413, "INVALID_CONTEXT")["errorDetails"]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 30])
def test_length__that_is_none__is_413(api, length):
    for response in each(api, "{}", CONTENT_LENGTH=length):
        refused(response, 413, "INVALID_CONTEXT")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "x"]
)
def test_body__of_another_type__is_415(api, content_type):
    for response in each(api, '{"context": {}}', content_type=content_type):
        refused(response, 415, "PARSE_ERROR")


def test_body__compressed__is_415_and_says_so(api):
    compressed = gzip.compress(b'{"context": {}}')
    for body in (compressed, '{"context": {}}'):
        for response in each(api, body, headers={"Content-Encoding": "gzip"}):
            refused(response, 415, "PARSE_ERROR")
            assert "gzip" in response.json()["errorDetails"]
    for response in each(api, '{"context": {}}', headers={"Content-Encoding": "identity"}):
        assert response.status_code in (200, 404)


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options", "head", "trace"])
def test_method__other_than_post__is_405(api, method):
    for path in (BULK, f"{BULK}/real_time_weather", f"{BULK}/nowhere"):
        response = getattr(api, method)(path)
        assert response.status_code == 405
        assert response.headers["Allow"] == "POST"
        if method != "head":
            refused(response, 405, "GENERAL")


@pytest.mark.parametrize(
    "query", ["?" + "&".join(f"a{n}=1" for n in range(2000)), "?%ff=%00", "?flagConfigEtag", "?=&="]
)
def test_query__odd__is_no_fault(api, query):
    for path in (BULK, f"{BULK}/real_time_weather"):
        body = {"context": {}}
        assert api.post(path + query, body, content_type="application/json").status_code == 200


# --- who may


def test_key__in_a_header_of_its_own__is_as_good(enterprise):
    issued = factories.make_key(enterprise)
    factories.await_key(issued.token)
    client = Client(headers={"X-API-Key": issued.token})
    assert told(client, "real_time_weather")["key"] == "real_time_weather"

    def used() -> bool:
        with operator_scope():
            return ApiKey.objects.get(pk=issued.key.pk).last_used_at is not None

    until(used)
    # Where both are sent, the usual one counts.
    both = Client(headers={"X-API-Key": issued.token, "Authorization": "Bearer wrong"})
    refused(ask(both), 401, "GENERAL")


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"X-API-Key": "é"}, {"X-API-Key": "x" * 5000},
     {"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}],
)  # fmt: skip
def test_key__that_is_none__is_401_before_anything_is_read(headers):
    for response in each(Client(headers=headers), "{"):
        refused(response, 401, "GENERAL")
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="LayoverHQ"'


def test_key__without_the_scope__is_403_and_says_which(enterprise):
    client = factories.make_client(enterprise, sorted(set(Scope) - {Scope.FLAGS_READ}))
    for response in each(client, "{"):
        assert Scope.FLAGS_READ in refused(response, 403, "GENERAL")["errorDetails"]
    assert told(factories.make_client(enterprise, (Scope.FLAGS_READ,)), "real_time_weather")


def test_enterprise__suspended__is_403(enterprise):
    client = factories.make_client(enterprise)
    with operator_scope():
        suspend_enterprise(enterprise=enterprise)
    until(lambda: ask(client).status_code == 403)
    refused(ask(client), 403, "GENERAL")


def test_answers__all__are_the_callers_own(api):
    for response in (ask(api, "real_time_weather"), ask(api, "nowhere")):
        assert response.headers["Cache-Control"] == "private, no-store"


# --- entity tags


def test_bulk__with_its_tag__is_304_until_an_answer_changes(api):
    flag, other, hidden = plant_flag(), plant_flag(), plant_flag(tenant_visible=False)
    first = ask(api)
    tag = first.headers["ETag"]
    for held in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = ask(api, headers={"If-None-Match": held})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
        assert "X-Flags-Version" in again.headers
    # What this caller is answered stays: a flag that it does not see, a rule that is not for it.
    change(hidden, rollout_percentage=5)
    change(other, user_overrides={str(uuid4()): False})
    assert ask(api, headers={"If-None-Match": tag}).status_code == 304
    change(flag, enabled=False)
    changed = ask(api, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_bulk__tag_of_another_context__is_no_304_where_the_answers_differ(api):
    plant_flag(conditions={"country": "DE"})
    tag = ask(api, None, {"country": "DE"}).headers["ETag"]
    assert ask(api, None, {"country": "FR"}, headers={"If-None-Match": tag}).status_code == 200
    assert (
        ask(api, None, {"country": "DE", "b": 1}, headers={"If-None-Match": tag}).status_code == 304
    )


@pytest.mark.parametrize("name", ["flagConfigEtag", "flagConfigLastModified"])
def test_bulk__after_a_told_change__is_never_304(api, name):
    tag = ask(api).headers["ETag"]
    response = api.post(
        f"{BULK}?{name}=5",
        {"context": {}},
        content_type="application/json",
        headers={"If-None-Match": tag},
    )
    assert (response.status_code, response.headers["ETag"]) == (200, tag)


# --- what goes wrong with us


def test_fault__of_ours__is_500_that_does_not_show_it(api, monkeypatch, caplog):
    def fail(*_: Any) -> None:
        raise KeyError("inside information")

    monkeypatch.setattr(views, "evaluation_context", fail)
    for response in each(api, '{"context": {}}'):
        assert "inside" not in str(refused(response, 500, "GENERAL"))
    assert "inside information" in caplog.text


def test_database__away_before_the_flags_were_read__is_503(api, monkeypatch):
    def fail() -> None:
        raise psycopg.OperationalError("connection to 10.0.0.7 refused")

    monkeypatch.setattr(flags.directory, "get", fail)
    for response in each(api, '{"context": {}}'):
        assert "10.0.0.7" not in str(refused(response, 503, "GENERAL"))
        assert int(response.headers["Retry-After"]) > 0


def test_limit__reached__is_429_that_says_when_to_come_again(api, monkeypatch):
    class Limited(DomainError):
        """Too many."""

        code = "rate_limited"
        status = 429
        headers = {"Retry-After": "7"}  # noqa: RUF012

    def fail(*_: Any) -> None:
        raise Limited

    monkeypatch.setattr(views, "evaluation_context", fail)
    for response in each(api, '{"context": {}}'):
        refused(response, 429, "GENERAL")
        assert response.headers["Retry-After"] == "7"


# --- a real client


class Web(Server):
    """A running `manage.py serve`."""

    command = "serve"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def web(_database: None) -> Iterator[Web]:
    with serving({"WEB_WORKERS": "1"}, Web) as running:
        assert isinstance(running, Web)
        yield running
        assert "Traceback" not in running.log.read_text(), running.log.read_text()


def sdk(web: Web, headers: dict[str, str]) -> Iterator[OpenFeatureClient]:
    provider = OFREPProvider(web.url, headers_factory=lambda: headers)
    domain = factories.unique("domain")
    openfeature.set_provider(provider, domain)
    yield openfeature.get_client(domain)
    provider.session.close()


@pytest.fixture(params=["Authorization", "X-API-Key"])
def client(
    request: pytest.FixtureRequest, web: Web, enterprise: Enterprise
) -> Iterator[OpenFeatureClient]:
    """OpenFeature's SDK with its OFREP provider, and a key that the server knows."""
    token = factories.make_key(enterprise, (Scope.FLAGS_READ,)).token
    value = f"Bearer {token}" if request.param == "Authorization" else token
    headers = {request.param: value}
    until(
        lambda: requests.post(
            web.url + BULK, json={"context": {}}, headers=headers, timeout=10
        ).status_code == 200
    )  # fmt: skip
    yield from sdk(web, headers)


def served(web: Web, client: OpenFeatureClient, flag: str) -> None:
    """Wait until the server knows a flag: a notification away."""
    until(lambda: client.get_object_details(flag, {}).error_code != ErrorCode.FLAG_NOT_FOUND)


def test_sdk__each_type__gets_value_variant_reason_and_metadata(web, client, enterprise):
    switch = plant_flag(tenant_overrides={str(enterprise.pk): False})
    text = plant_flag(value_type="string", variants=SIZES, on_variant="large", off_variant="small")
    whole = plant_flag(value_type="number", variants=[{"key": "on", "value": 3}])
    fraction = plant_flag(value_type="number", variants=[{"key": "on", "value": 2.5}])
    document = plant_flag(value_type="json", variants=[{"key": "on", "value": {"a": [1, None]}}])
    served(web, client, document)
    on = client.get_boolean_details(switch, True, EvaluationContext("ann"))
    assert (on.value, on.variant, on.reason) == (False, "off", Reason.TARGETING_MATCH)
    assert on.flag_metadata == {"version": 1, "rule": "tenant_overrides"}
    assert on.error_code is None
    assert client.get_string_value(text, "M") == "L"
    assert client.get_integer_value(whole, 0) == 3
    assert client.get_float_value(fraction, 0.0) == 2.5
    assert client.get_object_value(document, {}) == {"a": [1, None]}


def test_sdk__context__reaches_the_conditions(web, client):
    flag = plant_flag(conditions={"country": "DE", "device.os": "ios", "user": "ann"})
    served(web, client, flag)
    context = EvaluationContext("ann", {"country": "DE", "device": {"os": "ios"}})
    assert client.get_boolean_value(flag, False, context)
    assert not client.get_boolean_value(flag, True, EvaluationContext("bob", context.attributes))


def test_sdk__value_that_there_is_none_of__is_the_codes_default_and_no_error(web, client):
    flag = plant_flag(value_type="json", variants=[{"key": "on", "value": None}])
    served(web, client, flag)
    details = client.get_object_details(flag, {"of": "code"})
    assert (details.value, details.reason, details.error_code) == ({"of": "code"}, "STATIC", None)


def test_sdk__flag_that_is_none__is_the_default_with_flag_not_found(client):
    details = client.get_boolean_details("nowhere", True)
    assert (details.value, details.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    assert details.error_message == "There is no such flag."


def test_sdk__context_that_cannot_be_used__is_the_default_with_its_code(client):
    for context, code in (
        (EvaluationContext("ann", {"a": "\x00"}), ErrorCode.INVALID_CONTEXT),
        (EvaluationContext(None, {"targetingKey": ""}), ErrorCode.TARGETING_KEY_MISSING),
        (EvaluationContext("ann", {"a": "x" * 300_000}), ErrorCode.GENERAL),
    ):
        details = client.get_boolean_details("real_time_weather", True, context)
        assert (details.value, details.error_code) == (True, code)
    # What requests itself writes and JSON does not know never leaves the client.
    details = client.get_boolean_details(
        "real_time_weather", True, EvaluationContext("ann", {"a": float("nan")})
    )
    assert (details.value, details.error_code) == (True, ErrorCode.GENERAL)


def test_sdk__other_type_than_the_flags__is_the_default_with_type_mismatch(client):
    details = client.get_string_details("enhanced_search", "x")
    assert (details.value, details.error_code) == ("x", ErrorCode.TYPE_MISMATCH)


def test_sdk__key_refused__is_the_default(web):
    for unauthorised in sdk(web, {"Authorization": "Bearer wrong"}):
        details = unauthorised.get_boolean_details("enhanced_search", False)
        assert (details.value, details.error_message) == (False, "unauthorized")


def test_sdk__flag_killed__is_off_the_next_time(web, client):
    flag = plant_flag()
    served(web, client, flag)
    assert client.get_boolean_value(flag, False)
    change(flag, is_killed=True)
    # Off by the switch, whatever default the code has.
    until(lambda: not client.get_boolean_value(flag, True))


def test_served__chunked_or_large_body__ends_as_a_refusal(web, enterprise):
    token = factories.make_key(enterprise).token
    factories.await_key(token)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        yield b'{"context": {}}'

    url = web.url + BULK
    until(lambda: requests.post(url, "{}", headers=headers, timeout=10).status_code == 400)
    chunked = requests.post(url, chunks(), headers=headers, timeout=10)
    assert chunked.status_code == 400
    assert chunked.json()["errorCode"] == "INVALID_CONTEXT"
    large = requests.post(url, b"x" * 1_100_000, headers=headers, timeout=10)
    assert large.status_code == 413


@pytest.mark.stack
def test_database__down__flags_are_answered_from_memory():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        stack = Stack(Path(folder) / "var", durable=False)
        try:
            environ = {**stack.start().environ(), "VAR_DIR": folder, "WEB_WORKERS": "1"}

            def manage(*arguments: str) -> str:
                return subprocess.run(
                    [sys.executable, "manage.py", *arguments],
                    cwd=live_settings.BASE_DIR,
                    env={**os.environ, **environ},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.strip()

            manage("release", "--verbosity=0")
            # The second is used for the first time when its use cannot be noted.
            tokens = manage("shell", "--verbosity=0", "-c", TWO_KEYS).split()
            with serving(environ, Web) as running:
                assert isinstance(running, Web)

                def ask_server(token: str, rest: str = "", **headers: str) -> requests.Response:
                    return requests.post(
                        running.url + BULK + rest,
                        json={"context": {"targetingKey": "ann"}},
                        headers={"Authorization": f"Bearer {token}", **headers},
                        timeout=20,
                    )

                before = ask_server(tokens[0])
                assert before.status_code == 200
                assert len(before.json()["flags"]) == 4
                stack.stop()
                for token in tokens:
                    after = ask_server(token)
                    assert (after.status_code, after.content) == (200, before.content)
                    one = ask_server(token, "/enhanced_search")
                    assert (one.status_code, one.json()["value"]) == (200, True)
                    held = ask_server(token, **{"If-None-Match": before.headers["ETag"]})
                    assert held.status_code == 304
                    assert ask_server(token, "/nowhere").status_code == 404
        finally:
            stack.reset()


TWO_KEYS = (
    MAKE_TENANT
    + """
    print(issue_api_key(enterprise=enterprise, name="k2", scopes=Scope.values).token)
"""
)


def test_listing__content_that_stands__is_written_once(api):
    flag = plant_flag()
    catch_up()
    listing = views.listing(flags.directory.get())
    assert views.listing(flags.directory.get()) is listing
    evaluation = flags.evaluate(flag, {})
    assert listing.text(flag, evaluation) is listing.text(flag, evaluation)
    change(flag, enabled=False)
    assert views.listing(flags.directory.get()) is not listing
