"""Flags in the admin: what operators see, change, and are kept from."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flags import operations
from apps.flags.definitions import blank_definition, document_of
from apps.flags.evaluation import BrokenFlag
from apps.flags.models import FeatureFlag, FlagSegment, FlagVersion
from apps.flags.runtime import flags
from apps.tenants.models import Enterprise, User
from layoverhq.tenancy import operator_scope
from tests.flags.factories import (
    await_version,
    draft,
    edited,
    flag_name,
    fresh,
    make_flag,
    make_namespace,
    make_segment,
)
from tests.flags.rows import plant_flag
from tests.kernel.test_snapshot import until
from tests.tenants import factories

FLAGS = "/admin/flags/featureflag/"
VERSIONS = "/admin/flags/flagversion/"
SEGMENTS = "/admin/flags/flagsegment/"
NAMESPACES = "/admin/flags/flagnamespace/"
REASON = "Because of a test"
DIALOG = {"_form_submitted": "True", "reason": REASON}


def member(group: str) -> tuple[Client, User]:
    """A client of an operator who belongs to this group only."""
    user = factories.make_operator(superuser=False)
    with operator_scope():
        user.groups.add(Group.objects.get(name=f"Flag {group}"))
    return factories.make_admin_client(user), user


def url(thing: Any, name: str = "change") -> str:
    model = type(thing)._meta.model_name
    return reverse(f"admin:flags_{model}_{name}", args=[thing.pk])


def text(response: HttpResponse) -> str:
    assert response.status_code == 200, response
    return response.content.decode()


def next_page(client: Client, response: HttpResponse) -> str:
    return text(client.get(response.headers.get("HX-Redirect") or response["Location"]))


def save(client: Client, flag: FeatureFlag, **fields: Any) -> HttpResponse:
    """Send the editor's form: `definition` as an object, `publish` unless `draft` is given."""
    definition = fields.pop("definition", None) or edited(flag, **fields.pop("changes", {}))
    button = {} if "draft" in fields else {"publish": "1"}
    data = {
        "definition": json.dumps(definition), "reason": REASON, **button,
        "base_version": fields.pop("base_version", fresh(flag).version), **fields,
    }  # fmt: skip
    return client.post(url(flag, "edit"), data)


def faults(response: HttpResponse) -> list[str]:
    assert response.status_code == 200, response
    return [fault["field"] for fault in response.context["faults"]]


def statuses(flag: FeatureFlag) -> list[str]:
    with operator_scope():
        return list(flag.versions.order_by("number").values_list("status", flat=True))


def status(version: FlagVersion) -> str:
    with operator_scope():
        return FlagVersion.objects.get(pk=version.pk).status


# The list


def test_flags__list__shows_the_state_of_each_and_filters(admin_client: Client) -> None:
    tag = factories.unique("tag")
    owner = factories.make_operator()
    on = make_flag(tags=[tag], owner=str(owner.pk), rollout_percentage=25)
    off = make_flag(tags=[tag], enabled=False, expires_date="2020-01-31")
    gone = make_flag(tags=[tag])
    with operator_scope():
        operations.kill_flag(flag=off, reason="too slow")
        operations.archive_flag(flag=gone, reason="not used", actor=None)
    draft(on, description="another")

    def named(query: str) -> list[bool]:
        page = text(admin_client.get(f"{FLAGS}?tag={tag}&{query}"))
        return [flag.name in page for flag in (on, off, gone)]

    page = text(admin_client.get(f"{FLAGS}?tag={tag}"))
    assert all(word in page for word in ("killed", "25&nbsp;%", "2020-01-31", owner.email, "Draft"))
    assert named("") == [True, True, False]
    assert named("state=on") == [True, False, False]
    assert named("state=killed") == [False, True, False]
    assert named("state=archived") == [False, False, True]
    assert named("state=waiting") == [True, False, False]
    assert named("state=expired") == [False, True, False]
    assert named("state=all") == [True, True, True]
    assert named(f"owner={owner.pk}") == [True, False, False]
    assert named("owner=nobody") == [False, True, False]
    assert named(f"q={off.name}") == [False, True, False]


@pytest.mark.parametrize(
    "query",
    ["state=nonsense", "owner=nonsense", "tag=%00", "is_protected__exact=1", "value_type__exact=x"],
)
def test_flags__filter__answers_without_a_fault(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{FLAGS}?{query}").status_code in (200, 302)


def test_flags__turned_off_from_the_list__asks_why_and_leaves_out_what_cannot_be(
    admin_client: Client,
) -> None:
    on, off = make_flag(), make_flag(enabled=False)
    protected = make_flag(is_protected=True)
    data = {"action": "turn_off_selected", "_selected_action": [on.pk, off.pk, protected.pk]}

    asked = text(admin_client.post(FLAGS, data))
    response = admin_client.post(FLAGS, {**data, **DIALOG, "confirmed": "1"})

    assert "is off already" in asked
    assert fresh(on).version == 2
    assert not fresh(on).enabled
    assert "Left out" in next_page(admin_client, response)
    assert [fresh(flag).version for flag in (off, protected)] == [1, 1]
    with operator_scope():
        event = AuditEvent.objects.filter(table_name="feature_flags", row_id=str(on.pk))
        assert event.order_by("-id").first().reason == REASON  # type: ignore[union-attr]


# A flag's page


def test_page__of_a_flag__says_what_is_served_and_what_waits(
    admin_client: Client, enterprise: Enterprise
) -> None:
    soon = (timezone.now() + timedelta(days=2)).isoformat(timespec="minutes")
    flag = make_flag(
        rollout_percentage=5,
        tenant_overrides={str(enterprise.pk): False},
        rules=[
            {
                "id": "r", "description": "Germans", "rollout": 5000, "variant": "on",
                "conditions": {"country": {"$in": ["DE"]}},
            }
        ],
        steps=[{"at": soon, "percentage": 25}],
    )  # fmt: skip
    waiting = draft(flag, description="another")

    page = text(admin_client.get(url(flag)))

    assert "1 tenant has an answer of its own." in page
    assert "Rule 1 (Germans): “on” for 50 % of those where country is one of “DE”" in page
    assert "“on” for 5 % of everybody else; “off” for the rest." in page
    assert "Next step: to 25 % at" in page
    assert url(waiting) in page


def test_kill__from_the_page__is_one_post_and_shows_a_banner(enterprise: Enterprise) -> None:
    client, _ = member("killers")
    flag = make_flag(is_protected=True)

    page = text(client.get(url(flag)))
    response = client.post(url(flag, "stop"), {"kill": "1", "reason": "It burns"})

    assert 'name="kill"' in page
    assert fresh(flag).is_killed
    after = next_page(client, response)
    assert "Because: It burns" in after
    assert 'name="kill"' not in after
    client.post(url(flag, "stop"), {"revive": "1", "reason": "It is out"})
    assert not fresh(flag).is_killed


def test_kill__without_a_reason__changes_nothing_and_says_so(admin_client: Client) -> None:
    flag = make_flag()

    response = admin_client.post(url(flag, "stop"), {"kill": "1", "reason": " "})

    assert "Say why" in next_page(admin_client, response)
    assert not fresh(flag).is_killed


@pytest.mark.parametrize("group", ["viewers", "reviewers"])
def test_kill__without_the_permission__is_refused(group: str) -> None:
    client, _ = member(group)
    flag = make_flag()

    assert client.post(url(flag, "stop"), {"kill": "1", "reason": REASON}).status_code == 403
    assert not fresh(flag).is_killed
    assert 'name="kill"' not in text(client.get(url(flag)))


@pytest.mark.parametrize("name", ["turn_off", "archive"])
def test_dialog__of_a_flag__does_it_with_the_reason(admin_client: Client, name: str) -> None:
    flag = make_flag()

    shown = text(admin_client.get(url(flag, name)))
    response = admin_client.post(url(flag, name), DIALOG)

    assert "Kept in the audit log" in shown
    assert flag.name in next_page(admin_client, response)
    now = fresh(flag)
    assert {"turn_off": not now.enabled, "archive": now.is_archived}[name]


def test_dialog__of_a_protected_flag__leaves_a_draft_and_leads_to_it(admin_client: Client) -> None:
    flag = make_flag(is_protected=True)

    response = admin_client.post(url(flag, "turn_on"), DIALOG)

    assert statuses(flag) == ["active", "draft"]
    assert not fresh(flag).enabled
    assert "Drafted" in next_page(admin_client, response)


def test_pages__for_viewers__show_everything_and_change_nothing() -> None:
    client, _ = member("viewers")
    flag = make_flag()
    version = draft(flag, description="x")

    page = text(client.get(url(flag)))

    assert "Edit" not in [
        action["title"] for action in client.get(url(flag)).context["actions_detail"]
    ]
    assert "Set it" not in page
    for path in (url(flag, "edit"), url(version, "edit"), f"{FLAGS}add/"):
        assert client.post(path, {"reason": REASON}).status_code == 403
    for name in ("submit", "approve", "publish", "reject"):
        assert client.post(url(version, name), DIALOG).status_code == 403
    override = client.post(url(flag, "override"), {"kind": "tenant", "reason": REASON})
    assert override.status_code == 403
    assert statuses(flag) == ["active", "draft"]


def test_pages__for_others__are_refused() -> None:
    user = factories.make_operator(superuser=False)
    client = factories.make_admin_client(user)
    flag = make_flag()

    for path in (FLAGS, url(flag), url(flag, "try"), VERSIONS, SEGMENTS, NAMESPACES):
        assert client.get(path).status_code == 403


# The editor


def test_editor__new_flag__stands_with_its_first_version(admin_client: Client) -> None:
    name = flag_name()
    data = {
        "name": name, "value_type": "string", "reason": REASON,
        "definition": json.dumps({**blank_definition("string"), "description": "Words"}),
    }  # fmt: skip

    response = admin_client.post(f"{FLAGS}add/", data)

    assert f"Made “{name}”." in next_page(admin_client, response)
    with operator_scope():
        flag = FeatureFlag.objects.get(name=name)
    assert (flag.value_type, flag.description, flag.version) == ("string", "Words", 1)


def test_editor__new_flag_refused__names_the_fields(admin_client: Client) -> None:
    standing = make_flag()
    blank = json.dumps(blank_definition("boolean"))
    data = {"name": standing.name, "value_type": "boolean", "reason": REASON, "definition": blank}

    taken = admin_client.post(f"{FLAGS}add/", data)
    odd = admin_client.post(f"{FLAGS}add/", {**data, "name": "No Name"})
    untold = admin_client.post(f"{FLAGS}add/", {**data, "name": flag_name(), "reason": ""})

    assert "exists already" in str(taken.context["form"].errors["name"])
    assert "name" in odd.context["form"].errors
    assert "reason" in untold.context["form"].errors


def test_editor__published__holds_at_once(admin_client: Client) -> None:
    flag = make_flag()

    response = save(admin_client, flag, changes={"rollout_percentage": 40})

    assert f"Published “{flag}”. It is version 2." in next_page(admin_client, response)
    assert fresh(flag).rollout_percentage == 40


def test_editor__saved_as_draft__waits(admin_client: Client) -> None:
    flag = make_flag()

    response = save(admin_client, flag, changes={"rollout_percentage": 40}, draft="1")

    assert "Drafted" in next_page(admin_client, response)
    assert statuses(flag) == ["active", "draft"]
    assert fresh(flag).rollout_percentage == 100


def test_editor__published_of_a_protected_flag__is_refused_and_kept_typed(
    admin_client: Client,
) -> None:
    flag = make_flag(is_protected=True)

    response = save(admin_client, flag, changes={"description": "typed by me"})

    page = text(response)
    assert "somebody who took no part has to approve" in page
    assert "typed by me" in page
    assert statuses(flag) == ["active"]


RULE = {"id": "r", "description": "", "conditions": {}, "rollout": 10000, "variant": "on"}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"rollout_percentage": 101}, "rollout_percentage"),
        ({"weights": {"on": 1}}, "weights"),
        ({"conditions": {"plan": {"$in": "x"}}}, "conditions.plan.$in"),
        ({"rules": [{**RULE, "conditions": {"a": {"$is": 1}}}]}, "rules[0].conditions.a.$is"),
        ({"rules": [RULE, {**RULE, "rollout": -1, "id": "s"}]}, "rules[1].rollout"),
        ({"conditions": {"a": {"$regex": "(?=a)"}}}, "conditions.a.$regex"),
        ({"tenant_overrides": {"x": True}}, "tenant_overrides.x"),
        ({"prerequisites": [{"flag": "nowhere", "variants": ["on"]}]}, "prerequisites[0].flag"),
        ({"steps": [{"at": "yesterday", "percentage": 5}]}, "steps[0].at"),
        ({"bucketing_unit": ""}, "bucketing_unit"),
        ({"namespace": "nowhere", "namespace_range": [0, 1]}, "namespace"),
    ],
)
def test_editor__refused_definition__names_the_place_and_keeps_what_was_typed(
    admin_client: Client, changes: dict[str, Any], place: str
) -> None:
    flag = make_flag()
    changes = {**changes, "description": "typed by me"}

    response = save(admin_client, flag, changes=changes)
    data = {"definition": json.dumps(edited(flag, **changes))}
    checked = admin_client.post(url(flag, "check"), data).json()

    assert place in faults(response)
    assert "typed by me" in text(response)
    assert place in [fault["field"] for fault in checked["faults"]]
    assert statuses(flag) == ["active"]


@pytest.mark.parametrize("definition", ["", "{", "[]", "null", '{"a": 1, "a": 2}', "[" * 3000])
def test_editor__what_is_no_definition__is_refused(admin_client: Client, definition: str) -> None:
    flag = make_flag()
    data = {"definition": definition, "reason": REASON, "base_version": 1, "publish": "1"}

    response = admin_client.post(url(flag, "edit"), data)

    assert response.context["form"].errors
    assert admin_client.post(url(flag, "check"), data).json()["faults"]
    assert statuses(flag) == ["active"]


def test_editor__changed_meanwhile__brings_both_together_and_loses_nothing(
    admin_client: Client, enterprise: Enterprise
) -> None:
    flag = make_flag(rollout_percentage=10)
    mine = edited(flag, description="typed by me", rollout_percentage=20)
    with operator_scope():
        operations.set_override(
            flag=flag, kind="tenant", of=enterprise.pk, to=True, reason="theirs", actor=None
        )

    stale = save(admin_client, flag, definition=mine, base_version=1)

    page = text(stale)
    assert "changed by a schedule meanwhile" in page or "meanwhile, to version 2" in page
    assert "Taken over below from the other change: tenant_overrides." in page
    assert [title for title, _ in stale.context["differences"]] == [
        "What was changed meanwhile", "What you would change now"
    ]  # fmt: skip
    assert fresh(flag).version == 2
    form = stale.context["form"]
    save(
        admin_client, flag, definition=json.loads(form["definition"].value()),
        base_version=form["base_version"].value(),
    )  # fmt: skip
    now = fresh(flag)
    assert (now.version, now.description, now.rollout_percentage) == (3, "typed by me", 20)
    assert now.tenant_overrides == {str(enterprise.pk): True}


def test_check__says_whom_it_reaches_and_what_it_serves(admin_client: Client) -> None:
    flag = make_flag(bucketing_unit="enterprise")
    factories.make_enterprise()

    def checked(**changes: Any) -> Any:
        data = {"definition": json.dumps(edited(flag, **changes))}
        return admin_client.post(url(flag, "check"), data).json()

    with operator_scope():
        living = Enterprise.objects.living().count()
    everybody = checked()["reach"][""]
    nobody = checked(rollout_percentage=0)["reach"][""]
    unknown = checked(bucketing_unit="device.id")["reach"][""]
    ruled = checked(rules=[{**RULE, "rollout": 0}])["reach"]["rules[0]"]

    assert everybody.startswith(f"{living:,} of {living:,} tenant")
    assert nobody.startswith("0 of ")
    assert ruled.startswith("0 of ")
    assert "Nobody knows how many" in unknown
    assert checked(rollout_percentage=0)["told"] == "Everybody gets “off”."


def test_check__reached__are_those_whom_the_flag_reaches(admin_client: Client) -> None:
    flag = make_flag(bucketing_unit="enterprise", rollout_percentage=30)
    await_version(flag)
    with operator_scope():
        living = list(Enterprise.objects.living().values_list("pk", flat=True))
    data = {"definition": json.dumps(edited(flag))}
    told = admin_client.post(url(flag, "check"), data).json()["reach"][""]

    on = sum(flags.enabled(flag.name, {"enterprise": str(pk)}) for pk in living)
    assert told.startswith(f"{on:,} of {len(living):,} tenant")


# Review


def test_review__author_and_another__takes_both(admin_client: Client) -> None:
    editor, _ = member("editors")
    reviewer, _ = member("reviewers")
    flag = make_flag(is_protected=True)
    save(editor, flag, changes={"enabled": True}, draft="1")
    with operator_scope():
        version = flag.versions.get(status="draft")

    early = reviewer.post(url(version, "publish"), DIALOG)
    editor.post(url(version, "submit"), DIALOG)
    own = editor.post(url(version, "approve"), DIALOG)

    assert early.status_code in (200, 302)
    assert own.status_code == 403
    assert status(version) == "in_review"
    shown = [action["title"] for action in reviewer.get(url(version)).context["actions_detail"]]
    assert shown == ["Approve…", "Reject…"]
    reviewer.post(url(version, "approve"), DIALOG)
    reviewer.post(url(version, "publish"), DIALOG)
    assert status(version) == "active"
    assert fresh(flag).enabled


def test_review__superuser_who_edited__cannot_approve() -> None:
    superuser = factories.make_operator()
    client = factories.make_admin_client(superuser)
    flag = make_flag(is_protected=True)
    version = draft(flag, actor=superuser, enabled=True)
    with operator_scope():
        operations.submit_change(version=version)

    page = text(client.get(url(version)))
    client.post(url(version, "approve"), DIALOG)

    assert "You took part in this change" in page
    assert status(version) == "in_review"


def test_draft__edited_after_approval__asks_for_a_review_again(admin_client: Client) -> None:
    flag = make_flag(is_protected=True)
    version = draft(flag, enabled=True)
    with operator_scope():
        operations.submit_change(version=version)
        operations.approve_change(version=version, actor=factories.make_operator())
    data = {"definition": json.dumps(edited(flag, description="more")), "reason": REASON}

    admin_client.post(url(version, "edit"), data)

    assert status(version) == "draft"
    with operator_scope():
        stored = FlagVersion.objects.get(pk=version.pk)
    assert (stored.definition["description"], stored.approved_at) == ("more", None)


def test_schedule__at_a_time__is_taken_back_and_rejected(admin_client: Client) -> None:
    flag = make_flag()
    version = draft(flag, description="later")
    at = timezone.now() + timedelta(hours=2)

    past = admin_client.post(
        url(version, "schedule"), {**DIALOG, "activate_at": "2020-01-01T00:00"}
    )
    assert "Lies in the past." in text(past)
    admin_client.post(url(version, "schedule"), {**DIALOG, "activate_at": f"{at:%Y-%m-%dT%H:%M}"})
    assert status(version) == "scheduled"
    admin_client.post(url(version, "unschedule"), DIALOG)
    assert status(version) == "draft"
    admin_client.post(url(version, "reject"), DIALOG)
    assert status(version) == "rejected"
    assert admin_client.get(url(version)).context["actions_detail"] == []


def test_roll_back__from_an_old_version__holds_again(admin_client: Client) -> None:
    flag = make_flag(description="first")
    save(admin_client, flag, changes={"description": "second"})
    with operator_scope():
        first = flag.versions.get(number=1)

    response = admin_client.post(url(first, "roll_back"), DIALOG)

    assert "Rolled “" in next_page(admin_client, response)
    assert (fresh(flag).description, fresh(flag).version) == ("first", 3)


def test_versions__stale_draft__says_that_it_cannot_be_published(admin_client: Client) -> None:
    flag = make_flag()
    version = draft(flag, description="mine")
    save(admin_client, flag, changes={"description": "theirs"})

    page = text(admin_client.get(url(version)))
    admin_client.post(url(version, "publish"), DIALOG)

    assert "it cannot be published" in page
    assert status(version) == "draft"
    assert fresh(flag).description == "theirs"


def test_versions__diff_and_list__show_both_sides(admin_client: Client) -> None:
    flag = make_flag(description="the first words")
    save(admin_client, flag, changes={"description": "the second words"})
    with operator_scope():
        second = flag.versions.get(number=2)

    page = text(admin_client.get(f"{url(flag)}?left=1&right=2"))
    changes = text(admin_client.get(url(second)))
    listed = text(admin_client.get(f"{VERSIONS}?status=all&flag={flag.name}"))

    assert "the first words" in page
    assert "the first words" in changes
    assert "the second words" in changes
    assert f"{flag.name} version 2" in listed


# Overrides


def override(client: Client, flag: FeatureFlag, **fields: Any) -> HttpResponse:
    data = {"kind": "tenant", "to": "true", "reason": REASON, **fields}
    return client.post(url(flag, "override"), data)


def test_override__by_slug_and_email__is_given_and_taken_away(
    admin_client: Client, enterprise: Enterprise
) -> None:
    flag = make_flag()
    user = factories.make_operator()

    override(admin_client, flag, of=enterprise.slug, to="false")
    override(admin_client, flag, kind="user", of=user.email.upper(), to="=on")
    given = fresh(flag)
    page = text(admin_client.get(url(flag)))
    override(admin_client, flag, of=str(enterprise.pk), to="")

    assert given.tenant_overrides == {str(enterprise.pk): False}
    assert given.user_overrides == {str(user.pk): "on"}
    assert enterprise.slug in page
    assert user.email in page
    assert fresh(flag).tenant_overrides == {}
    assert statuses(flag) == ["superseded"] * 3 + ["active"]


def test_override__of_nobody__is_told_and_keeps_what_was_typed(admin_client: Client) -> None:
    flag = make_flag()

    page = next_page(admin_client, override(admin_client, flag, of="no-such-tenant"))
    odd = next_page(admin_client, override(admin_client, flag, of="x", to="=nonsense"))

    assert "There is no tenant “no-such-tenant”." in page
    assert page.count('value="no-such-tenant"') == 1
    assert "Select a valid choice" in odd
    assert statuses(flag) == ["active"]


def test_override__of_a_protected_flag__is_a_draft(
    admin_client: Client, enterprise: Enterprise
) -> None:
    flag = make_flag(is_protected=True)

    response = override(admin_client, flag, of=enterprise.slug)

    assert "Drafted" in next_page(admin_client, response)
    assert fresh(flag).tenant_overrides == {}


def test_overrides__many__are_paged_and_found(admin_client: Client) -> None:
    made = [factories.make_enterprise() for _ in range(3)]
    ids = {str(enterprise.pk): True for enterprise in made}
    flag = make_flag(tenant_overrides=ids)
    with operator_scope():
        # More than a page of tenants that are gone by now.
        gone = {f"00000000-0000-7000-8000-{number:012d}": True for number in range(60)}
        FeatureFlag.objects.filter(pk=flag.pk).update(tenant_overrides={**ids, **gone})

    first = text(admin_client.get(url(flag)))
    second = text(admin_client.get(f"{url(flag)}?tenant_page=2"))
    found = text(admin_client.get(f"{url(flag)}?tenant_q={made[0].slug}"))

    assert "63 tenants with an answer of their own, page 1 of 2" in first
    assert all(enterprise.slug in second for enterprise in made)
    by_id = text(admin_client.get(f"{url(flag)}?tenant_q={made[0].pk}"))
    assert f"{made[0].slug}</a>" in by_id
    assert "(gone)" not in by_id
    assert "1 of 63" in found
    assert made[0].slug in found
    assert f"{made[1].slug}</a>" not in found


# Try it


def try_it(client: Client, thing: Any, **fields: Any) -> str:
    return text(client.post(url(thing, "try"), fields))


def test_try_it__with_attributes__tells_the_answer_and_the_row_that_failed(
    admin_client: Client,
) -> None:
    flag = make_flag(
        rollout_percentage=0,
        rules=[{**RULE, "conditions": {"plan": "business", "device.age": {"$gte": 2}}}],
    )
    await_version(flag)
    rows = {"name": ["plan", "device.age"], "type": ["text", "number"]}

    met = try_it(admin_client, flag, **rows, value=["business", "3"])
    unmet = try_it(admin_client, flag, **rows, value=["business", "1"])
    odd = try_it(admin_client, flag, user="nobody@example.com", **rows, value=["b", "many"])

    assert "TARGETING_MATCH, by r" in met
    assert 'flags-unmet">device.age is at least 2; it is 1<' in unmet
    assert 'flags-met">plan is “business”; it is “business”<' in unmet
    assert "DEFAULT" in unmet
    assert "There is no user “nobody@example.com”." in odd
    assert "attribute 2" in odd


def test_try_it__travellers_own_id__is_taken_as_it_is(admin_client: Client) -> None:
    flag = make_flag(
        rollout_percentage=0, conditions={}, rules=[{**RULE, "conditions": {"user": "Ann 7"}}]
    )
    await_version(flag)
    assert "TARGETING_MATCH, by r" in try_it(admin_client, flag, user=" Ann 7 ")


def test_try_it__tenant_override_and_kill__is_told(
    admin_client: Client, enterprise: Enterprise
) -> None:
    flag = make_flag(tenant_overrides={str(enterprise.pk): False})

    overridden = try_it(admin_client, flag, tenant=enterprise.slug)
    with operator_scope():
        operations.kill_flag(flag=flag, reason="It burns")
    killed = try_it(admin_client, flag, tenant=enterprise.slug)

    assert "tenant override: “off”" in overridden
    assert "the flag is killed: It burns" in killed
    assert "DISABLED" in killed


def test_try_it__draft__answers_as_it_will_once_published(admin_client: Client) -> None:
    weights = {"a": 3300, "b": 3300, "c": 3400}
    flag = make_flag("string")
    version = draft(flag, weights=weights, rules=[{**RULE, "variant": "b", "rollout": 2000}])
    users = [factories.make_operator() for _ in range(6)]

    before = [try_it(admin_client, version, user=user.email) for user in users]
    standing = try_it(admin_client, flag, user=users[0].email)
    admin_client.post(url(version, "publish"), DIALOG)
    after = [try_it(admin_client, fresh(flag), user=user.email) for user in users]

    assert before == after
    assert "STATIC" in standing
    assert all("SPLIT" in page or "TARGETING" in page for page in before)


# Segments and namespaces


def test_segment__made_and_changed__keeps_texts_apart_from_numbers(admin_client: Client) -> None:
    name = flag_name("segment")
    data = {
        "name": name, "description": "Ours", "texts": "u1\r\n 7 \r\nu1\r\n", "numbers": "7\n2.5",
        "by_conditions": '{"plan": "business"}', "reason": REASON,
    }  # fmt: skip

    admin_client.post(f"{SEGMENTS}add/", data)
    with operator_scope():
        segment = FlagSegment.objects.get(name=name)
    page = text(admin_client.get(url(segment)))
    admin_client.post(
        url(segment), {**data, "texts": "u2", "by_conditions": "{}", "base_version": "1"}
    )
    stale = admin_client.post(url(segment), {**data, "base_version": "1"})

    assert segment.members == ["u1", "7", 7, 2.5]
    assert segment.conditions == {"plan": "business"}
    assert "u1" in page
    with operator_scope():
        segment.refresh_from_db()
    assert (segment.members, segment.conditions, segment.version) == (["u2", 7, 2.5], None, 2)
    assert "meanwhile" in text(stale)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"numbers": "many"}, "numbers"),
        ({"texts": "x" * 300}, "texts"),
        ({"by_conditions": '{"a": {"$in": 1}}'}, "by_conditions"),
        ({"by_conditions": "{"}, "by_conditions"),
        ({"by_conditions": '{"a": {"$inGroup": "nowhere"}}'}, "by_conditions"),
        ({"name": "No Name"}, "name"),
        ({"reason": ""}, "reason"),
    ],
)
def test_segment__refused__names_the_field(
    admin_client: Client, fields: dict[str, str], field: str
) -> None:
    name = flag_name("segment")
    data = {"name": name, "by_conditions": "{}", "reason": REASON, **fields}

    response = admin_client.post(f"{SEGMENTS}add/", data)

    assert field in response.context["adminform"].form.errors
    with operator_scope():
        assert not FlagSegment.objects.filter(name=data["name"]).exists()


def test_segment__in_use__names_its_flags_and_stays(admin_client: Client) -> None:
    segment = make_segment(members=["u"])
    flag = make_flag(conditions={"user": {"$inGroup": segment.name}})

    page = text(admin_client.get(url(segment)))
    admin_client.post(url(segment, "delete"), {"post": "yes"})

    assert flag.name in page
    with operator_scope():
        assert FlagSegment.objects.filter(pk=segment.pk).exists()


def test_segment__checked_while_typing__names_the_place(admin_client: Client) -> None:
    data = {"by_conditions": '{"$or": [{"a": {"$size": -1}}]}'}

    found = admin_client.post(f"{SEGMENTS}check/", data).json()["faults"]

    assert [fault["field"] for fault in found] == ["conditions.$or[0].a.$size"]


def test_namespace__holdout_in_per_cent__is_kept_and_refused_over_a_flag(
    admin_client: Client,
) -> None:
    namespace = make_namespace(holdout=1000)
    flag = make_flag(namespace=namespace.name, namespace_range=[0, 5000])

    page = text(admin_client.get(url(namespace)))
    over = admin_client.post(url(namespace), {"holdout": "60", "reason": REASON})
    admin_client.post(url(namespace), {"holdout": "12.5", "reason": REASON})

    assert flag.name in page
    assert "held out" in page
    assert "reach beyond 40 %" in str(over.context["adminform"].form.errors["holdout"])
    with operator_scope():
        namespace.refresh_from_db()
    assert namespace.holdout == 1250


def test_document_of__edited_without_a_change__is_refused(admin_client: Client) -> None:
    flag = make_flag()
    with operator_scope():
        document = document_of(fresh(flag))

    response = save(admin_client, flag, definition=document)

    assert "definition" in faults(response)
    assert statuses(flag) == ["active"]


def test_suggest__while_typing__names_what_the_operator_may_see(
    admin_client: Client, enterprise: Enterprise
) -> None:
    viewer, _ = member("viewers")
    query = {"of": enterprise.slug[:-1]}

    assert enterprise.slug in text(admin_client.get(f"{FLAGS}suggest/tenant/", query))
    assert text(viewer.get(f"{FLAGS}suggest/tenant/", query)) == ""
    assert admin_client.get(f"{FLAGS}suggest/nonsense/", query).status_code == 404


# What is made of flags


def test_use__counted__is_drawn_by_variant_with_the_reasons(
    admin_client: Client, app_role: Any
) -> None:
    flag, unread = make_flag(), make_flag()
    counted = [
        {"flag": flag.name, "variant": "on", "reason": "STATIC", "hits": 41},
        {"flag": flag.name, "variant": "off", "reason": "DISABLED", "hits": 1},
    ]
    app_role.execute("select record_flag_evaluations(%s)", [json.dumps(counted)])

    page = text(admin_client.get(f"{url(flag)}?span=month"))
    other = text(admin_client.get(url(unread)))
    seeded = FLAGS + "?q=enhanced_search&state=all"

    assert "42 evaluations within 30 days" in page
    assert "&quot;label&quot;: &quot;off&quot;" in page
    assert "DISABLED" in page
    assert "Nobody asked for it within 24 hours." in other
    assert "enhanced_search" in text(admin_client.get(seeded))


def test_stale__past_its_expiry__is_reported_and_filtered(admin_client: Client) -> None:
    stale, fine = make_flag(expires_date="2020-01-31"), make_flag()

    report = text(admin_client.get(f"{FLAGS}stale/"))
    listed = text(admin_client.get(f"{FLAGS}?state=stale&q={stale.name}"))

    assert stale.name in report
    assert "31 January 2020" in report
    assert fine.name not in report
    assert stale.name in listed


# Drafts that others overtook


def test_draft__edited_by_two__tells_the_second_and_keeps_both(admin_client: Client) -> None:
    flag = make_flag()
    version = draft(flag, description="first")
    form = admin_client.get(url(version, "edit")).context["form"]
    mine = {
        "definition": json.dumps(edited(flag, description="mine")), "reason": REASON,
        "seen": form["seen"].value(),
    }  # fmt: skip
    with operator_scope():
        operations.revise_change(
            version=version,
            definition=edited(flag, description="theirs"),
            reason=REASON,
            actor=None,
        )

    response = admin_client.post(url(version, "edit"), mine)

    page = text(response)
    assert "Somebody else changed this draft meanwhile" in page
    assert "theirs" in page
    assert "mine" in page
    with operator_scope():
        assert FlagVersion.objects.get(pk=version.pk).definition["description"] == "theirs"
    admin_client.post(
        url(version, "edit"), {**mine, "seen": response.context["form"]["seen"].value()}
    )
    with operator_scope():
        assert FlagVersion.objects.get(pk=version.pk).definition["description"] == "mine"


def test_draft__from_an_older_version__is_brought_together_with_what_holds(
    admin_client: Client,
) -> None:
    flag = make_flag(description="old", rollout_percentage=10)
    version = draft(flag, description="mine")
    save(admin_client, flag, changes={"rollout_percentage": 20})

    page = text(admin_client.get(url(version)))
    again = f"{url(flag, 'edit')}?from={version.number}"
    form = admin_client.get(again).context["form"]

    assert again in page
    definition = json.loads(form["definition"].value())
    assert (definition["description"], definition["rollout_percentage"]) == ("mine", 20)
    assert form["reason"].value() == version.reason
    for odd in ("x", "99", "²"):
        assert admin_client.get(f"{url(flag, 'edit')}?from={odd}").status_code == 200


def test_try_it__tenant_or_users_own__brings_its_plan(
    admin_client: Client, enterprise: Enterprise
) -> None:
    flag = make_flag(rollout_percentage=0, rules=[{**RULE, "conditions": {"plan": "free"}}])
    with operator_scope():
        user = User.objects.create_user(f"{enterprise.slug}@example.com", enterprise=enterprise)

    by_tenant = try_it(admin_client, flag, tenant=enterprise.slug)
    by_user = try_it(admin_client, flag, user=user.email)
    typed = try_it(
        admin_client, flag, tenant=enterprise.slug, name="plan", type="text", value="business"
    )

    for page in (by_tenant, by_user):
        assert str(enterprise.pk) in page
        assert "plan is “free”; it is “free”" in page
    assert "plan is “free”; it is “business”" in typed


def test_page__of_a_row_that_makes_no_sense__says_so(admin_client: Client) -> None:
    name = plant_flag(known=False, prerequisites=[{"flag": "x", "variants": 7}])
    until(lambda: isinstance(flags.directory.get().flags.get(name), BrokenFlag))
    with operator_scope():
        flag = FeatureFlag.objects.get(name=name)

    page = text(admin_client.get(url(flag)))
    tried = try_it(admin_client, flag)

    assert "makes no sense" in page
    assert "There are no two versions." in page
    assert "makes no sense" in tried
    with operator_scope():
        FeatureFlag.objects.filter(pk=flag.pk).update(prerequisites=[], is_archived=True)
