"""What goes wrong below evaluation ends in an answer, never in an exception."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
import structlog
from django.db import IntegrityError, transaction

from apps.flags.models import FeatureFlag
from apps.flags.runtime import flags
from layoverhq import snapshot
from layoverhq.tenancy import OPERATOR
from tests.flags.factories import await_version, flag_name, make_flag
from tests.kernel.test_snapshot import until
from tests.tenants.factories import make_client, make_enterprise

pytestmark = pytest.mark.usefixtures("operator")


RULE = {"id": "r", "description": "", "conditions": {}, "rollout": 10000}


def broken_flag(**fields: Any) -> FeatureFlag:
    """Write a row that no operation would."""
    name = flag_name()
    usual = {"enabled": True, "rollout_percentage": 100, "salt": name, "tenant_visible": True}
    return FeatureFlag.objects.create(name=name, **{**usual, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"rules": [{}]},
        {"rules": [5]},
        {"rules": [{"id": "r", "conditions": {}, "rollout": "much", "variant": "on"}]},
        {"rules": 5},
        {"rules": [{**RULE, "allocations": 7}]},
        {"rules": [{**RULE, "allocations": {"on": 7}}]},
        {"rules": [{**RULE, "allocations": {"on": [[0]]}}]},
        {"variants": [5]},
        {"variants": [{"key": 1, "value": True}]},
        {"allocations": []},
        {"allocations": {"on": 7}},
        {"allocations": {"on": [7]}},
        {"allocations": {"on": [[0]]}},
        {"allocations": {"on": [[0, "b"]]}},
        {"prerequisites": ["x"]},
        {"tenant_overrides": [1]},
        {"user_overrides": "x"},
        {"steps": [{"at": 1}]},
    ],
)
def test_row__that_code_could_not_read__is_refused_by_the_database(fields: dict[str, Any]):
    with pytest.raises(IntegrityError, match="feature_flags_"), transaction.atomic(using=OPERATOR):
        broken_flag(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"prerequisites": [{"flag": "x", "variants": [[]]}]},
        {"prerequisites": [{"flag": "x", "variants": 7}]},
    ],
)
def test_evaluate__row_that_makes_no_sense__answers_an_error_and_hurts_no_other_flag(
    fields: dict[str, Any],
):
    sound = make_flag()
    with structlog.testing.capture_logs() as logs:
        broken = broken_flag(**fields)
        after = make_flag()
        await_version(after)
        until(lambda: broken.name in flags.directory.get().flags)
    context = {"user": str(uuid4()), "enterprise": str(uuid4())}
    answer = flags.evaluate(broken.name, context)
    assert (answer.reason, answer.error_code, answer.enabled) == ("ERROR", "GENERAL", False)
    assert flags.enabled(sound.name, context)
    assert flags.enabled(after.name, context)
    assert ("flag_unusable", broken.name) in [(e["event"], e.get("flag")) for e in logs]
    broken.rules, broken.variants = (
        [],
        [{"key": "on", "value": True}, {"key": "off", "value": False}],
    )
    broken.allocations, broken.prerequisites = {}, []
    broken.tenant_overrides, broken.user_overrides = {}, {}
    broken.save()
    until(lambda: flags.enabled(broken.name, context))


def test_ofrep__row_that_makes_no_sense__is_an_error_of_its_own():
    broken, sound = (
        broken_flag(prerequisites=[{"flag": "x", "variants": 7}]),
        make_flag(tenant_visible=True),
    )
    await_version(sound)
    until(lambda: broken.name in flags.directory.get().flags)
    client = make_client(make_enterprise())
    body = {"context": {"targetingKey": "ann"}}
    single = client.post(
        f"/ofrep/v1/evaluate/flags/{broken.name}", body, content_type="application/json"
    )
    assert single.status_code == 400
    assert single.json()["errorCode"] == "GENERAL"
    bulk = client.post("/ofrep/v1/evaluate/flags", body, content_type="application/json").json()
    found = {flag["key"]: flag for flag in bulk["flags"]}
    assert found[broken.name]["errorCode"] == "GENERAL"
    assert found[sound.name]["value"] is True
    FeatureFlag.objects.filter(pk=broken.pk).update(prerequisites=[], is_archived=True)


def test_evaluate__nothing_held_and_database_away__answers_not_ready(
    monkeypatch: pytest.MonkeyPatch,
):
    flag = make_flag()

    def away() -> Any:
        raise psycopg.OperationalError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "connect", away)
        flags.directory.forget()
        answer = flags.evaluate(flag.name, {})
        assert (answer.reason, answer.error_code) == ("ERROR", "PROVIDER_NOT_READY")
        assert not flags.enabled(flag.name, {})
    until(lambda: flags.enabled(flag.name, {}))
