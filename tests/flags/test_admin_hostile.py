"""The admin of flags under odd addresses, odd documents, and people without the permission."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.flags import operations
from layoverhq.tenancy import operator_scope
from tests.flags.experimenting import make_experiment, make_weighed_flag
from tests.flags.factories import draft, edited, fresh, make_flag, make_namespace, make_segment
from tests.flags.test_admin import DIALOG, REASON, member, status, url
from tests.tenants import factories

DEEP = "[" * 900 + "]" * 900
ODD = ("%00", "%ff%fe", "99999999999999999999", "-1", "%ED%A0%80", "'\"><script>x</script>")
LISTS = ("featureflag", "flagversion", "flagsegment", "flagnamespace", "experiment")


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("model", LISTS)
def test_lists__odd_query__never_fail(admin_client: Client, model: str, value: str) -> None:
    make_flag()
    names = (
        "p", "q", "o", "e", "all", "state", "tag", "owner", "status", "flag", "value_type__exact",
        "is_protected__exact", "id__exact", "name", "_facets", "_changelist_filters",
    )  # fmt: skip
    for name in names:
        response = admin_client.get(f"/admin/flags/{model}/?{name}={value}")
        assert response.status_code in (200, 302, 400), (name, response.status_code)
        assert b"<script>x</script>" not in response.content


@pytest.mark.parametrize("value", ODD)
def test_pages__odd_query__never_fail(admin_client: Client, value: str) -> None:
    user = factories.make_operator()
    flag = make_flag(user_overrides={str(user.pk): True})
    version = draft(flag, description="other")
    names = (
        "left", "right", "whole", "span", "tenant_q", "tenant_page", "user_q", "user_page", "tab",
        "of", "to", "reason", "from", "_changelist_filters", "p", "page",
    )  # fmt: skip
    for name in names:
        for page in (url(flag), url(version), url(flag, "edit"), url(version, "edit")):
            response = admin_client.get(f"{page}?tab=users&{name}={value}")
            assert response.status_code in (200, 302), (page, name, response.status_code)
            assert b"<script>x</script>" not in response.content
    for kind in ("user", "tenant", "nobody"):
        address = reverse("admin:flags_featureflag_suggest", args=[kind])
        response = admin_client.get(f"{address}?x={value}")
        assert response.status_code in (200, 404)
        assert b"<script>" not in response.content


@pytest.mark.parametrize(
    "of", ["xyz", "00000000-0000-0000-0000-000000000000", "%00", "a/b", "1" * 300]
)
@pytest.mark.parametrize("model", LISTS)
def test_pages__of_what_is_not_there__never_fail(admin_client: Client, model: str, of: str) -> None:
    verbs = (
        "change", "delete", "history", "edit", "turn-on", "turn-off", "kill", "archive", "restore",
        "submit", "approve", "publish", "schedule", "unschedule", "roll-back", "reject", "start",
        "stop", "ship", "discard", "try", "override", "check",
    )  # fmt: skip
    for verb in verbs:
        address = f"/admin/flags/{model}/{of}/{verb}/"
        for response in (admin_client.get(address), admin_client.post(address, DIALOG)):
            assert response.status_code in (200, 302, 403, 404, 405), (verb, response.status_code)


def test_pages__with_markup_in_every_text__show_it_as_text(admin_client: Client) -> None:
    markup = "</script><script>x</script><img src=x onerror=x>'\""
    user = factories.make_operator()
    segment = make_segment(members=[markup], description=markup, conditions={markup: markup})
    make_namespace(description=markup)
    rule = {"id": "r", "description": markup, "conditions": {markup: {"$in": [markup]}}}
    flag = make_flag(
        "string",
        description=markup,
        on_variant="a",
        tags=[markup[:50].strip()],
        variants=[{"key": "off", "value": markup}, {"key": "a", "value": markup}],
        conditions={"user": {"$inGroup": segment.name}, markup: {"$ne": markup}},
        rules=[{**rule, "rollout": 10_000, "variant": "a"}],
        user_overrides={str(user.pk): "a"},
        expires_date="2020-01-01",
    )
    version = draft(flag, description=f"{markup} again")
    with operator_scope():
        operations.revise_change(
            version=version, definition=version.definition, reason=markup, actor=None
        )
        operations.kill_flag(flag=flag, reason=markup)
    make_experiment(make_weighed_flag(), name=markup, hypothesis=markup)
    lists = tuple(f"/admin/flags/{model}/" for model in LISTS)
    pages = (
        *lists, f"{lists[0]}?state=all", f"{lists[0]}stale/", f"{lists[1]}?status=all", url(flag),
        url(version), url(flag, "edit"), f"{url(flag, 'edit')}?from={version.number}",
        url(version, "edit"), url(segment), f"{url(version)}?whole=1", f"{url(flag)}?whole=1",
    )  # fmt: skip
    attribute = {"name": markup, "type": "text", "value": markup}
    answers = [
        *(admin_client.get(page) for page in pages),
        *(admin_client.post(url(thing, "try"), attribute) for thing in (flag, version)),
        admin_client.post(url(flag, "try"), {"user": markup}),
        admin_client.post(url(flag, "edit"), {"definition": markup, "reason": markup}),
        admin_client.post(url(flag, "override"), {"of": markup, "reason": REASON}, follow=True),
        admin_client.post(f"{lists[0]}import/", {"text": f'"{markup}": 1'}),
    ]
    shown = 0
    for answer in answers:
        content = answer.content.decode()
        assert answer.status_code == 200
        assert "<script>x" not in content
        assert "<img src=x" not in content
        shown += "&lt;img src=x" in content or "\\u003Cimg src=x" in content
    assert shown > 12


@pytest.mark.parametrize(
    "definition",
    [
        DEEP, '{"a": ' + DEEP + "}", "1e999", '"\\ud800"', '{"\\ud800": 1}', '{"a": "\\u0000"}',
        '{"rollout_percentage": "x", "rules": {}}', "null", "[" * 100_000, "[1" + "0" * 5000 + "]",
    ],
)  # fmt: skip
def test_editor__hostile_document__is_refused_wherever_it_is_sent(
    admin_client: Client, definition: str
) -> None:
    flag = make_flag()
    version = draft(flag, description="other")
    base = fresh(flag).version
    data = {"definition": definition, "reason": REASON, "publish": "1"}
    for address, more in (
        (url(flag, "edit"), {"base_version": base}),
        (url(flag, "edit"), {"base_version": base + 7}),
        (url(flag, "edit"), {"base_version": 10**30}),
        (url(version, "edit"), {}),
        (url(version, "edit"), {"seen": "another"}),
        ("/admin/flags/featureflag/add/", {"name": "some", "value_type": "json"}),
        (url(flag, "check"), {}),
        (reverse("admin:flags_featureflag_check_new"), {"name": "a\x00b", "value_type": "\x00"}),
    ):
        response = admin_client.post(address, {**data, **more})
        assert response.status_code == 200, address
    assert fresh(flag).version == base


@pytest.mark.parametrize(
    "name",
    [
        "description", "rollout_percentage", "rules", "weights", "steps", "tags", "owner",
        "variants", "prerequisites", "bucketing_unit", "namespace", "namespace_range",
        "tenant_overrides", "user_overrides", "conditions", "on_variant", "expires_date",
    ],
)  # fmt: skip
def test_editor__member_of_any_type__is_refused(admin_client: Client, name: str) -> None:
    flag = make_flag()
    for odd in (
        "\ud800",
        "\x00",
        {"\ud800": 1},
        [["x"]],
        {"a": [{"b": {}}]},
        1e300,
        -1,
        True,
        [1],
        "x" * 20,
    ):
        document = {**edited(flag), name: odd}
        data = {"definition": json.dumps(document), "reason": REASON, "publish": "1"}
        for base in (fresh(flag).version, 0):
            assert admin_client.post(
                url(flag, "edit"), {**data, "base_version": base}
            ).status_code in (200, 302)
        assert admin_client.post(url(flag, "check"), data).status_code == 200
        admin_client.get(url(flag))


@pytest.mark.parametrize(
    "row",
    [
        ("a." * 50_000, "text", "x"), ("a", "json", DEEP), ("a", "json", '"\\ud800"'),
        ("user", "json", '"\\ud800"'), ("a", "number", "1e999"), ("user", "number", "1e999"),
        ("a", "json", "[" * 100_000), ("user", "json", '{"a": ' + DEEP + "}"),
        ("a\x00", "text", "\x00"),
    ],
)  # fmt: skip
def test_try_it__hostile_attribute__is_answered(
    admin_client: Client, row: tuple[str, str, str]
) -> None:
    flag = make_flag(
        rollout_percentage=50,
        conditions={"a": {"$ne": [[1]]}, "b": {"$exists": False}},
        tenant_overrides={},
        rules=[],
    )
    for thing in (flag, draft(flag, description="x")):
        data = dict(zip(("name", "type", "value"), row, strict=True))
        assert admin_client.post(url(thing, "try"), data).status_code == 200


@pytest.mark.parametrize(
    "document",
    [
        'flags: {"\\ud800": {value_type: boolean}}',
        'flags: {a: {value_type: boolean, tenant_overrides: {"\\ud800": true}}}',
        'flags: {a: {value_type: boolean, user_overrides: {"\\ud800": true}}}',
        'flags: {a: {value_type: boolean, owner: "\\ud800"}}',
        'flags: {a: {value_type: boolean, owner: "\\0"}}',
        'flags: {a: {value_type: [1], tags: {a: 1}, rules: 3}}',
        'namespaces: {a: {description: "\\ud800", holdout: 5}}',
        'namespaces: {a: {description: x, holdout: x}}',
        'segments: {a: {description: "\\ud800"}}',
        'segments: {"\\ud800": {description: x}}',
        'segments: {a: {members: {a: 1}, conditions: [1]}}',
    ],
)  # fmt: skip
def test_import__hostile_document__is_refused(admin_client: Client, document: str) -> None:
    text = f"format: layoverhq-flags\nversion: 1\n{document}\n"
    response = admin_client.post("/admin/flags/featureflag/import/", {"text": text})
    assert response.status_code == 200


def granted(*codenames: str) -> Client:
    user = factories.make_operator(superuser=False)
    with operator_scope():
        found = Permission.objects.filter(content_type__app_label="flags", codename__in=codenames)
        assert len(found) == len(codenames)
        user.user_permissions.set(found)
    return factories.make_admin_client(user)


VIEWS = tuple(
    f"view_{model}" for model in ("featureflag", "flagversion", "flagsegment", "flagnamespace")
)


def test_pages__without_the_permission__change_nothing_by_get_or_post() -> None:
    """Every custom page, by somebody who sees everything, and by somebody who sees nothing."""
    flag = make_flag()
    with operator_scope():
        superseded = flag.versions.get()
    versions = [draft(flag, description="x"), superseded]
    segment, namespace = make_segment(members=["u"]), make_namespace()
    sent = {
        **DIALOG, "kind": "tenant", "of": "x",
        "definition": json.dumps(edited(flag, enabled=False)),
        "base_version": flag.version, "publish": "1", "text": "format: x", "import": "1",
        "post": "yes", "description": "changed", "holdout": "5", "activate_at": "2100-01-01T00:00",
    }  # fmt: skip
    addresses = [
        *(url(flag, name) for name in (
            "edit", "turn_on", "turn_off", "archive", "restore", "stop", "override", "check",
        )),
        *(url(version, name) for version in versions for name in (
            "edit", "submit", "approve", "publish", "schedule", "unschedule", "roll_back", "reject",
        )),
        *(url(thing, name) for thing in (segment, namespace) for name in ("change", "delete")),
        *(url(thing, "delete") for thing in (flag, *versions)),
        *(reverse(f"admin:flags_{model}_add") for model in LISTS),
        reverse("admin:flags_featureflag_import_yaml"),
        reverse("admin:flags_featureflag_check_new"),
        reverse("admin:flags_flagsegment_check"),
    ]  # fmt: skip
    for client, may_see in ((granted(*VIEWS), True), (granted(), False)):
        for address in addresses:
            shows = may_see and address in (url(segment), url(namespace))
            assert client.get(address).status_code == (200 if shows else 403), address
            assert client.post(address, sent).status_code == 403, address
        for address in ("export", "stale", "suggest/user"):
            found = client.get(f"/admin/flags/featureflag/{address}/").status_code
            assert found == (200 if may_see else 403), address
        for name in ("turn_off_selected", "kill_selected"):
            data = {"action": name, "_selected_action": [str(flag.pk)], "confirmed": "1"}
            client.post("/admin/flags/featureflag/", {**data, "reason": REASON})
    now = fresh(flag)
    assert (now.enabled, now.is_killed, now.version) == (True, False, 1)
    with operator_scope():
        assert [version.status for version in flag.versions.order_by("number")] == [
            "active",
            "draft",
        ]
        segment.refresh_from_db()
        namespace.refresh_from_db()
    assert (segment.members, namespace.holdout) == (["u"], 0)


def test_pages__without_the_token_of_a_form__are_refused() -> None:
    client = factories.make_admin_client(factories.make_operator())
    client.handler.enforce_csrf_checks = True
    flag = make_flag()
    for name in ("stop", "override", "edit", "archive", "check", "try"):
        assert client.post(url(flag, name), DIALOG).status_code == 403, name
    assert (fresh(flag).is_killed, fresh(flag).version) == (False, 1)


def test_import__by_who_may_add_but_not_change__is_refused() -> None:
    flag = make_flag()
    text = (
        "format: layoverhq-flags\nversion: 1\n"
        f"flags: {{{flag.name}: {{value_type: boolean, description: changed}}}}\n"
    )
    needed = (
        "add_featureflag", "publish_flagversion", "change_featureflag", "add_flagsegment",
        "change_flagsegment", "add_flagnamespace", "change_flagnamespace",
    )  # fmt: skip
    for missing in needed:
        client = granted(*VIEWS, *(name for name in needed if name != missing))
        response = client.post("/admin/flags/featureflag/import/", {"text": text})
        assert response.status_code == 403, missing
    response = granted(*VIEWS, *needed).post("/admin/flags/featureflag/import/", {"text": text})
    assert flag.name in response.content.decode()


def test_approve__of_a_draft_that_was_edited_since_its_page__is_refused() -> None:
    reviewer, _ = member("reviewers")
    flag = make_flag(is_protected=True)
    version = draft(flag, rollout_percentage=1)
    with operator_scope():
        operations.submit_change(version=version)
    page = reviewer.get(url(version))
    path = {item["title"]: item["path"] for item in page.context["actions_detail"]}["Approve…"]
    with operator_scope():
        operations.revise_change(
            version=version, definition=edited(flag, enabled=True), reason=REASON, actor=None
        )
        operations.submit_change(version=version)

    response = reviewer.post(path, DIALOG, follow=True)

    assert "Somebody else changed this draft meanwhile" in response.content.decode()
    assert status(version) == "in_review"
    page = reviewer.get(url(version))
    path = {item["title"]: item["path"] for item in page.context["actions_detail"]}["Approve…"]
    reviewer.post(path, DIALOG)
    assert status(version) == "approved"


def test_namespace__changed_by_two__keeps_the_first_and_tells_the_second(
    admin_client: Client,
) -> None:
    namespace = make_namespace()
    seen = admin_client.get(url(namespace)).context["adminform"].form["seen"].value()
    data = {"holdout": "10", "description": "", "reason": REASON, "seen": seen}
    assert admin_client.post(url(namespace), data).status_code == 302

    second = admin_client.post(url(namespace), {**data, "holdout": "0", "description": "mine"})

    assert "was changed meanwhile" in second.content.decode()
    with operator_scope():
        namespace.refresh_from_db()
    assert (namespace.holdout, namespace.description) == (1000, "")


def test_import__of_another_encoding__is_refused(admin_client: Client) -> None:

    text = "format: layoverhq-flags\nversion: 1\n"
    for data in (text.encode("utf-16"), b"\xff\xff", text.encode() + b"\x00"):
        file = SimpleUploadedFile("flags.yaml", data)
        response = admin_client.post("/admin/flags/featureflag/import/", {"file": file})
        assert response.status_code == 200
