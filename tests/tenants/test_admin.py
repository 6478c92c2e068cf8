"""Customers in the admin: what operators can do, see done, and are kept from."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.tenants import offboarding, operations
from apps.tenants.models import ApiKey, Domain, Enterprise, Offboarding, Scope, User
from layoverhq.tenancy import operator_scope
from tests.tenants import factories
from tests.tenants.factories import unique

ADD = "/admin/tenants/enterprise/add/"
MANY = "/admin/tenants/enterprise/onboard_many/"
LIST = "/admin/tenants/enterprise/"
NO_INLINES = {
    f"{prefix}-{field}": value
    for prefix in ("api_keys", "users", "domains", "moves")
    for field, value in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))
}


def page(enterprise: Enterprise, name: str = "change") -> str:
    return reverse(f"admin:tenants_enterprise_{name}", args=[enterprise.pk])


def limited_client(*codenames: str) -> Client:
    """A client of an operator who may do these things only."""
    user = factories.make_operator(superuser=False)
    with operator_scope():
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return factories.make_admin_client(user)


def told(client: Client, response: HttpResponse) -> str:
    """Return what the next page says."""
    return client.get(response.headers.get("HX-Redirect") or response["Location"]).content.decode()


def session_of(client: Client) -> dict[str, Any]:
    with operator_scope():
        return dict(client.session)


def stored(enterprise: Enterprise) -> Enterprise:
    with operator_scope():
        return Enterprise.objects.get(pk=enterprise.pk)


def last_event(table: str, row: Any) -> AuditEvent:
    with operator_scope():
        event = AuditEvent.objects.about(table, row).order_by("-at", "-id").first()
    assert event is not None
    return event


# Onboarding


def test_add_enterprise__valid__is_onboarded_and_audited(admin_client: Client) -> None:
    slug = unique("globex")

    response = admin_client.post(
        ADD,
        {"name": "Globex", "slug": slug, "subscription_plan": "business"},
        headers={"User-Agent": "Operator's browser", "X-Request-ID": f"rq-{slug}"},
    )

    assert response.status_code == 302
    with operator_scope():
        enterprise = Enterprise.objects.get(slug=slug)
    assert enterprise.schema_name == operations.schema_name(slug)
    event = last_event("enterprises", enterprise.pk)
    assert str(event.user_id) == session_of(admin_client)["_auth_user_id"]
    assert (event.ip_address, event.user_agent) == ("127.0.0.1", "Operator's browser")
    assert event.request_id == f"rq-{slug}"
    assert event.database_role == "layoverhq_operator"


@pytest.mark.parametrize("slug", ["Not A Slug", "ends-", "", "a" * 51, "a\x00b"])
def test_add_enterprise__bad_slug__is_a_field_error(admin_client: Client, slug: str) -> None:
    name = unique("Acme")

    response = admin_client.post(ADD, {"name": name, "slug": slug, "subscription_plan": "free"})

    assert response.status_code == 200
    assert "slug" in response.context["adminform"].form.errors
    with operator_scope():
        assert not Enterprise.objects.filter(name=name).exists()


def test_add_enterprise__operation_refuses__is_a_field_error(
    admin_client: Client, enterprise: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a race: the form saw no other enterprise of that slug, the operation does.
    monkeypatch.setattr(Enterprise, "validate_constraints", lambda self, exclude=None: None)

    response = admin_client.post(
        ADD, {"name": "Twin", "slug": enterprise.slug, "subscription_plan": "free"}
    )

    assert response.status_code == 200
    assert "exists already" in str(response.context["adminform"].form.errors["slug"])


def test_onboard_many__preview_then_confirm__onboards_all(admin_client: Client) -> None:
    slugs = [unique("bulk") for _ in range(3)]
    text = "name,slug,plan\n" + "\n".join(f'"Bulk, {slug}",{slug},starter' for slug in slugs)

    preview = admin_client.post(MANY, {"text": text})
    with operator_scope():
        assert not Enterprise.objects.filter(slug__in=slugs).exists()
    response = admin_client.post(MANY, {"text": text, "confirmed": "1"})

    assert "3 enterprises can be onboarded" in preview.content.decode()
    assert "Onboarded 3 enterprises." in told(admin_client, response)
    with operator_scope():
        found = Enterprise.objects.filter(slug__in=slugs)
        assert {e.name for e in found} == {f"Bulk, {slug}" for slug in slugs}
        assert {e.subscription_plan for e in found} == {"starter"}


def test_onboard_many__faulty_lines__names_each_and_onboards_none(
    admin_client: Client, enterprise: Enterprise
) -> None:
    good = unique("good")
    text = f"Good,{good}\n\nTaken,{enterprise.slug}\nBad,Bad Slug\nPlan,{unique('p')},gold\n"

    response = admin_client.post(MANY, {"text": text, "confirmed": "1"})

    content = response.content.decode()
    assert response.status_code == 200
    assert re.search(r"line 3: .*exists already", content)
    assert re.search(r"line 4: .*Bad Slug", content)
    assert re.search(r"line 5: .*gold", content)
    with operator_scope():
        assert not Enterprise.objects.filter(slug=good).exists()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "Paste a list"),
        (b"one column only", "1 columns instead of"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a\x00b,c", "NUL"),
        (b'"open,quote', "line 1"),
        (b"name,slug,plan\n", "empty"),
    ],
)
def test_onboard_many__unusable_file__says_why(
    admin_client: Client, data: bytes, expected: str
) -> None:
    file = SimpleUploadedFile("list.csv", data or b" ")

    response = admin_client.post(MANY, {"file": file})

    assert response.status_code == 200
    assert expected in response.content.decode()


def test_onboard_many__thousand_tabbed_lines__takes_seconds(admin_client: Client) -> None:
    mark = unique("thousand")
    text = "\n".join(f"Tour {n}\t{mark}-{n}\tfree" for n in range(1000))
    file = io.BytesIO(text.encode("utf-8-sig"))
    file.name = "list.tsv"
    started = time.monotonic()

    preview = admin_client.post(MANY, {"file": file})
    confirmed = preview.context["form"].data["text"]
    response = admin_client.post(MANY, {"text": confirmed, "confirmed": "1"})

    assert "Onboarded 1,000 enterprises." in told(admin_client, response)
    assert time.monotonic() - started < 20
    with operator_scope():
        assert Enterprise.objects.filter(slug__startswith=f"{mark}-").count() == 1000


# Changes


def test_change_enterprise__other_slug_sent__keeps_it(
    admin_client: Client, enterprise: Enterprise
) -> None:
    response = admin_client.post(
        page(enterprise),
        {"name": "Renamed", "slug": "other", "subscription_plan": "enterprise", **NO_INLINES},
    )

    assert response.status_code == 302
    now = stored(enterprise)
    assert (now.name, now.slug) == ("Renamed", enterprise.slug)
    assert now.subscription_plan == "enterprise"


def test_change_enterprise__domain_added__is_stored_in_lower_case(
    admin_client: Client, enterprise: Enterprise
) -> None:
    domain = f"{unique('travel')}.example.com"
    form = {
        "name": enterprise.name,
        "subscription_plan": "free",
        **NO_INLINES,
        "domains-TOTAL_FORMS": 1,
        "domains-0-domain": domain.upper(),
    }

    response = admin_client.post(page(enterprise), form)

    assert response.status_code == 302
    with operator_scope():
        assert Domain.objects.get(tenant=enterprise).domain == domain


def test_change_enterprise__domain_of_another__is_refused_on_the_field(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    domain = f"{unique('travel')}.example.com"
    with operator_scope():
        Domain.objects.create(tenant=other_enterprise, domain=domain)

    response = admin_client.post(
        page(enterprise),
        {
            "name": enterprise.name,
            "subscription_plan": "free",
            **NO_INLINES,
            "domains-TOTAL_FORMS": 1,
            "domains-0-domain": domain,
        },
    )

    assert response.status_code == 200
    assert b"already exists" in response.content
    with operator_scope():
        assert not Domain.objects.filter(tenant=enterprise).exists()


def test_suspend__with_reason__refuses_keys_and_tells_the_trail(
    admin_client: Client, enterprise: Enterprise
) -> None:
    token = factories.make_key(enterprise).token
    factories.await_key(token)

    response = admin_client.post(
        page(enterprise, "suspend"),
        {"_form_submitted": "1", "reason": "Invoice unpaid"},
        headers={"HX-Request": "true"},
    )

    assert f"Suspended “{enterprise}”." in told(admin_client, response)
    event = last_event("enterprises", enterprise.pk)
    assert event.reason == "Invoice unpaid"
    assert (event.old_values["status"], event.new_values["status"]) == ("active", "suspended")
    history = admin_client.get(page(enterprise)).content.decode()
    assert "“Invoice unpaid”" in history
    assert_answers(token, 403)


def assert_answers(token: str, status: int) -> None:
    deadline = time.monotonic() + 15
    while factories.client_with(token).get("/api/v1/enterprise").status_code != status:
        assert time.monotonic() < deadline


def test_suspend__without_reason__asks_for_it(admin_client: Client, enterprise: Enterprise) -> None:
    response = admin_client.post(page(enterprise, "suspend"), {"_form_submitted": "1"})

    assert b"This field is required" in response.content
    assert stored(enterprise).status == "active"


def test_suspend__dialog__says_what_follows(admin_client: Client, enterprise: Enterprise) -> None:
    response = admin_client.get(page(enterprise, "suspend"))

    assert b"refused with 403 at once" in response.content


def test_suspend_selected__mixed__names_and_leaves_out_the_suspended(
    admin_client: Client, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    with operator_scope():
        operations.suspend_enterprise(enterprise=other_enterprise)
    selection = {
        "action": "suspend_selected",
        "select_across": "0",
        "index": "0",
        "_selected_action": [str(enterprise.pk), str(other_enterprise.pk)],
    }

    preview = admin_client.post(LIST, selection).content.decode()
    untouched = stored(enterprise).status
    response = admin_client.post(
        LIST, {**selection, "confirmed": "1", "_form_submitted": "1", "reason": "Fraud"}
    )

    assert f"{other_enterprise} is suspended" in preview
    assert untouched == "active"
    assert f"Suspended “{enterprise}”." in told(admin_client, response)
    assert stored(enterprise).status == "suspended"
    assert last_event("enterprises", enterprise.pk).reason == "Fraud"


def test_delete_enterprise__superuser__is_refused(
    admin_client: Client, enterprise: Enterprise
) -> None:
    response = admin_client.post(page(enterprise, "delete"), {"post": "yes"})

    assert response.status_code == 403
    assert stored(enterprise).deleted_at is None


@pytest.mark.parametrize("name", ["suspend", "resume", "offboard", "offboarding", "archive"])
def test_enterprise_action__view_only_operator__is_refused(
    enterprise: Enterprise, name: str
) -> None:
    client = limited_client("view_enterprise")

    response = client.post(page(enterprise, name), {"_form_submitted": "1", "reason": "Because"})

    assert response.status_code in (403, 404)
    assert stored(enterprise).status == "active"


@pytest.mark.parametrize("name", ["suspend_selected", "resume_selected"])
def test_enterprise_list_action__view_only_operator__is_not_offered(
    enterprise: Enterprise, name: str
) -> None:
    client = limited_client("view_enterprise")

    client.post(
        LIST,
        {
            "action": name,
            "_selected_action": [str(enterprise.pk)],
            "confirmed": "1",
            "_form_submitted": "1",
            "reason": "Because",
        },
    )

    assert stored(enterprise).status == "active"
    assert name not in client.get(LIST).content.decode()


def test_enterprise_page__view_only_operator__shows_no_buttons(enterprise: Enterprise) -> None:
    client = limited_client("view_enterprise")

    content = client.get(page(enterprise)).content.decode()

    assert enterprise.name in content
    for word in ("Suspend…", "Offboard…", 'name="_save"', "API keys"):
        assert word not in content
    assert client.get(MANY).status_code == 403
    assert client.get(ADD).status_code == 403


# Offboarding


@pytest.fixture
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(offboarding, "_enqueue", lambda offboarding: None)
    return None


@pytest.mark.usefixtures("_no_broker")
def test_offboard__export_download_confirm__erases(
    admin_client: Client, enterprise: Enterprise
) -> None:
    token = factories.make_key(enterprise).token
    progress = page(enterprise, "offboarding")

    started = admin_client.post(
        page(enterprise, "offboard"),
        {"_form_submitted": "1", "reason": "Contract ended"},
        headers={"HX-Request": "true"},
    )
    assert started.headers["HX-Redirect"] == progress
    assert 'hx-trigger="every 2s"' in admin_client.get(progress).content.decode()
    with operator_scope():
        leaving = Offboarding.objects.get(enterprise=enterprise)
        offboarding.advance_offboarding(offboarding_id=leaving.pk)

    exported = admin_client.get(progress).content.decode()
    archive = admin_client.get(page(enterprise, "archive"))
    assert "Download the archive" in exported
    assert b"".join(archive.streaming_content)[:2] == b"PK"

    mistyped = admin_client.post(progress, {"confirmation": "wrong", "reason": "Contract ended"})
    assert f"Type “{enterprise.slug}” to confirm." in mistyped.content.decode()
    with operator_scope():
        assert Offboarding.objects.get(pk=leaving.pk).stage == "exported"

    admin_client.post(progress, {"confirmation": enterprise.slug, "reason": "Contract ended"})
    with operator_scope():
        offboarding.advance_offboarding(offboarding_id=leaving.pk)
    assert stored(enterprise).status == "offboarded"
    assert "Erased" in admin_client.get(progress).content.decode()
    with operator_scope():
        assert not ApiKey.objects.filter(enterprise=enterprise).exists()
    factories.await_key(token, known=False)


def test_offboarding_page__of_an_active_enterprise__is_not_found(
    admin_client: Client, enterprise: Enterprise
) -> None:
    assert admin_client.get(page(enterprise, "offboarding")).status_code == 404


# Keys


def key_form(enterprise: Enterprise, **changes: Any) -> dict[str, Any]:
    return {
        "enterprise": str(enterprise.pk),
        "name": "Production",
        "scopes": list(Scope.values),
        **changes,
    }


def test_add_key__valid__shows_a_working_token_once(
    admin_client: Client, enterprise: Enterprise
) -> None:
    response = admin_client.post("/admin/tenants/apikey/add/", key_form(enterprise))

    content = response.content.decode()
    found = re.search(r'<code id="token"[^>]*>(lhq_[\w-]+)</code>', content)
    assert found
    token = found[1]
    factories.await_key(token)
    answer = factories.client_with(token).get("/api/v1/enterprise")
    assert answer.json()["slug"] == enterprise.slug
    assert f"Bearer {token}" in content
    assert "no-store" in response.headers["Cache-Control"]
    with operator_scope():
        key = ApiKey.objects.get(enterprise=enterprise)
        event = AuditEvent.objects.about("api_keys", key.pk).get()
    assert token not in str(event.new_values)
    assert event.new_values["key_hash"] == "[redacted]"
    again = admin_client.get(reverse("admin:tenants_apikey_change", args=[key.pk]))
    assert token not in again.content.decode()
    assert token not in str(session_of(admin_client))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("scopes", {"scopes": []}),
        ("name", {"name": " "}),
        ("expires_at", {"expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}),
    ],
)
def test_add_key__refused__is_a_field_error_and_no_key(
    admin_client: Client, enterprise: Enterprise, field: str, changes: dict[str, Any]
) -> None:
    response = admin_client.post("/admin/tenants/apikey/add/", key_form(enterprise, **changes))

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    with operator_scope():
        assert not ApiKey.objects.filter(enterprise=enterprise).exists()


def test_revoke_key__with_reason__is_refused_everywhere(
    admin_client: Client, enterprise: Enterprise
) -> None:
    issued = factories.make_key(enterprise)
    factories.await_key(issued.token)

    admin_client.post(
        reverse("admin:tenants_apikey_revoke", args=[issued.key.pk]),
        {"_form_submitted": "1", "reason": "Leaked"},
    )

    factories.await_key(issued.token, known=False)
    assert last_event("api_keys", issued.key.pk).reason == "Leaked"


def test_revoke_selected__revoked_already__is_left_out(
    admin_client: Client, enterprise: Enterprise
) -> None:
    gone, living = (factories.make_key(enterprise).key for _ in range(2))
    with operator_scope():
        operations.revoke_api_keys(keys=[gone])

    response = admin_client.post(
        "/admin/tenants/apikey/",
        {
            "action": "revoke_selected",
            "_selected_action": [str(gone.pk), str(living.pk)],
            "confirmed": "1",
            "_form_submitted": "1",
            "reason": "Leaked",
        },
    )

    said = told(admin_client, response)
    assert "is revoked already" in said
    with operator_scope():
        assert ApiKey.objects.get(pk=living.pk).revoked_at is not None


def test_revoke_key__view_only_operator__is_refused(enterprise: Enterprise) -> None:
    key = factories.make_key(enterprise).key
    client = limited_client("view_apikey")

    response = client.post(
        reverse("admin:tenants_apikey_revoke", args=[key.pk]),
        {"_form_submitted": "1", "reason": "Because"},
    )

    assert response.status_code == 403
    with operator_scope():
        assert ApiKey.objects.get(pk=key.pk).revoked_at is None


def test_change_key__superuser__is_refused(admin_client: Client, enterprise: Enterprise) -> None:
    key = factories.make_key(enterprise).key

    response = admin_client.post(
        reverse("admin:tenants_apikey_change", args=[key.pk]), {"name": "Other"}
    )

    assert response.status_code == 403
    with operator_scope():
        assert ApiKey.objects.get(pk=key.pk).name == "test"


# Users


def user_page(user: User, name: str = "change") -> str:
    return reverse(f"admin:tenants_user_{name}", args=[user.pk])


def make_person(enterprise: Enterprise | None, **fields: Any) -> User:
    with operator_scope():
        return User.objects.create_user(  # type: ignore[no-any-return]
            f"{unique('anna')}@example.com", enterprise=enterprise, **fields
        )


def user_form(user: User, **changes: Any) -> dict[str, Any]:
    return {
        "email": user.email,
        "name": user.name,
        "enterprise": str(user.enterprise_id or ""),
        "subscription_tier": user.subscription_tier,
        "is_active": "on",
        "api_limits": "{}",
        "preferences": "{}",
        **changes,
    }


def test_add_user__of_an_enterprise__is_stored(
    admin_client: Client, enterprise: Enterprise
) -> None:
    email = f"{unique('anna')}@example.com"

    response = admin_client.post(
        "/admin/tenants/user/add/",
        {
            "email": email,
            "name": "Anna",
            "enterprise": str(enterprise.pk),
            "usable_password": "true",
            "password1": factories.PASSWORD,
            "password2": factories.PASSWORD,
        },
    )

    assert response.status_code == 302
    with operator_scope():
        user = User.objects.get(email=email)
        assert user.enterprise == enterprise
        assert user.check_password(factories.PASSWORD)
    assert "argon2" not in str(last_event("users", user.pk).new_values)


def test_add_user__taken_email_in_another_case__is_a_field_error(
    admin_client: Client, enterprise: Enterprise
) -> None:
    user = make_person(enterprise)

    response = admin_client.post(
        "/admin/tenants/user/add/",
        {
            "email": user.email.upper(),
            "enterprise": str(enterprise.pk),
            "usable_password": "false",
        },
    )

    assert response.status_code == 200
    assert "exists already" in response.content.decode()


def test_change_user__staff_with_an_enterprise__is_refused(
    admin_client: Client, enterprise: Enterprise
) -> None:
    user = make_person(enterprise)

    response = admin_client.post(user_page(user), user_form(user, is_staff="on"))

    assert response.status_code == 200
    assert "Only operators, who have no enterprise, enter the admin." in response.content.decode()
    with operator_scope():
        assert not User.objects.get(pk=user.pk).is_staff


def test_change_user__by_operator_without_superuser__gives_no_powers() -> None:
    client = limited_client("change_user", "view_user")
    user = make_person(None)

    response = client.post(user_page(user), user_form(user, is_superuser="on", is_staff="on"))

    assert response.status_code == 302
    with operator_scope():
        now = User.objects.get(pk=user.pk)
    assert not now.is_superuser
    assert not now.is_staff


@pytest.mark.parametrize("url_name", ["tenants_user_change", "auth_user_password_change"])
@pytest.mark.parametrize("superuser", [True, False])
def test_change_operator__by_one_without_superuser__is_refused(
    url_name: str, superuser: bool
) -> None:
    client = limited_client("change_user", "view_user")
    target = factories.make_operator(superuser=superuser)
    words = "quite other words than before"

    response = client.post(
        reverse(f"admin:{url_name}", args=[target.pk]),
        {**user_form(target, name="Taken"), "password1": words, "password2": words},
    )

    assert response.status_code == 403
    with operator_scope():
        now = User.objects.get(pk=target.pk)
    assert now.name == target.name
    assert now.check_password(factories.PASSWORD)


def test_password_form__superuser__changes_it_and_ends_the_sessions(
    admin_client: Client,
) -> None:
    operator = factories.make_operator(superuser=False)
    client = factories.make_admin_client(operator)
    words = "quite other words than before"

    admin_client.post(
        reverse("admin:auth_user_password_change", args=[operator.pk]),
        {"usable_password": "true", "password1": words, "password2": words},
    )

    with operator_scope():
        assert User.objects.get(pk=operator.pk).check_password(words)
    assert client.get("/admin/").status_code == 302


def test_delete_user__with_reason__frees_the_email_and_keeps_the_row(
    admin_client: Client, enterprise: Enterprise
) -> None:
    user = make_person(enterprise)

    admin_client.post(
        user_page(user, "delete_softly"), {"_form_submitted": "1", "reason": "Left the company"}
    )

    with operator_scope():
        now = User.objects.get(pk=user.pk)
    assert now.deleted_at is not None
    assert not now.is_active
    assert last_event("users", user.pk).reason == "Left the company"
    make = admin_client.post(user_page(user), user_form(user))
    assert make.status_code == 403


def test_delete_user__oneself__is_left_out() -> None:
    operator = factories.make_operator()
    client = factories.make_admin_client(operator)

    response = client.post(
        user_page(operator, "delete_softly"), {"_form_submitted": "1", "reason": "Oops"}
    )

    assert "is yourself" in told(client, response)
    with operator_scope():
        assert User.objects.get(pk=operator.pk).deleted_at is None


def test_delete_user__view_only_operator__is_refused(enterprise: Enterprise) -> None:
    user = make_person(enterprise)
    client = limited_client("view_user", "change_user")

    response = client.post(
        user_page(user, "delete_softly"), {"_form_submitted": "1", "reason": "Because"}
    )

    assert response.status_code == 403
    with operator_scope():
        assert User.objects.get(pk=user.pk).deleted_at is None


def test_delete_operator__by_one_without_superuser__is_left_out() -> None:
    target = factories.make_operator(superuser=False)
    client = limited_client("view_user", "delete_user")

    response = client.post(
        user_page(target, "delete_softly"), {"_form_submitted": "1", "reason": "Because"}
    )

    assert "is an operator" in told(client, response)
    with operator_scope():
        assert User.objects.get(pk=target.pk).deleted_at is None


def test_hard_delete_user__superuser__is_refused(
    admin_client: Client, enterprise: Enterprise
) -> None:
    user = make_person(enterprise)

    assert admin_client.post(user_page(user, "delete"), {"post": "yes"}).status_code == 403
    with operator_scope():
        assert User.objects.filter(pk=user.pk).exists()


def test_deleted_operator__with_a_session__is_out_at_once() -> None:
    operator = factories.make_operator()
    client = factories.make_admin_client(operator)
    assert client.get("/admin/").status_code == 200

    with operator_scope():
        operations.delete_user(user=operator)

    assert client.get("/admin/").status_code == 302


def test_enterprise_list__several__counts_their_keys_in_one_query(admin_client: Client) -> None:
    for _ in range(3):
        factories.make_enterprise()

    connection = connections["operator"]
    connection.force_debug_cursor = True
    try:
        connection.queries_log.clear()
        admin_client.get(LIST)
        queries = [query["sql"] for query in connection.queries]
    finally:
        connection.force_debug_cursor = False

    assert len([sql for sql in queries if 'FROM "api_keys"' in sql]) <= 1
