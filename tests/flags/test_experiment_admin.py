"""Experiments in the admin: drafted by choices, run by dialogs, read off the page."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.flags import operations
from apps.flags.experiments import interference
from apps.flags.models import Experiment, FeatureFlag
from layoverhq.tenancy import operator_scope
from tests.flags.experimenting import make_experiment, make_weighed_flag, running_experiment
from tests.flags.factories import change, fresh, make_flag
from tests.flags.test_experiments import STARTED, happen, plant
from tests.tenants import factories
from tests.tenants.factories import unique

LIST = "/admin/flags/experiment/"
DIALOG = {"_form_submitted": "True", "reason": "Because of a test"}


def url(experiment: Experiment, name: str = "change") -> str:
    return reverse(f"admin:flags_experiment_{name}", args=[experiment.pk])


def body(response: HttpResponse) -> str:
    """Return a page's text, with its whitespace folded."""
    assert response.status_code == 200, response
    return re.sub(r"\s+", " ", response.content.decode())


def client_with(*codenames: str) -> Client:
    user = factories.make_operator(superuser=False)
    with operator_scope():
        permissions = Permission.objects.filter(
            content_type__app_label="flags", codename__in=codenames
        )
        user.user_permissions.set(permissions)
    return factories.make_admin_client(user)


def standing(experiment: Experiment) -> Experiment:
    with operator_scope():
        return Experiment.objects.select_related("flag", "shipped_version").get(pk=experiment.pk)


def goals(experiment: Experiment) -> list[tuple[str, str, int, bool]]:
    with operator_scope():
        return list(experiment.goals.values_list("event", "kind", "window_hours", "is_primary"))


def filled(flag: FeatureFlag, **fields: Any) -> dict[str, Any]:
    """Return what the form sends."""
    return {
        "name": unique("Cheaper first"),
        "hypothesis": "b sells more.",
        "alpha": "0.05",
        "compared": json.dumps([str(flag.pk), "", "a"]),
        "goal_0_event": "purchase",
        "goal_0_kind": "conversion",
        "goal_0_window": "72",
        "goal_2_event": "revenue",
        "goal_2_kind": "mean",
        "goal_2_window": "",
        **fields,
    }


def test_form__offers_what_is_divided_and_what_was_reported(admin_client):
    flag = make_weighed_flag(weights={"a": 6_000, "b": 4_000})
    plain = make_flag()
    page = body(admin_client.get(f"{LIST}add/"))
    assert f"{flag.name}, own rollout: a 60 %, b 40 %" in page
    assert f"{plain.name}," not in page
    assert '<option value="api:api-flight-search">' in page


def test_form__sent__drafts_an_experiment_with_goals(admin_client):
    flag = make_weighed_flag()
    sent = filled(flag)
    response = admin_client.post(f"{LIST}add/", sent)
    assert response.status_code == 302, body(response)
    with operator_scope():
        made = Experiment.objects.get(name=sent["name"])
    assert (made.flag_id, made.rule, made.control_variant) == (flag.pk, "", "a")
    assert made.author_id is not None
    assert goals(made) == [("purchase", "conversion", 72, True), ("revenue", "mean", 168, False)]
    page = body(admin_client.get(url(made)))
    assert 'value="purchase"' in page
    changed = filled(flag, goal_2_event="", alpha="0.01", base_version=made.version)
    response = admin_client.post(url(made), changed)
    assert response.status_code == 302, body(response)
    assert goals(made) == [("purchase", "conversion", 72, True)]
    assert str(standing(made).alpha) == "0.010"


def test_form__sent_by_two__keeps_the_first_and_tells_the_second(admin_client):
    flag = make_weighed_flag()
    experiment = make_experiment(flag)
    page = admin_client.get(url(experiment))
    seen = page.context["adminform"].form["base_version"].value()
    first = filled(flag, hypothesis="The first.", base_version=seen)
    assert admin_client.post(url(experiment), first).status_code == 302

    second = admin_client.post(
        url(experiment), filled(flag, hypothesis="The second.", base_version=seen)
    )

    assert "Somebody changed the experiment meanwhile" in body(second)
    assert standing(experiment).hypothesis == "The first."


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"goal_2_event": "Buy It!"}, "Use up to 100 small letters"),
        ({"goal_2_event": "api:api-flight-search"}, "this flag divides by user"),
        ({"alpha": "0.9"}, "less than or equal to 0.2"),
        ({"compared": ""}, "This field is required."),
        ({"compared": "nonsense"}, "Select a valid choice."),
        ({"goal_0_event": ""}, "This field is required."),
        ({"goal_0_window": "0"}, "greater than or equal to 1"),
    ],
)
def test_form__faulty__says_so_at_the_field(admin_client, fields, told):
    sent = filled(make_weighed_flag(), **fields)
    assert told in body(admin_client.post(f"{LIST}add/", sent))
    with operator_scope():
        assert not Experiment.objects.filter(name=sent["name"]).exists()


def test_draft__whose_weights_are_gone__still_opens(admin_client):
    experiment = make_experiment()
    change(experiment.flag, weights={})
    assert "No longer divided" in body(admin_client.get(url(experiment)))


def test_start_and_stop__by_dialog__ask_for_a_reason(admin_client):
    experiment = make_experiment()
    assert "fixed then" in body(admin_client.get(url(experiment, "start")))
    admin_client.post(url(experiment, "start"), {"_form_submitted": "True", "reason": ""})
    assert standing(experiment).status == "draft"
    admin_client.post(url(experiment, "start"), DIALOG)
    assert standing(experiment).status == "running"
    admin_client.post(url(experiment, "stop"), DIALOG)
    stopped = standing(experiment)
    assert (stopped.status, stopped.decision) == ("stopped", DIALOG["reason"])
    with operator_scope():
        reasons = AuditEvent.objects.filter(
            table_name="flag_experiments", row_id=str(experiment.pk), operation="UPDATE"
        ).values_list("reason", flat=True)
        assert set(reasons) == {DIALOG["reason"]}


def test_start__refused__is_told(admin_client):
    flag = make_weighed_flag(enabled=False)
    experiment = make_experiment(flag)
    response = admin_client.post(
        url(experiment, "start"), DIALOG, headers={"Referer": f"http://testserver{url(experiment)}"}
    )
    assert "is not enabled" in body(admin_client.get(response.headers["Location"]))
    assert standing(experiment).status == "draft"


def test_ship__by_dialog__offers_the_variants_and_changes_the_flag(admin_client):
    experiment = running_experiment()
    page = body(admin_client.get(url(experiment, "ship")))
    assert "a (control)" in page
    admin_client.post(url(experiment, "ship"), {**DIALOG, "variant": "c"})
    assert standing(experiment).status == "running"
    admin_client.post(url(experiment, "ship"), {**DIALOG, "variant": "b"})
    shipped = standing(experiment)
    assert (shipped.status, shipped.shipped_variant) == ("shipped", "b")
    assert fresh(experiment.flag).on_variant == "b"
    page = body(admin_client.get(url(experiment)))
    assert "b, by version 2 of the flag: active" in page


def test_ship__of_a_protected_flag__says_that_it_waits(admin_client):
    experiment = running_experiment()
    change(experiment.flag, is_protected=True)
    admin_client.post(url(experiment, "ship"), {**DIALOG, "variant": "b"})
    page = body(admin_client.get(url(experiment)))
    assert "waits for an approval" in page
    assert "of the flag: draft" in page


def test_discard__by_dialog__deletes_the_draft(admin_client):
    experiment = make_experiment()
    admin_client.post(url(experiment, "discard"), DIALOG)
    with operator_scope():
        assert not Experiment.objects.filter(pk=experiment.pk).exists()


def test_page__running_without_units__says_so(admin_client):
    page = body(admin_client.get(url(running_experiment())))
    assert "No unit has met a variant yet." in page
    assert "Not enough data: a has met 0 units" in page
    assert 'name="hypothesis"' not in page


def test_page__with_data__shows_rates_lift_verdict_and_a_chart(admin_client):
    experiment = running_experiment(now=STARTED)
    for variant, bought in (("a", 200), ("b", 400)):
        units = plant(experiment, [(variant, n % 48, False) for n in range(2_000)])
        happen(experiment, [(unit, "purchase", 50, None) for unit in units[:bought]])
    page = body(admin_client.get(url(experiment)))
    assert "10.00 %" in page
    assert "20.00 %" in page
    assert "+100.0 %" in page
    assert "+10.00 points" in page
    assert "better" in page
    assert "p &lt; 0.0001" in page
    assert "mismatch" not in page
    drawn = re.search(r'data-value="([^"]+)"', page)
    assert drawn is not None
    chart = json.loads(drawn[1].replace("&quot;", '"'))
    assert [each["label"] for each in chart["datasets"][::3]] == ["a", "b"]
    assert chart["datasets"][3]["data"][-1] == 20.0
    # The other goal has no event at all, and no verdict.
    assert "Not enough data: No unit has a value yet." in page


def test_page__mismatch_and_contamination__are_warned_of(admin_client):
    experiment = running_experiment(now=STARTED)
    plant(experiment, [("a", 1, False)] * 400 + [("b", 1, False)] * 200 + [("b", 1, True)] * 3)
    page = body(admin_client.get(url(experiment)))
    assert "Sample ratio mismatch" in page
    assert "3 units met more than one variant" in page


def test_list__by_status__shows_what_is_open_first(admin_client):
    draft, stopped = make_experiment(), running_experiment()
    admin_client.post(url(stopped, "stop"), DIALOG)
    # The page after it names what was stopped.
    admin_client.get("/admin/")
    page = body(admin_client.get(LIST))
    assert draft.name in page
    assert stopped.name not in page
    assert stopped.name in body(admin_client.get(f"{LIST}?status=stopped"))


def test_permissions__each_for_its_own():
    experiment, running = make_experiment(), running_experiment()
    nobody = client_with()
    assert nobody.get(LIST).status_code == 403
    viewer = client_with("view_experiment")
    page = body(viewer.get(url(experiment)))
    assert 'name="hypothesis"' not in page
    editor = client_with("view_experiment", "change_experiment")
    assert 'name="hypothesis"' in body(editor.get(url(experiment)))
    for client in (viewer, editor):
        for one, name in ((experiment, "start"), (running, "stop"), (running, "ship")):
            client.post(url(one, name), {**DIALOG, "variant": "b"})
    viewer.post(url(experiment, "discard"), DIALOG)
    assert (standing(experiment).status, standing(running).status) == ("draft", "running")
    runner = client_with("view_experiment", "run_experiment")
    runner.post(url(experiment, "start"), DIALOG)
    assert standing(experiment).status == "running"
    assert datetime.now(UTC) - standing(experiment).updated_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"enabled": False}, "is not enabled: nobody meets a variant."),
        ({"weights": {}}, "no longer divides units there"),
        ({"bucketing_unit": "enterprise"}, "divides by enterprise now: nobody is noted."),
        ({"weights": {"a": 1_000, "b": 9_000}}, "are others than at the start"),
        ({"description": "Something else."}, None),
    ],
)
def test_page__flag_changed_under_a_running_experiment__is_told(admin_client, changes, told):
    experiment = running_experiment()
    with operator_scope():
        change(experiment.flag, **changes)
    page = body(admin_client.get(url(experiment)))
    if told is None:
        assert interference(standing(experiment)) == ""
        assert "nobody" not in page
    else:
        assert told in page


def test_page__flag_killed_under_a_running_experiment__is_told(admin_client):
    experiment = running_experiment()
    with operator_scope():
        operations.kill_flag(flag=experiment.flag, reason="an accident")
    assert "is killed: nobody meets a variant." in body(admin_client.get(url(experiment)))
