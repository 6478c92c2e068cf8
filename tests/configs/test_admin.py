"""Configuration in the admin: what operators see, change, and are kept from."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.configs import operations
from apps.configs.documents import DocumentValue, read_document, write_document
from apps.configs.models import ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import Proposal
from apps.configs.values import Declaration, sealed
from apps.tenants.models import Enterprise, User
from layoverhq.tenancy import operator_scope
from tests.isolation import roles
from tests.tenants import factories
from tests.tenants.factories import unique

KEYS = "/admin/configs/configkey/"
SETS = "/admin/configs/configchangeset/"
VERSIONS = "/admin/configs/systemconfig/"
DIALOG = {"_form_submitted": "True", "reason": "Because of a test"}
HUSH = "hush-hush-4711"


def declare(value_type: str = "number", **fields: Any) -> ConfigKey:
    fields = {
        "category_id": "runtime",
        "description": "Of a test.",
        "default_value": {"number": 5, "boolean": False, "string": "x"}.get(value_type),
        **fields,
    }
    name = f"test.{unique('k').replace('-', '_')}"
    with operator_scope():
        return operations.save_declaration(key=ConfigKey(key=name, value_type=value_type, **fields))


def declare_secret() -> ConfigKey:
    return declare("string", is_secret=True, default_value=None)


def publish(key: ConfigKey, value: Any, enterprise: Enterprise | None = None) -> SystemConfig:
    with operator_scope():
        change_set = operations.draft_change_set(
            title="Before", reason="before the test", actor=None,
            proposals=[Proposal(key.pk, value, enterprise)],
        )  # fmt: skip
        operations.publish_change_set(change_set=change_set)
        return change_set.items.get()


def draft(*keys: ConfigKey, actor: User | None = None, value: Any = 7) -> ConfigChangeSet:
    with operator_scope():
        return operations.draft_change_set(
            title=unique("Set"), reason="for the test", actor=actor,
            proposals=[Proposal(key.pk, value) for key in keys],
        )  # fmt: skip


def member(group: str) -> tuple[Client, User]:
    """A client of an operator who belongs to this group only."""
    user = factories.make_operator(superuser=False)
    with operator_scope():
        user.groups.add(Group.objects.get(name=f"Configuration {group}"))
    return factories.make_admin_client(user), user


def key_url(key: ConfigKey, name: str = "change") -> str:
    return reverse(f"admin:configs_configkey_{name}", args=[quote(key.pk)])


def set_url(change_set: ConfigChangeSet, name: str = "change") -> str:
    return reverse(f"admin:configs_configchangeset_{name}", args=[change_set.pk])


def version_url(version: SystemConfig, name: str = "change") -> str:
    return reverse(f"admin:configs_systemconfig_{name}", args=[version.pk])


def versions(key: ConfigKey, enterprise: Enterprise | None = None) -> list[tuple[int, Any, str]]:
    with operator_scope():
        found = SystemConfig.objects.of(key.pk, enterprise.pk if enterprise else None)
        return list(found.order_by("version").values_list("version", "value", "status"))


def stage(change_set: ConfigChangeSet) -> str:
    with operator_scope():
        return ConfigChangeSet.objects.get(pk=change_set.pk).stage


def next_page(client: Client, response: HttpResponse) -> str:
    return client.get(response.headers.get("HX-Redirect") or response["Location"]).content.decode()


def edit(client: Client, key: ConfigKey, value: str, **fields: Any) -> HttpResponse:
    data = {"value": value, "base_version": 0, "reason": "Because of a test", **fields}
    query = fields.pop("query", "")
    return client.post(key_url(key, "change_value") + query, data)


def errors_of(response: HttpResponse) -> dict[str, Any]:
    assert response.status_code == 200, response
    return dict(response.context["form"].errors)


# The list


def test_keys__list__shows_values_and_filters(admin_client: Client, enterprise: Enterprise) -> None:
    plain = declare(schema={"x-unit": "minutes"})
    secret = declare_secret()
    publish(plain, 8)
    publish(plain, 9, enterprise)
    publish(secret, HUSH)

    page = admin_client.get(f"{KEYS}?q={plain.pk}").content.decode()
    by_tenant = admin_client.get(f"{KEYS}?tenant={enterprise.slug}").content.decode()
    secrets = admin_client.get(f"{KEYS}?is_secret__exact=1&q={secret.pk}").content.decode()
    at_default = admin_client.get(f"{KEYS}?status=default&q=web.thr").content.decode()

    assert "8 minutes" in page
    assert not {word for word in (HUSH, "sealed:") if word in page}
    assert [key.pk in by_tenant for key in (plain, secret)] == [True, False]
    assert [key.pk in secrets for key in (plain, secret)] == [False, True]
    assert [key in at_default for key in ("web.threads", plain.pk)] == [True, False]


@pytest.mark.parametrize(
    "query",
    [
        "category__name__exact=security", "status=draft", "status=scheduled", "status=staged",
        "status=active", "requires_restart__exact=1", "tenant_overridable__exact=1",
        "status=nonsense", "tenant=nobody",
    ],
)  # fmt: skip
def test_keys__filter__answers(admin_client: Client, query: str) -> None:
    assert admin_client.get(f"{KEYS}?{query}").status_code == 200


# Declarations


def declaration(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "key": name, "value_type": "number", "category": "runtime", "description": "Of a test.",
        "schema": "{}", "default_value": "5", **fields,
    }  # fmt: skip


def test_declare__with_bounds__makes_the_schema(admin_client: Client) -> None:
    name = f"test.{unique('d').replace('-', '_')}"

    response = admin_client.post(
        f"{KEYS}add/",
        declaration(name, minimum="1", maximum="9.5", unit="minutes", whole="on"),
    )

    assert response.status_code == 302
    with operator_scope():
        key = ConfigKey.objects.get(pk=name)
    assert key.schema == {"minimum": 1, "maximum": 9.5, "x-unit": "minutes", "type": "integer"}
    assert (key.default_value, key.version) == (5, 1)


def test_declare__choices_of_text__are_an_enumeration(admin_client: Client) -> None:
    name = f"test.{unique('d').replace('-', '_')}"

    admin_client.post(
        f"{KEYS}add/",
        declaration(name, value_type="string", default_value="red", choices="red\r\ngreen\r\n"),
    )

    with operator_scope():
        key = ConfigKey.objects.get(pk=name)
    assert (key.schema, key.default_value) == ({"enum": ["red", "green"]}, "red")
    page = admin_client.get(key_url(key, "change_value")).content.decode()
    assert "<select" in page
    assert "green" in page


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"key": "NoDots"}, "key"),
        ({"key": "a.b\x00"}, "key"),
        ({"schema": "[]"}, "schema"),
        ({"schema": '{"$ref": "http://example.com"}'}, "schema"),
        ({"schema": '{"type": "nonsense"}'}, "schema"),
        ({"schema": '{"a": 1, "a": 2}'}, "schema"),
        ({"pattern": "(a+)+"}, "schema"),
        ({"minimum": "much"}, "minimum"),
        ({"default_value": "text"}, "default_value"),
        ({"default_value": "NaN"}, "default_value"),
        ({"minimum": "7"}, "default_value"),
        ({"is_secret": "on"}, "default_value"),
        ({"tenant_overridable": "on"}, "tenant_visible"),
        ({"category": "nonsense"}, "category"),
        ({"description": ""}, "description"),
    ],
)
def test_declare__bad_field__is_named_and_nothing_is_declared(
    admin_client: Client, fields: dict[str, str], field: str
) -> None:
    name = f"test.{unique('d').replace('-', '_')}"

    response = admin_client.post(f"{KEYS}add/", declaration(name, **fields))

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    with operator_scope():
        assert not ConfigKey.objects.filter(pk=name).exists()


def test_declaration__edited_meanwhile__is_refused(admin_client: Client) -> None:
    key = declare()
    with operator_scope():
        key.description = "By somebody else."
        operations.save_declaration(key=key, base_version=1)

    response = admin_client.post(
        key_url(key), {"description": "By me.", "schema": "{}", "base_version": "1"}
    )

    assert "was changed meanwhile" in response.content.decode()
    with operator_scope():
        assert ConfigKey.objects.get(pk=key.pk).description == "By somebody else."


def test_declaration__edited__keeps_what_never_changes(admin_client: Client) -> None:
    key = declare()

    response = admin_client.post(
        key_url(key),
        {
            "description": "Better.", "schema": "{}", "minimum": "2", "base_version": "1",
            "value_type": "string", "is_secret": "on", "category": "security",
            "default_value": "9",
        },
    )  # fmt: skip

    assert response.status_code == 302
    with operator_scope():
        stored = ConfigKey.objects.get(pk=key.pk)
    assert (stored.description, stored.schema, stored.version) == ("Better.", {"minimum": 2}, 2)
    assert (stored.value_type, stored.is_secret, stored.category_id, stored.default_value) == (
        "number", False, "runtime", 5,
    )  # fmt: skip


def test_withdraw__never_valued__is_gone_and_valued_one_stays(admin_client: Client) -> None:
    fresh, valued = declare(), declare()
    publish(valued, 6)

    admin_client.post(key_url(fresh, "withdraw"))
    admin_client.post(key_url(valued, "withdraw"))

    with operator_scope():
        assert not ConfigKey.objects.filter(pk=fresh.pk).exists()
        assert ConfigKey.objects.filter(pk=valued.pk).exists()


# Values


def test_edit__published__holds_and_is_audited_with_the_reason(admin_client: Client) -> None:
    key = declare(schema={"x-unit": "minutes"})

    response = edit(admin_client, key, "8", publish="1")

    page = next_page(admin_client, response)
    assert f"“{key.pk}” is now 8 minutes, version 1." in page
    assert versions(key) == [(1, 8, "active")]
    with operator_scope():
        event = AuditEvent.objects.filter(
            table_name="system_configs", new_values__key=key.pk, operation="INSERT"
        ).get()
    assert event.reason == "Because of a test"
    assert event.new_values["value"] == 8


def test_edit__as_draft__waits(admin_client: Client) -> None:
    key = declare()

    response = edit(admin_client, key, "8", draft="1")

    assert "Drafted" in next_page(admin_client, response)
    assert versions(key) == [(1, 8, "draft")]
    assert "Draft" in admin_client.get(key_url(key)).content.decode()


@pytest.mark.parametrize(
    "value", ["11", "0", "NaN", "Infinity", "1e400", "9007199254740993", "text", "", "true", "[1]"]
)
def test_edit__value_out_of_bounds__is_a_field_error(admin_client: Client, value: str) -> None:
    key = declare(schema={"minimum": 1, "maximum": 10})

    response = edit(admin_client, key, value, publish="1")

    assert "value" in errors_of(response)
    assert versions(key) == []


def test_edit__megabyte_of_json__is_a_field_error(admin_client: Client) -> None:
    key = declare("json", default_value={})

    response = edit(admin_client, key, '{"a": "' + "x" * 1_000_000 + '"}', publish="1")

    assert "262,144" in str(errors_of(response)["value"])
    assert versions(key) == []


@pytest.mark.parametrize(
    "value", ['{"a": "\\ud800"}', '{"a": "\\u0000"}', '{"a": 1, "a": 2}', "[" * 5000, '{"a": NaN}']
)
def test_edit__json_that_cannot_be_stored__is_a_field_error(
    admin_client: Client, value: str
) -> None:
    key = declare("json", default_value={})

    response = edit(admin_client, key, value, publish="1")

    assert "value" in errors_of(response)
    assert versions(key) == []


def test_edit__without_reason__is_refused(admin_client: Client) -> None:
    key = declare()

    response = edit(admin_client, key, "8", publish="1", reason="")

    assert "reason" in errors_of(response)
    assert versions(key) == []


def test_edit__changed_meanwhile__shows_the_difference_and_only_then_overwrites(
    admin_client: Client,
) -> None:
    key = declare()
    publish(key, 6)
    publish(key, 7)

    response = edit(admin_client, key, "8", base_version=1, publish="1")

    page = response.content.decode()
    assert "meanwhile, to version 2" in page
    assert page.count('class="flex flex-col gap-2 difference"') == 2
    assert versions(key) == [(1, 6, "superseded"), (2, 7, "active")]
    seen = re.search(r'name="base_version" value="(\d+)"', page)
    assert seen is not None
    assert seen[1] == "2"
    edit(admin_client, key, "8", base_version=seen[1], publish="1")
    assert versions(key)[-1] == (3, 8, "active")


def test_edit__one_tenant__sets_its_override_only(
    admin_client: Client, enterprise: Enterprise
) -> None:
    key = declare()

    response = edit(admin_client, key, "8", publish="1", query=f"?tenant={enterprise.slug}")

    assert f"is now 8 for {enterprise}" in next_page(admin_client, response)
    assert versions(key, enterprise) == [(1, 8, "active")]
    assert versions(key) == []
    assert admin_client.get(key_url(key, "change_value") + "?tenant=nobody").status_code == 404


def test_edit__cleared__leaves_the_default(admin_client: Client) -> None:
    key = declare()
    publish(key, 6)

    edit(admin_client, key, "", base_version=1, clear="on", publish="1")

    assert versions(key) == [(1, 6, "superseded"), (2, None, "active")]
    assert "The declared default." in admin_client.get(key_url(key)).content.decode()


def test_edit__switch__off_is_false(admin_client: Client) -> None:
    key = declare("boolean", default_value=True)

    admin_client.post(
        key_url(key, "change_value"),
        {"base_version": 0, "reason": "Because of a test", "publish": "1"},
    )

    assert versions(key) == [(1, False, "active")]


def test_edit__with_an_end__comes_back(admin_client: Client) -> None:
    key = declare()
    publish(key, 6)
    until = timezone.now() + timedelta(hours=2)

    edit(admin_client, key, "8", base_version=1, publish="1", expires_at=f"{until:%Y-%m-%dT%H:%M}")
    with operator_scope():
        operations.expire_values(now=until + timedelta(minutes=1))

    assert [value for _, value, _ in versions(key)] == [6, 8, 6]
    assert versions(key)[-1][2] == "active"


def test_edit__protected_key__offers_no_publishing_and_refuses_it(admin_client: Client) -> None:
    key = declare(category_id="security")

    page = admin_client.get(key_url(key, "change_value")).content.decode()
    response = edit(admin_client, key, "8", publish="1")

    assert 'name="publish"' not in page
    assert "has to approve it" in str(errors_of(response))
    assert versions(key) == []


def test_check__while_typing__says_what_is_wrong(admin_client: Client) -> None:
    key = declare(schema={"maximum": 10})
    url = reverse("admin:configs_configkey_check", args=[quote(key.pk)])

    assert "At most 10" in admin_client.post(url, {"value": "11"}).content.decode()
    assert "can be its value" in admin_client.post(url, {"value": "9"}).content.decode()


def test_override_many__preview_then_publish__changes_all_but_the_equal(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    key = declare()
    publish(key, 8, enterprise)
    data = {
        "tenants": f"{enterprise.slug}, {other_enterprise.slug}",
        "value": "8",
        "reason": "Because of a test",
    }

    preview = admin_client.post(key_url(key, "override_many"), {**data, "preview": "1"})
    assert "1 tenant would change, 1 already so and left out" in preview.content.decode()
    assert versions(key, other_enterprise) == []
    admin_client.post(key_url(key, "override_many"), {**data, "publish": "1"})

    assert versions(key, other_enterprise) == [(1, 8, "active")]
    assert versions(key, enterprise) == [(1, 8, "active")]
    page = admin_client.get(key_url(key)).content.decode()
    assert str(enterprise) in page
    assert str(other_enterprise) in page


def test_override_many__unknown_slug__is_named_and_nothing_changes(
    admin_client: Client, enterprise: Enterprise
) -> None:
    key = declare()

    response = admin_client.post(
        key_url(key, "override_many"),
        {"tenants": f"{enterprise.slug} nobody", "value": "8", "reason": "Test", "publish": "1"},
    )

    assert "“nobody”" in str(errors_of(response)["tenants"])
    assert versions(key, enterprise) == []


def test_explain__tenant__shows_what_holds_and_what_it_hides(
    admin_client: Client, enterprise: Enterprise
) -> None:
    key = declare()
    publish(key, 6)
    publish(key, 7, enterprise)

    page = admin_client.get(f"{key_url(key)}?tenant={enterprise.slug}").content.decode()
    platform = admin_client.get(key_url(key)).content.decode()

    explained = page[page.index("dataset-explain-group") :]
    layers = ("The tenant&#x27;s own value", "The platform&#x27;s value", "The declared default")
    order = [explained.index(words) for words in layers]
    assert order == sorted(order)
    assert "own value" not in platform[platform.index("dataset-explain-group") :]


# Change sets


def act(client: Client, change_set: ConfigChangeSet, name: str, **fields: Any) -> HttpResponse:
    return client.post(
        set_url(change_set, name), {**DIALOG, **fields}, headers={"HX-Request": "true"}
    )


def test_change_set__protected__needs_a_second_person_and_again_after_an_edit() -> None:
    key = declare(category_id="security")
    editor_client, editor = member("editors")
    reviewer_client, _ = member("reviewers")
    edit(editor_client, key, "8", draft="1")
    with operator_scope():
        change_set = ConfigChangeSet.objects.get(items__config_key=key)
    assert change_set.author_id == editor.pk

    act(editor_client, change_set, "publish")
    assert stage(change_set) == "draft"
    act(editor_client, change_set, "submit")
    assert stage(change_set) == "in_review"
    assert act(editor_client, change_set, "approve").status_code == 403
    act(reviewer_client, change_set, "approve")
    assert stage(change_set) == "approved"
    edit(editor_client, key, "9", draft="1", change_set=str(change_set.pk))
    assert stage(change_set) == "draft"
    act(editor_client, change_set, "publish")
    assert versions(key) == [(1, 8, "rejected"), (2, 9, "draft")]
    act(editor_client, change_set, "submit")
    act(reviewer_client, change_set, "approve")
    act(editor_client, change_set, "publish")

    assert stage(change_set) == "published"
    assert versions(key) == [(1, 8, "rejected"), (2, 9, "active")]


def test_change_set__own__superuser_cannot_approve_it(admin_client: Client) -> None:
    key = declare(category_id="security")
    edit(admin_client, key, "8", draft="1")
    with operator_scope():
        change_set = ConfigChangeSet.objects.get(items__config_key=key)
    act(admin_client, change_set, "submit")

    response = act(admin_client, change_set, "approve")

    assert stage(change_set) == "in_review"
    assert "somebody else has to approve it" in next_page(admin_client, response)


def test_change_set__of_two_keys__shows_both_differences_and_publishes_both(
    admin_client: Client,
) -> None:
    one, two = declare(), declare()
    publish(one, 6)
    change_set = draft(one, two)

    page = admin_client.get(set_url(change_set)).content.decode()
    act(admin_client, change_set, "publish")

    assert one.pk in page
    assert two.pk in page
    assert ">6<" in page
    assert versions(one)[-1] == (2, 7, "active")
    assert versions(two) == [(1, 7, "active")]


def test_change_set__stale__says_who_changed_what_and_publishes_nothing(
    admin_client: Client,
) -> None:
    one, two = declare(), declare()
    change_set = draft(one, two)
    publish(two, 9)

    response = act(admin_client, change_set, "publish")

    assert "meanwhile, to version 2" in next_page(admin_client, response)
    assert versions(one) == [(1, 7, "draft")]
    assert versions(two) == [(1, 7, "draft"), (2, 9, "active")]
    assert "changed meanwhile" in admin_client.get(set_url(change_set)).content.decode()


def test_change_set__scheduled__is_published_at_its_time(admin_client: Client) -> None:
    key = declare()
    change_set = draft(key)
    start = timezone.now() + timedelta(hours=1)
    end = start + timedelta(hours=1)

    act(
        admin_client, change_set, "schedule",
        activate_at=f"{start:%Y-%m-%dT%H:%M}", expires_at=f"{end:%Y-%m-%dT%H:%M}",
    )  # fmt: skip
    assert versions(key) == [(1, 7, "scheduled")]
    with operator_scope():
        operations.apply_due_schedules(now=start + timedelta(minutes=1))

    assert versions(key) == [(1, 7, "active")]


@pytest.mark.parametrize(
    "times",
    [
        {"activate_at": "2020-01-01T00:00"},
        {"activate_at": ""},
        {"activate_at": "tomorrow"},
        {"activate_at": "2099-01-02T00:00", "expires_at": "2099-01-01T00:00"},
    ],
)
def test_change_set__bad_schedule__is_a_field_error(
    admin_client: Client, times: dict[str, str]
) -> None:
    change_set = draft(declare())

    response = act(admin_client, change_set, "schedule", **times)

    assert response.status_code == 200
    assert response.context["form"].errors
    assert stage(change_set) == "draft"


def test_change_set__stuck_at_its_time__stands_on_the_page_and_on_the_list(
    admin_client: Client,
) -> None:
    key = declare()
    change_set = draft(key)
    start = timezone.now() + timedelta(hours=1)
    with operator_scope():
        operations.schedule_change_set(change_set=change_set, activate_at=start)
    publish(key, 9)
    with operator_scope():
        operations.apply_due_schedules(now=start + timedelta(minutes=1))

    page = admin_client.get(set_url(change_set)).content.decode()
    listed = admin_client.get(f"{SETS}?stage=stuck").content.decode()

    assert "could not be published at its time" in page
    assert change_set.title in listed
    act(admin_client, change_set, "unschedule")
    assert stage(change_set) == "draft"


def test_change_set__released__widened_promoted(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    key = declare()
    change_set = draft(key)

    act(admin_client, change_set, "release", percentage="0", tenants=enterprise.slug)
    assert stage(change_set) == "staged"
    assert str(enterprise) in admin_client.get(set_url(change_set)).content.decode()
    act(admin_client, change_set, "audience", percentage="100", tenants="")
    with operator_scope():
        assert operations.SystemConfig.objects.get(config_key=key).release_percentage == 100
    act(admin_client, change_set, "promote")

    assert versions(key) == [(1, 7, "active")]


def test_change_set__released_then_withdrawn__leaves_nothing(admin_client: Client) -> None:
    key = declare()
    change_set = draft(key)
    act(admin_client, change_set, "release", percentage="50", tenants="")

    act(admin_client, change_set, "withdraw_release")

    assert stage(change_set) == "rolled_back"
    assert versions(key) == [(1, 7, "rejected")]


@pytest.mark.parametrize(
    "audience",
    [
        {"percentage": "0", "tenants": ""},
        {"percentage": "101", "tenants": ""},
        {"percentage": "-1", "tenants": ""},
        {"percentage": "half", "tenants": ""},
        {"percentage": "5", "tenants": "nobody"},
    ],
)
def test_change_set__bad_audience__is_a_field_error(
    admin_client: Client, audience: dict[str, str]
) -> None:
    change_set = draft(declare())

    response = act(admin_client, change_set, "release", **audience)

    assert response.context["form"].errors
    assert stage(change_set) == "draft"


def test_change_set__published_then_rolled_back__drafts_and_restores(admin_client: Client) -> None:
    key, fresh = declare(), declare()
    publish(key, 6)
    change_set = draft(key, fresh)
    act(admin_client, change_set, "publish")

    response = act(admin_client, change_set, "roll_back")
    with operator_scope():
        back = ConfigChangeSet.objects.get(title=f"Back from {change_set.title}")
    assert "publish it to roll back" in next_page(admin_client, response)
    act(admin_client, back, "publish")

    assert versions(key)[-1] == (3, 6, "active")
    assert versions(fresh)[-1] == (2, None, "active")


def test_change_set__value_taken_out__is_rejected_and_the_rest_stays(admin_client: Client) -> None:
    one, two = declare(), declare()
    change_set = draft(one, two)
    with operator_scope():
        item = change_set.items.get(config_key=one)

    act(admin_client, change_set, "take_out", items=str(item.pk))

    assert versions(one) == [(1, 7, "rejected")]
    assert versions(two) == [(1, 7, "draft")]


def test_change_set__drafted_empty_then_filled_from_a_key(admin_client: Client) -> None:
    title = unique("Empty")
    admin_client.post(f"{SETS}add/", {"title": title, "reason": "for the test"})
    with operator_scope():
        change_set = ConfigChangeSet.objects.get(title=title)
    key = declare()

    edit(admin_client, key, "8", draft="1", change_set=str(change_set.pk))

    with operator_scope():
        assert [item.config_key_id for item in change_set.items.all()] == [key.pk]


# Versions


def test_version__brought_back__is_a_new_version(admin_client: Client) -> None:
    key = declare()
    first = publish(key, 6)
    publish(key, 7)

    admin_client.post(version_url(first, "restore"), DIALOG, headers={"HX-Request": "true"})

    assert versions(key) == [(1, 6, "superseded"), (2, 7, "superseded"), (3, 6, "active")]


def test_version__compared__shows_both_sides_as_json(admin_client: Client) -> None:
    key = declare("json", default_value={})
    publish(key, {"b": 1, "a": [1, 2]})
    second = publish(key, {"a": [1, 3], "b": 1})

    page = admin_client.get(f"{version_url(second)}?left=1").content.decode()

    compared = page[page.index("dataset-compare-group") :]
    changed = re.findall(r"bg-(red|green)-100[^>]*>\s*([^<]*)<", compared)
    assert [text.strip() for _, text in changed][:2] == ["2", "3"]
    assert admin_client.get(f"{version_url(second)}?left=99999999999").status_code == 200


def test_diff__any_two_versions__stand_side_by_side(
    admin_client: Client, enterprise: Enterprise
) -> None:
    key = declare()
    for value in (6, 7, 8):
        publish(key, value)
    publish(key, 5, enterprise)
    publish(key, 9, enterprise)

    def compared(query: str) -> list[str]:
        page = admin_client.get(key_url(key) + query).content.decode()
        shown = page[page.index("dataset-diff-group") : page.index("dataset-overrides-group")]
        return [
            text.strip() for text in re.findall(r"bg-(?:red|green)-100[^>]*>\s*([^<]*)<", shown)
        ]

    assert compared("") == ["7", "8"]
    assert compared("?left=3&right=1") == ["8", "6"]
    assert compared(f"?tenant={enterprise.slug}") == ["5", "9"]


def test_versions__filtered_by_key_tenant_and_status(
    admin_client: Client, enterprise: Enterprise
) -> None:
    key = declare()
    publish(key, 6)
    publish(key, 7, enterprise)

    tenants = admin_client.get(f"{VERSIONS}?key={key.pk}&level=tenant").content.decode()
    platform = admin_client.get(f"{VERSIONS}?key={key.pk}&level=platform").content.decode()
    by_slug = admin_client.get(f"{VERSIONS}?tenant={enterprise.slug}&status=active")

    assert str(enterprise) in tenants
    assert str(enterprise) not in platform
    assert key.pk in by_slug.content.decode()


# Secrets


def test_secret__everywhere__is_masked_but_when_revealed_with_a_reason(
    admin_client: Client,
) -> None:
    key = declare_secret()
    response = edit(admin_client, key, HUSH, publish="1")
    pages = [next_page(admin_client, response)]
    with operator_scope():
        version = SystemConfig.objects.get(config_key=key)
        change_set = version.change_set
    assert HUSH not in str(version.value)
    assert change_set is not None
    for url in (
        KEYS, key_url(key), key_url(key, "change_value"), VERSIONS, version_url(version),
        set_url(change_set), "/admin/audit/auditevent/?since=ever", "/admin/",
    ):  # fmt: skip
        pages.append(admin_client.get(url).content.decode())
    assert not [page for page in pages if HUSH in page or str(version.value) in page]

    refused = admin_client.post(version_url(version, "reveal"), {"_form_submitted": "True"})
    revealed = admin_client.post(version_url(version, "reveal"), DIALOG)

    assert HUSH not in refused.content.decode()
    assert HUSH in revealed.content.decode()
    assert "no-store" in revealed["Cache-Control"]
    with operator_scope():
        event = AuditEvent.objects.get(row_id=str(version.pk), operation="READ")
        trail = AuditEvent.objects.about("system_configs", version.pk)
        assert {e.new_values["value"] for e in trail if e.new_values} == {"[redacted]"}
    assert event.reason == "Because of a test"
    assert event.user_id is not None


def test_secret__stale_edit__shows_no_difference_of_it(admin_client: Client) -> None:
    key = declare_secret()
    publish(key, HUSH)

    response = edit(admin_client, key, "other-hush", base_version=0, publish="1")

    page = response.content.decode()
    assert "meanwhile" in page
    assert HUSH not in page
    assert "other-hush" not in page
    assert "sealed:" not in page


def test_reveal__without_the_permission__is_refused() -> None:
    key = declare_secret()
    version = publish(key, HUSH)
    client, _ = member("editors")

    response = client.post(version_url(version, "reveal"), DIALOG)

    assert response.status_code == 403
    assert HUSH not in response.content.decode()
    with operator_scope():
        assert not AuditEvent.objects.filter(row_id=str(version.pk), operation="READ").exists()


def test_reveal__that_does_not_open__says_why_and_is_noted(admin_client: Client) -> None:
    key = declare_secret()
    version = publish(key, HUSH)
    other = declare_secret()
    with operator_scope():
        moved = sealed(Declaration.of(other), HUSH, None, "value")
    with roles.connect_as_superuser() as superuser:
        superuser.execute(
            "update system_configs set value = to_jsonb(%s::text) where id = %s",
            [moved, version.pk],
        )

    response = admin_client.post(version_url(version, "reveal"), DIALOG)

    page = response.content.decode()
    assert "does not open" in page
    assert HUSH not in page
    with operator_scope():
        assert AuditEvent.objects.filter(row_id=str(version.pk), operation="READ").exists()


def test_secrets_page__counts_by_key_and_queues_the_rotation(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(declare_secret(), HUSH)
    queued: list[str] = []
    monkeypatch.setattr("apps.configs.admin.secrets.enqueue", queued.append)
    url = reverse("admin:configs_configkey_secret_keys")

    page = admin_client.get(url).content.decode()
    response = admin_client.post(url)

    assert "test" in page
    assert "seals" in page
    assert queued == ["apps.configs.tasks.rotate_secrets"]
    assert response.status_code == 302


# Who may what


@pytest.mark.parametrize("group", ["viewers", "reviewers", "secret readers"])
def test_groups__that_do_not_edit__cannot_draft(group: str) -> None:
    key = declare()
    client, _ = member(group)

    assert client.get(KEYS).status_code == 200
    assert client.get(key_url(key)).status_code == 200
    assert edit(client, key, "8", publish="1").status_code == 403
    assert client.post(f"{KEYS}add/", declaration("test.never")).status_code == 403
    assert versions(key) == []


def test_groups__editor__publishes_what_is_not_protected() -> None:
    key = declare()
    client, _ = member("editors")

    edit(client, key, "8", publish="1")

    assert versions(key) == [(1, 8, "active")]


def test_groups__editor__cannot_unprotect_a_category() -> None:
    client, _ = member("editors")
    url = reverse("admin:configs_configcategory_change", args=["security"])

    client.post(url, {"description": "", "is_protected": ""})

    with operator_scope():
        key = ConfigKey.objects.select_related("category").get(pk="security.session_timeout")
    assert key.category.is_protected


def test_declaration__of_a_protected_key__is_a_superusers() -> None:
    key = declare(category_id="security")
    client, _ = member("editors")

    client.post(key_url(key), {"description": "Mine.", "schema": "{}", "base_version": "1"})

    with operator_scope():
        assert ConfigKey.objects.get(pk=key.pk).description == "Of a test."


# The home page


def test_home__names_what_waits_and_what_cannot_be_used(admin_client: Client) -> None:
    key = declare(schema={"maximum": 10})
    version = publish(key, 6)
    with operator_scope():
        operations.submit_change_set(change_set=draft(declare()))
    with roles.connect_as_superuser() as superuser:
        superuser.execute("update system_configs set value = '11' where id = %s", [version.pk])

    def page() -> str:
        return admin_client.get("/admin/").content.decode()

    deadline = timezone.now() + timedelta(seconds=5)
    while "is at its default: At most 10." not in page():
        assert timezone.now() < deadline
    with roles.connect_as_superuser() as superuser:
        superuser.execute("update system_configs set value = '6' where id = %s", [version.pk])
    assert "In review" in page()


# Import and export


IMPORT, EXPORT = f"{KEYS}import/", f"{KEYS}export/"


def document(values: list[tuple[str, str | None, Any]]) -> str:
    return write_document([DocumentValue(key, slug, value) for key, slug, value in values])


def test_export__prefix__hands_out_what_an_import_reads(
    admin_client: Client, enterprise: Enterprise
) -> None:
    key, secret = declare(), declare_secret()
    publish(key, 6)
    publish(key, 7, enterprise)
    publish(secret, HUSH)

    response = admin_client.post(EXPORT, {"prefix": key.pk, "whose": "all"})
    secrets = admin_client.post(EXPORT, {"prefix": secret.pk, "whose": "all"})
    sealed = admin_client.post(EXPORT, {"prefix": secret.pk, "whose": "all", "sealed": "on"})

    assert "attachment" in response["Content-Disposition"]
    found = read_document(response.content)
    assert {(value.key, value.tenant, value.value) for value in found} == {
        (key.pk, None, 6),
        (key.pk, enterprise.slug, 7),
    }
    assert secret.pk not in secrets.content.decode()
    assert secret.pk in sealed.content.decode()
    assert HUSH not in sealed.content.decode()


def test_export__viewer__gets_no_secrets() -> None:
    secret = declare_secret()
    publish(secret, HUSH)
    client, _ = member("viewers")

    response = client.post(EXPORT, {"prefix": secret.pk, "whose": "all", "sealed": "on"})

    assert secret.pk not in response.content.decode()


def test_import__dry_run_then_publish__changes_just_that(admin_client: Client) -> None:
    key, other = declare(), declare()
    publish(key, 6)
    publish(other, 8)
    text = document([(key.pk, None, 7), (other.pk, None, 8)])

    dry = admin_client.post(IMPORT, {"text": text})
    page = dry.content.decode()
    assert "1 value would change, 1 is so already" in page
    assert versions(key) == [(1, 6, "active")]
    digest = dry.context["plan"].digest
    response = admin_client.post(
        IMPORT,
        {"text": text, "title": "Import", "reason": "for the test", "digest": digest, "publish": 1},
    )

    assert "Published “Import”." in next_page(admin_client, response)
    assert versions(key) == [(1, 6, "superseded"), (2, 7, "active")]
    assert versions(other) == [(1, 8, "active")]


def test_import__changed_since_the_dry_run__is_refused_and_shown_anew(
    admin_client: Client,
) -> None:
    key = declare()
    text = document([(key.pk, None, 7)])
    digest = admin_client.post(IMPORT, {"text": text}).context["plan"].digest
    publish(key, 9)

    response = admin_client.post(
        IMPORT,
        {"text": text, "title": "Import", "reason": "for the test", "digest": digest, "publish": 1},
    )

    assert "changed since the dry run" in response.content.decode()
    assert versions(key) == [(1, 9, "active")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Paste a document"),
        ("{", "Line 2"),
        ("a: &x [1]\nb: *x\n", ""),
        (b"\xff\xfe\x00", ""),
        ("just: this\n", ""),
        ("x" * 1_200_000, ""),
    ],
)
def test_import__no_document__is_refused_with_its_line(
    admin_client: Client, text: Any, told: str
) -> None:
    file = SimpleUploadedFile("x.yaml", text if isinstance(text, bytes) else text.encode())
    response = admin_client.post(IMPORT, {"file": file} if text else {"text": ""})

    assert response.status_code == 200
    assert response.context["form"].errors
    assert told in str(response.context["form"].errors)


def test_import__faulty_values__names_all_and_imports_none(admin_client: Client) -> None:
    good, bad = declare(), declare(schema={"maximum": 10})
    text = document(
        [
            (good.pk, None, 7),
            (bad.pk, None, 11),
            ("test.never_declared", None, 1),
            (good.pk, "nobody-at-all", 1),
        ]
    )

    dry = admin_client.post(IMPORT, {"text": text})
    page = dry.content.decode()
    admin_client.post(
        IMPORT,
        {
            "text": text, "title": "Import", "reason": "for the test", "publish": 1,
            "digest": dry.context["plan"].digest,
        },
    )  # fmt: skip

    for word in ("At most 10", "Is not declared", "nobody-at-all"):
        assert word in page
    assert 'name="publish"' not in page
    assert versions(good) == []


def test_import__protected__is_drafted_only(admin_client: Client) -> None:
    key = declare(category_id="security")
    text = document([(key.pk, None, 7)])

    dry = admin_client.post(IMPORT, {"text": text})
    admin_client.post(
        IMPORT,
        {
            "text": text, "title": "Import", "reason": "for the test", "publish": 1,
            "digest": dry.context["plan"].digest,
        },
    )  # fmt: skip

    assert 'name="publish"' not in dry.content.decode()
    assert versions(key) == [(1, 7, "draft")]
