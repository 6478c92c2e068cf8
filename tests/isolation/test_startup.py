"""A process that could not hold tenants apart does not serve."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.db import connections
from psycopg import sql

from layoverhq.environment import EnvironmentProblem
from layoverhq.startup import SERVING, verify, verify_isolation
from tests.isolation import roles
from tests.servers import ENDPOINTS


def run_manage(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def role_with(attributes: str) -> Iterator[str]:
    """Make a login role with these attributes for a while; yields its URL."""
    name, password = f"intruder_{secrets.token_hex(4)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    with roles.connect_as_superuser() as superuser:
        superuser.execute(
            sql.SQL("create role {} login {} password {}").format(
                role, sql.SQL(attributes), sql.Literal(password)
            )
        )
        superuser.execute(
            sql.SQL("grant connect on database {} to {}").format(
                sql.Identifier(roles.database_name()), role
            )
        )
        superuser.execute(sql.SQL("grant usage on schema public to {}").format(role))
        url = ENDPOINTS.url(roles.APP, roles.database_name())
        secret = url.partition("://")[2].partition("@")[0]
        try:
            yield url.replace(secret, f"{name}:{password}")
        finally:
            superuser.execute(sql.SQL("drop owned by {}").format(role))
            superuser.execute(sql.SQL("drop role {}").format(role))


def assert_refused(process: subprocess.CompletedProcess[str], variable: str, words: str) -> None:
    assert process.returncode == 1, process.stderr
    lines = process.stderr.strip().splitlines()
    assert len(lines) == 1, process.stderr
    assert lines[0].startswith(f"error: {variable}: ")
    assert words in lines[0]
    assert process.stdout == ""


@pytest.mark.parametrize(
    ("attributes", "variable"),
    [("superuser", "DATABASE_URL"), ("bypassrls", "OPERATOR_DATABASE_URL")],
)
def test_serve__role_that_breaks_rls__refuses_in_one_line(attributes, variable):
    with role_with(attributes) as url:
        process = run_manage("serve", **{variable: url, "PORT": "1"})
    assert_refused(process, variable, "superuser or BYPASSRLS")


def test_serve__operators_url_for_the_runtime_role__refuses():
    url = ENDPOINTS.url(roles.OPERATOR, roles.database_name())
    assert_refused(run_manage("serve", DATABASE_URL=url), "DATABASE_URL", "every tenant's rows")


def test_serve__database_without_migrations__refuses_in_one_line():
    url = ENDPOINTS.url(roles.APP, "layoverhq")
    operator = ENDPOINTS.url(roles.OPERATOR, "layoverhq")
    process = run_manage("serve", DATABASE_URL=url, OPERATOR_DATABASE_URL=operator)
    assert_refused(process, "DATABASE_URL", "not migrated")


def test_serve__unreachable_database__refuses_without_the_password():
    process = run_manage("serve", DATABASE_URL="postgresql://u:s3cret@127.0.0.1:1/x")
    assert_refused(process, "DATABASE_URL", "127.0.0.1:1")
    assert "s3cret" not in process.stderr


def test_wsgi__role_that_breaks_rls__refuses_as_well():
    with role_with("bypassrls") as url:
        process = subprocess.run(
            [sys.executable, "-c", "import layoverhq.wsgi"],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert_refused(process, "DATABASE_URL", "BYPASSRLS")


def test_verify__the_suites_own_roles__may_serve():
    verify()


@pytest.mark.parametrize(
    ("statements", "guarded"),
    [
        (["create table public.stray (enterprise_id uuid)"], False),
        (
            [
                "create table public.stray (enterprise_id uuid)",
                "alter table public.stray enable row level security",
                "create policy tenant_isolation on public.stray using (true)",
            ],
            False,
        ),
        (
            [
                "create table public.stray (enterprise_id uuid)",
                "alter table public.stray enable row level security, force row level security",
            ],
            False,
        ),
        (
            [
                "create schema stray",
                "create table stray.stray (enterprise_id uuid)",
            ],
            False,
        ),
        (
            [
                "create table public.stray (enterprise_id uuid)",
                "select enable_tenant_isolation('public.stray')",
            ],
            True,
        ),
    ],
)
def test_verify__tenant_table__needs_a_forced_policy(statements, guarded):
    with roles.connect_as(roles.OWNER) as owner:
        try:
            for statement in statements:
                owner.execute(statement)
            for alias in SERVING:
                if guarded:
                    verify_isolation(alias)
                    continue
                with pytest.raises(EnvironmentProblem, match=r"_URL: tables without.*stray"):
                    verify_isolation(alias)
        finally:
            owner.execute("drop table if exists public.stray")
            owner.execute("drop schema if exists stray cascade")


@pytest.mark.parametrize("attributes", ["in role layoverhq_operator", "in role layoverhq_owner"])
def test_verify__role_that_may_become_the_operator__is_refused_for_the_runtime_alias(attributes):
    wrapper = connections["default"]
    kept = dict(wrapper.settings_dict)
    with role_with(attributes) as url:
        wrapper.close()
        name, _, password = url.partition("://")[2].partition("@")[0].partition(":")
        wrapper.settings_dict.update(USER=name, PASSWORD=password)
        try:
            with pytest.raises(EnvironmentProblem, match=r"DATABASE_URL.*every tenant's rows"):
                verify_isolation("default")
        finally:
            wrapper.close()
            wrapper.settings_dict.update(kept)
