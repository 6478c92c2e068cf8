"""What tenants report: kept once, for themselves, and refused by the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from apps.flags import exposing, tracking
from apps.flags.experiments import Goal
from apps.flags.recording import recorder
from apps.flags.runtime import flags
from apps.flags.tracking import MAXIMUM_EVENTS
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from tests.flags.experimenting import (
    digest,
    exposures_of,
    make_weighed_flag,
    running_experiment,
)
from tests.flags.factories import await_version
from tests.isolation import roles
from tests.tenants import factories

PATH = "/api/v1/events/track"


def send(client: Any, *events: Any, **more: Any) -> Any:
    body = {"events": list(events), **more}
    return client.post(PATH, json.dumps(body), content_type="application/json")


def kept(enterprise_id: UUID) -> list[tuple[Any, ...]]:
    with roles.connect_as_superuser() as connection:
        return connection.execute(
            "select event, unit, value, occurred_at from tracked_events where enterprise_id = %s"
            " order by occurred_at, event",
            [enterprise_id],
        ).fetchall()


def refused(response: Any) -> dict[str, str]:
    """Return the codes of a refusal by field."""
    assert response.status_code == 400, response.content
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    return {error["field"]: error["code"] for error in response.json()["errors"]}


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def test_track__events__are_kept_for_the_caller(api, enterprise, other_enterprise):
    at = ago(hours=3)
    response = send(
        api,
        {"event": "purchase", "user": "ann", "value": 12.5, "occurred_at": at},
        {"type": "event", "event": "seen", "unit": 7.0},
    )
    assert response.status_code == 202
    assert response.json() == {"accepted": 2}
    bought, seen = kept(enterprise.id)
    assert bought == ("purchase", digest(enterprise.id, "ann"), 12.5, datetime.fromisoformat(at))
    # A number is the unit that a context's is: 7.0 is 7.
    assert seen[:3] == ("seen", digest(enterprise.id, "7"), None)
    assert datetime.now(UTC) - seen[3] < timedelta(minutes=1)
    assert kept(other_enterprise.id) == []


def test_track__same_id_and_time_again__is_kept_once(api, enterprise, other_enterprise):
    event = {"id": "order 17", "event": "purchase", "user": "ann", "occurred_at": ago(hours=1)}
    for _ in range(2):
        assert send(api, event, {**event, "id": "order 18"}, event).status_code == 202
    assert len(kept(enterprise.id)) == 2
    # Another tenant's ids are its own.
    assert send(factories.make_client(other_enterprise), event).status_code == 202
    assert len(kept(other_enterprise.id)) == 1


@pytest.mark.parametrize(
    ("event", "field", "code"),
    [
        ("x", "", "type"),
        ({"event": "seen"}, ".unit", "required"),
        ({"event": "seen", "user": "a", "unit": "a"}, ".unit", "required"),
        ({"event": "seen", "user": ""}, ".user", "invalid"),
        ({"event": "seen", "user": "x" * 1_001}, ".user", "invalid"),
        ({"event": "seen", "user": "a\x00"}, ".user", "invalid"),
        ({"event": "seen", "user": "\ud800"}, ".user", "invalid"),
        ({"event": "seen", "user": True}, ".user", "invalid"),
        ({"user": "a"}, ".event", "invalid"),
        ({"event": "Seen It", "user": "a"}, ".event", "invalid"),
        ({"event": "api:api-flight-search", "user": "a"}, ".event", "invalid"),
        ({"event": "x" * 101, "user": "a"}, ".event", "invalid"),
        ({"event": "seen", "user": "a", "value": "1"}, ".value", "invalid"),
        ({"event": "seen", "user": "a", "value": True}, ".value", "invalid"),
        ({"event": "seen", "user": "a", "value": 1e300}, ".value", "invalid"),
        ({"event": "seen", "user": "a", "occurred_at": "yesterday"}, ".occurred_at", "invalid"),
        ({"event": "seen", "user": "a", "occurred_at": 5}, ".occurred_at", "invalid"),
        (
            {"event": "seen", "user": "a", "occurred_at": "2026-11-01T10:00:00"},
            ".occurred_at",
            "invalid",
        ),
        (
            {"event": "seen", "user": "a", "occurred_at": "2026-13-01T10:00:00Z"},
            ".occurred_at",
            "invalid",
        ),
        ({"event": "seen", "user": "a", "occurred_at": ago(days=31)}, ".occurred_at", "range"),
        ({"event": "seen", "user": "a", "occurred_at": ago(hours=-1)}, ".occurred_at", "range"),
        (
            {"event": "seen", "user": "a", "occurred_at": "0001-01-01T00:00:00+14:00"},
            ".occurred_at",
            "range",
        ),
        ({"event": "seen", "user": "a", "id": "1"}, ".occurred_at", "required"),
        ({"event": "seen", "user": "a", "id": 1, "occurred_at": ago(hours=1)}, ".id", "invalid"),
        ({"event": "seen", "user": "a", "variant": "b"}, ".variant", "unknown"),
        ({"type": "click", "event": "seen", "user": "a"}, ".type", "unknown"),
        ({"type": ["event"], "event": "seen", "user": "a"}, ".type", "unknown"),
        ({"type": "exposure", "flag": "nowhere", "context": {}}, ".flag", "unknown"),
        ({"type": "exposure", "flag": ["x"], "context": {}}, ".flag", "unknown"),
        ({"type": "exposure", "flag": "enhanced_search"}, ".context", "type"),
        (
            {"type": "exposure", "flag": "enhanced_search", "context": {"a": ["x" * 9_000] * 2}},
            ".context",
            "too_large",
        ),
        (
            {"type": "exposure", "flag": "enhanced_search", "context": {}, "variant": "on"},
            ".variant",
            "unknown",
        ),
    ],
)
def test_track__faulty_entry__is_named_and_nothing_is_kept(api, enterprise, event, field, code):
    usual = {"event": "seen", "user": "ann"}
    assert refused(send(api, usual, event)) == {f"events[1]{field}": code}
    assert kept(enterprise.id) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[]", "body"),
        ("{}", "events"),
        ('{"events": {}}', "events"),
        ('{"events": []}', "events"),
        ('{"events": [{}], "more": 1}', "more"),
        ("nonsense", "body"),
        ('{"events": [], "events": []}', "events"),
        (b'{"events": "\xff"}', "body"),
        ('{"events": [{"event": "seen", "user": "a", "value": NaN}]}', "events"),
        ("[" * 10_000, "body"),
    ],
)
def test_track__body_of_another_shape__is_refused(api, body, field):
    assert field in refused(api.post(PATH, body, content_type="application/json"))


def test_track__more_than_the_limit__is_refused(api, enterprise):
    usual = {"event": "seen", "user": "ann"}
    assert refused(send(api, *[usual] * (MAXIMUM_EVENTS + 1))) == {"events": "number"}
    assert send(api, *[usual] * MAXIMUM_EVENTS).json() == {"accepted": MAXIMUM_EVENTS}
    assert len(kept(enterprise.id)) == MAXIMUM_EVENTS
    # A megabyte is too much for any body.
    assert refused(send(api, usual, {"event": "seen", "user": "x" * 1_100_000})) == {
        "body": "too_large"
    }


def test_exposure__reported__is_evaluated_by_us(api, enterprise):
    experiment = running_experiment(make_weighed_flag(tenant_visible=True))
    name = experiment.flag.name
    response = send(
        api,
        # Whoever it says it is: the enterprise is the key's.
        {"type": "exposure", "flag": name, "context": {"user": "ann", "enterprise": "x"}},
        {"type": "exposure", "flag": name, "context": {"user": None}},
    )
    assert response.status_code == 202
    variant = flags.evaluate(name, {"user": "ann"}).variant
    assert exposures_of(experiment) == [
        (enterprise.id, digest(enterprise.id, "ann"), variant, False)
    ]


def test_exposure__reported_of_before_the_start__is_none(api, enterprise):
    experiment = running_experiment(make_weighed_flag(tenant_visible=True))
    told = {"type": "exposure", "flag": experiment.flag.name, "context": {"user": "ann"}}
    assert send(api, {**told, "occurred_at": ago(hours=1)}).status_code == 202
    assert exposures_of(experiment) == []


def test_exposure__of_a_flag_that_tenants_do_not_see__is_of_no_flag(api, enterprise):
    experiment = running_experiment(make_weighed_flag(tenant_visible=False))
    exposure = {"type": "exposure", "flag": experiment.flag.name, "context": {"user": "ann"}}
    assert refused(send(api, exposure)) == {"events[0].flag": "unknown"}
    assert exposures_of(experiment) == []


def test_api_usage__asked_for_by_a_goal__is_counted_by_enterprise(api, enterprise):
    goal = Goal("api:api-enterprise", "mean", 72, is_primary=True)
    running_experiment(make_weighed_flag(bucketing_unit="enterprise"), goals=[goal])
    for _ in range(3):
        assert api.get("/api/v1/enterprise").status_code == 200
    # Refused, and another route.
    api.get("/api/v1/enterprise", headers={"Authorization": "Bearer x"})
    api.get("/api/v1/api-keys")
    assert recorder.flush()
    ((event, unit, value, _),) = kept(enterprise.id)
    assert (event, unit, value) == (
        "api:api-enterprise",
        digest(enterprise.id, str(enterprise.id)),
        3.0,
    )


def test_api_usage__whose_end_is_not_known__is_sent_again_and_kept_once(app_role, enterprise):
    usage = exposing.ApiUsage()
    usage.see("api:x", enterprise.id)
    taken = [each.document() for each in usage.take()]
    usage.see("api:x", enterprise.id)
    # What came meanwhile waits behind it.
    assert [each.document() for each in usage.take()] == taken
    usage.sent()
    assert usage.waiting
    later = [each.document() for each in usage.take()]
    usage.sent()
    assert not usage.waiting
    for documents in (taken, taken, later):
        app_role.execute("select record_api_usage(%s)", [Jsonb(documents)])
    assert [value for _, _, value, _ in kept(enterprise.id)] == [1.0, 1.0]


def test_api_usage__inside_a_tenants_scope__is_that_tenants_alone(
    app_role, enterprise, other_enterprise
):
    usage = exposing.ApiUsage()
    for each in (enterprise, other_enterprise):
        usage.see("api:x", each.id)
    documents = [each.document() for each in usage.take()]
    with app_role.transaction():
        app_role.execute(
            "select set_config('app.current_enterprise_id', %s, true)", [str(enterprise.id)]
        )
        app_role.execute("select record_api_usage(%s)", [Jsonb(documents)])
    assert len(kept(enterprise.id)) == 1
    assert kept(other_enterprise.id) == []


def test_api_usage__of_a_month_without_a_partition__leaves_the_others_in(app_role, enterprise):
    usage = exposing.ApiUsage()
    for event in ("api:x", "api:y"):
        usage.see(event, enterprise.id)
    old, new = usage.take()
    old.first_at = datetime(2001, 1, 1, tzinfo=UTC)
    documents = [old.document(), new.document()]
    app_role.execute("select record_api_usage(%s)", [Jsonb(documents)])
    assert [event for event, *_ in kept(enterprise.id)] == ["api:y"]


def test_track__month_without_a_partition__is_unavailable_and_nothing_is_kept(
    api, enterprise, monkeypatch
):
    # As if nobody had made partitions for a long time.
    monkeypatch.setattr(tracking, "BEHIND", timedelta(days=20_000))
    old = {"event": "seen", "user": "ann", "occurred_at": "2001-01-01T00:00:00Z"}
    response = send(api, {"event": "seen", "user": "ann"}, old)
    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
    assert "month" in response.json()["detail"]
    assert response.headers["Retry-After"]
    assert kept(enterprise.id) == []


@pytest.mark.parametrize(
    "held",
    ["[" * 40 + "]" * 40, "1e999", '"\\ud800"', '"' + "x" * 10_001 + '"'],
)
def test_exposure__context_that_ofrep_refuses__is_refused_here_too(api, held):
    flag = make_weighed_flag(tenant_visible=True)
    await_version(flag)
    body = (
        f'{{"events": [{{"type": "exposure", "flag": "{flag.name}",'
        f' "context": {{"user": "ann", "a": {held}}}}}]}}'
    )
    response = api.post(PATH, body, content_type="application/json")
    assert refused(response) == {"events[0].context": "invalid"}


def test_tracked_events__recorded_without_a_tenant__are_refused(app_role):
    with pytest.raises(psycopg.errors.NotNullViolation, match="enterprise_id"):
        app_role.execute(
            "select record_tracked_events("
            '\'[{"unit": "a", "event": "seen", "at": "2026-11-25T00:00:00Z"}]\')'
        )
