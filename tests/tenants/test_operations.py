"""Onboarding, suspension, keys and people: what changes, and what is refused."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.tenants.backends import OperatorBackend
from apps.tenants.directory import token_hash
from apps.tenants.models import ApiKey, Enterprise, Plan, Scope, User
from apps.tenants.operations import (
    NewEnterprise,
    WrongStatus,
    create_operator,
    delete_user,
    issue_api_key,
    onboard_enterprise,
    onboard_enterprises,
    resume_enterprise,
    revoke_api_keys,
    set_password,
    suspend_enterprise,
)
from apps.trips.models import Traveller
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import atomic, operator_scope, tenant_scope
from tests.isolation import roles
from tests.tenants.factories import PASSWORD, make_enterprise, make_key, make_operator, unique

pytestmark = pytest.mark.usefixtures("operator")


def stored(enterprise: Enterprise) -> Enterprise:
    return Enterprise.objects.get(pk=enterprise.pk)


def refused(**fields: Any) -> list[tuple[str, str]]:
    """Return the fields and codes that a single onboarding is refused for."""
    wanted = {"name": "Acme", "slug": unique("acme"), **fields}
    with pytest.raises(InvalidInput) as refusal:
        onboard_enterprise(**wanted)
    assert not Enterprise.objects.filter(slug=wanted["slug"], name=wanted["name"]).exists()
    return [(error.field, error.code) for error in refusal.value.errors]


def test_onboard__one__is_active_pooled_and_audited():
    slug = unique("acme")
    enterprise = stored(onboard_enterprise(name="  Acme Travel ", slug=slug))
    assert (enterprise.name, enterprise.slug) == ("Acme Travel", slug)
    assert (enterprise.status, enterprise.isolation) == ("active", "pooled")
    assert enterprise.subscription_plan == Plan.FREE
    assert AuditEvent.objects.filter(table_name="enterprises", row_id=enterprise.pk).count() == 1


def test_onboard__a_thousand__are_there_by_few_statements(django_assert_max_num_queries):
    start = unique("bulk")
    with django_assert_max_num_queries(8, connection=connections["operator"]):
        made = onboard_enterprises(
            enterprises=[
                NewEnterprise(f"Bulk {number}", f"{start}-{number}") for number in range(1000)
            ]
        )
    assert len(made) == 1000
    assert Enterprise.objects.filter(slug__startswith=f"{start}-").count() == 1000
    assert len({enterprise.schema_name for enterprise in made}) == 1000
    with roles.connect_as_superuser() as superuser:
        row = superuser.execute(
            "select count(*) from pg_namespace where nspname ^@ %s",
            ["tenant_" + start.replace("-", "_")],
        ).fetchone()
    assert row == (0,)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, [("name", "invalid")]),
        ({"name": "   "}, [("name", "invalid")]),
        ({"name": "x" * 201}, [("name", "invalid")]),
        ({"slug": ""}, [("slug", "invalid")]),
        ({"slug": "Acme"}, [("slug", "invalid")]),
        ({"slug": "acme_travel"}, [("slug", "invalid")]),
        ({"slug": "-acme"}, [("slug", "invalid")]),
        ({"slug": "acme--x"}, [("slug", "invalid")]),
        ({"slug": "acme\n"}, [("slug", "invalid")]),
        ({"slug": "acmé"}, [("slug", "invalid")]),
        ({"slug": "a" * 51}, [("slug", "invalid")]),
        ({"slug": "x'; drop schema public; --"}, [("slug", "invalid")]),
        ({"subscription_plan": "gold"}, [("subscription_plan", "invalid")]),
        ({"name": "", "slug": "A", "subscription_plan": ""},
         [("name", "invalid"), ("slug", "invalid"), ("subscription_plan", "invalid")]),
    ],
)  # fmt: skip
def test_onboard__faulty_field__is_named(fields, named):
    assert refused(**fields) == named


def test_onboard__faulty_lines__are_all_named_and_none_is_added():
    taken, good, twice = make_enterprise().slug, unique("good"), unique("twice")
    with pytest.raises(InvalidInput) as refusal:
        onboard_enterprises(
            enterprises=[
                NewEnterprise("Good", good),
                NewEnterprise("Taken", taken),
                NewEnterprise("Twice", twice),
                NewEnterprise("Twice", twice),
                NewEnterprise("", "No Slug"),
            ]
        )
    assert [(e.field, e.code, e.detail.partition(":")[0]) for e in refusal.value.errors] == [
        ("slug", "conflict", "line 2"),
        ("slug", "repeated", "line 4"),
        ("name", "invalid", "line 5"),
        ("slug", "invalid", "line 5"),
    ]
    assert not Enterprise.objects.filter(slug__in=[good, twice]).exists()


def test_onboard__nobody__is_nothing():
    assert onboard_enterprises(enterprises=[]) == []


def test_onboard__slug_of_an_offboarded__is_free_with_a_schema_name_of_its_own():
    first = make_enterprise()
    Enterprise.objects.filter(pk=first.pk).update(
        status=Enterprise.Status.OFFBOARDED, deleted_at=timezone.now()
    )
    second = onboard_enterprise(name="Again", slug=first.slug)
    assert second.schema_name != first.schema_name
    assert len(second.schema_name) <= 63
    assert refused(slug=first.slug) == [("slug", "conflict")]


def test_onboard__longest_slug_again__fits_an_identifier():
    slug = ("a" * 30 + unique("b"))[:50].rstrip("-")
    first = make_enterprise(slug=slug)
    Enterprise.objects.filter(pk=first.pk).update(deleted_at=timezone.now())
    assert len(onboard_enterprise(name="Again", slug=slug).schema_name.encode()) <= 63


def test_onboard__runtime_role__may_not():
    with (
        tenant_scope(make_enterprise().ref),
        pytest.raises(Exception, match="permission denied for table enterprises"),
    ):
        onboard_enterprise(name="Mine", slug=unique("mine"))


def test_suspend__active__keeps_all_its_data():
    enterprise = make_enterprise()
    key = make_key(enterprise).key
    with tenant_scope(enterprise.ref):
        Traveller.objects.create(enterprise=enterprise, reference="T1", name="Ann")
    assert suspend_enterprise(enterprise=enterprise).status == Enterprise.Status.SUSPENDED
    assert stored(enterprise).status == Enterprise.Status.SUSPENDED
    assert ApiKey.objects.get(pk=key.pk).revoked_at is None
    assert Traveller.objects.filter(enterprise=enterprise).count() == 1


def test_resume__suspended__is_active_again():
    enterprise = make_enterprise()
    suspend_enterprise(enterprise=enterprise)
    assert resume_enterprise(enterprise=enterprise).status == Enterprise.Status.ACTIVE
    assert stored(enterprise).status == Enterprise.Status.ACTIVE


def test_suspend__suspended_already__is_refused_and_says_why():
    enterprise = make_enterprise()
    suspend_enterprise(enterprise=enterprise)
    with pytest.raises(WrongStatus, match="is suspended; it cannot be suspended") as refusal:
        suspend_enterprise(enterprise=enterprise)
    assert refusal.value.status == 409


@pytest.mark.parametrize("status", ["active", "offboarding", "offboarded"])
def test_resume__not_suspended__is_refused(status):
    enterprise = make_enterprise()
    Enterprise.objects.filter(pk=enterprise.pk).update(status=status)
    with pytest.raises(WrongStatus):
        resume_enterprise(enterprise=enterprise)
    assert stored(enterprise).status == status


def test_suspend__two_operators_at_once__one_is_refused():
    enterprise = make_enterprise()
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def suspend() -> None:
        try:
            with operator_scope():
                start.wait(timeout=10)
                suspend_enterprise(enterprise=enterprise)
                outcomes.append("done")
        except WrongStatus:
            outcomes.append("refused")
        finally:
            connections["operator"].close()

    threads = [threading.Thread(target=suspend) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(outcomes) == ["done", "refused"]


def test_issue__key__stores_the_hash_and_no_token():
    enterprise = make_enterprise()
    issued = issue_api_key(
        enterprise=enterprise,
        name=" Nightly ",
        scopes=[Scope.FLIGHTS_READ, Scope.ACCOUNT_READ, Scope.FLIGHTS_READ],
    )
    key = ApiKey.objects.get(pk=issued.key.pk)
    assert bytes(key.key_hash) == token_hash(issued.token)
    assert key.scopes == [Scope.ACCOUNT_READ, Scope.FLIGHTS_READ]
    assert (key.name, key.expires_at, key.revoked_at, key.last_used_at) == (
        "Nightly", None, None, None,
    )  # fmt: skip
    assert issued.token.startswith(key.prefix)
    # What is shown of a token must not help to guess it.
    assert len(issued.token) - len(key.prefix) >= 32
    with roles.connect_as_superuser() as superuser:
        row = superuser.execute("select k::text from api_keys k where id = %s", [key.pk]).fetchone()
    assert row is not None
    assert issued.token not in row[0]


def test_issue__two_keys__differ():
    enterprise = make_enterprise()
    assert make_key(enterprise).token != make_key(enterprise).token


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": [Scope.FLIGHTS_READ, "flights:sell"]}, "scopes"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expires_at"),
    ],
)
def test_issue__faulty_field__is_named_and_no_key_made(fields, named):
    enterprise = make_enterprise()
    wanted = {"enterprise": enterprise, "name": "x", "scopes": [Scope.FLIGHTS_READ], **fields}
    with pytest.raises(InvalidInput) as refusal:
        issue_api_key(**wanted)
    assert [error.field for error in refusal.value.errors] == [named]
    assert not ApiKey.objects.filter(enterprise=enterprise).exists()


def test_issue__for_an_offboarded_enterprise__is_refused():
    enterprise = make_enterprise()
    enterprise.deleted_at = timezone.now()
    with pytest.raises(InvalidInput) as refusal:
        issue_api_key(enterprise=enterprise, name="x", scopes=[Scope.FLIGHTS_READ])
    assert [error.field for error in refusal.value.errors] == ["enterprise"]


def test_revoke__keys__counts_those_that_were_not_and_keeps_the_time():
    enterprise = make_enterprise()
    first, second = make_key(enterprise).key, make_key(enterprise).key
    assert revoke_api_keys(keys=[first]) == 1
    at = ApiKey.objects.get(pk=first.pk).revoked_at
    assert revoke_api_keys(keys=[first, second]) == 1
    assert ApiKey.objects.get(pk=first.pk).revoked_at == at
    assert revoke_api_keys(keys=[]) == 0


def test_usable__keys__leave_out_revoked_and_expired():
    enterprise = make_enterprise()
    now = timezone.now()
    good = make_key(enterprise, expires_at=now + timedelta(hours=1)).key
    revoked, expired = make_key(enterprise).key, make_key(enterprise).key
    revoke_api_keys(keys=[revoked])
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=now)
    assert list(ApiKey.objects.filter(enterprise=enterprise).usable(now)) == [good]


def make_user(email: str = "", password: str | None = None, **fields: Any) -> User:
    with atomic():
        user: User = User.objects.create_user(
            email or f"{unique('ann')}@example.com", password, **fields
        )
        return user


def test_email__same_in_other_letters__is_taken_among_the_living():
    user = make_user()
    with pytest.raises(IntegrityError, match="users_email_living"):
        make_user(user.email.upper())
    with pytest.raises(IntegrityError, match="users_email_living"):
        make_user(user.email.title(), enterprise=make_enterprise())


def test_delete_user__softly__frees_the_email_and_ends_the_password():
    user = make_user(password=PASSWORD, is_staff=True)
    delete_user(user=user)
    gone = User.objects.get(pk=user.pk)
    assert gone.deleted_at is not None
    assert (gone.is_active, gone.has_usable_password()) == (False, False)
    assert user.email not in User.objects.living().values_list("email", flat=True)
    again = make_user(user.email, is_staff=True)
    assert User.objects.get_by_natural_key(user.email.upper()) == again


def test_delete_user__again__keeps_the_first_time():
    user = make_user()
    first = delete_user(user=user).deleted_at
    assert delete_user(user=user).deleted_at == first


def test_login__operator__by_email_in_any_letters():
    operator = make_operator()
    backend = OperatorBackend()
    assert backend.authenticate(None, operator.email.upper(), PASSWORD) == operator
    assert backend.authenticate(None, operator.email, PASSWORD + "x") is None
    assert backend.authenticate(None, "nobody@example.com", PASSWORD) is None


@pytest.mark.parametrize("state", ["deleted", "inactive", "of an enterprise"])
def test_login__who_may_not__is_refused(state):
    user = make_user(
        password=PASSWORD,
        is_staff=state != "of an enterprise",
        enterprise=make_enterprise() if state == "of an enterprise" else None,
        is_active=state != "inactive",
    )
    if state == "deleted":
        User.objects.filter(pk=user.pk).update(deleted_at=timezone.now())
    assert OperatorBackend().authenticate(None, user.email, PASSWORD) is None


@pytest.mark.parametrize("field", ["is_staff", "is_superuser"])
def test_enterprises_user__made_an_operator__is_refused_by_the_database(field):
    user = make_user(enterprise=make_enterprise())
    with pytest.raises(IntegrityError, match="are_operators"), atomic():
        User.objects.filter(pk=user.pk).update(**{field: True})


@pytest.mark.parametrize("password", ["short", "password12345", "password1234", ""])
def test_create_operator__weak_password__is_refused_and_nobody_made(password):
    email = f"{unique('op')}@example.com"
    with pytest.raises(ValidationError):
        create_operator(email=email, password=password)
    assert not User.objects.filter(email=email).exists()


def test_set_password__weak__is_refused_and_the_old_one_stays():
    operator = make_operator(superuser=False)
    with pytest.raises(ValidationError):
        set_password(user=operator, password="short")
    assert User.objects.get(pk=operator.pk).check_password(PASSWORD)
    set_password(user=operator, password="another long pass phrase")
    stored = User.objects.get(pk=operator.pk)
    assert stored.check_password("another long pass phrase")
    event = AuditEvent.objects.about("users", operator.pk).get(operation="UPDATE")
    assert event.new_values["password"] == "[redacted]"


def test_create_operator__password__is_stored_as_argon2():
    operator = make_operator(superuser=False)
    assert operator.password.startswith("argon2$argon2id$")
    assert (operator.is_staff, operator.is_superuser, operator.is_operator) == (True, False, True)
    assert operator in User.objects.operators()
