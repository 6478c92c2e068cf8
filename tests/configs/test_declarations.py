"""A declaration changes only as far as values, drafts and the code can follow."""

from __future__ import annotations

from typing import Any

import pytest

from apps.configs import operations
from apps.configs.models import ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import Proposal
from apps.tenants.models import Enterprise
from layoverhq.errors import Conflict, InvalidInput
from tests.configs.factories import declare, draft, publish

pytestmark = pytest.mark.usefixtures("operator")


def changed(key: ConfigKey, **fields: Any) -> ConfigKey:
    """Save the declaration with these fields, as a form does that shows no others."""
    standing = ConfigKey.objects.get(pk=key.pk)
    form = ConfigKey(
        key=key.key,
        value_type=standing.value_type,
        schema=standing.schema,
        description=standing.description,
        category_id=standing.category_id,
        is_secret=standing.is_secret,
        tenant_visible=standing.tenant_visible,
        tenant_overridable=standing.tenant_overridable,
    )
    for name, value in fields.items():
        setattr(form, name, value)
    return operations.save_declaration(key=form, base_version=standing.version)


def refused(key: ConfigKey, **fields: Any) -> str:
    before = ConfigKey.objects.filter(pk=key.pk).values().get()
    with pytest.raises(InvalidInput) as error:
        changed(key, **fields)
    assert ConfigKey.objects.filter(pk=key.pk).values().get() == before
    return error.value.detail


def test_save_declaration__schema_forbids_the_declared_default__is_refused() -> None:
    key = declare(default_value=5)
    assert "default_value: At most 4." in refused(key, schema={"maximum": 4})


def test_save_declaration__schema_forbids_values_that_hold__names_them(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    key = declare()
    publish(Proposal(key.key, 5), Proposal(key.key, 50, enterprise))
    publish(Proposal(key.key, 3, other_enterprise))
    told = refused(key, schema={"maximum": 4})
    assert f"{key.key}, version 1: At most 4." in told
    assert f"{key.key} for {enterprise}, version 1: At most 4." in told
    assert str(other_enterprise) not in told
    assert changed(key, schema={"maximum": 50}).version == 2
    # Those that do not hold any more are history.
    publish(Proposal(key.key, 1), Proposal(key.key, 1, enterprise))
    assert changed(key, schema={"maximum": 4}).version == 3


def test_save_declaration__schema_forbids_a_staged_value__is_refused(
    enterprise: Enterprise,
) -> None:
    key = declare()
    operations.stage_release(
        change_set=draft(Proposal(key.key, 5)), percentage=0, enterprises=[enterprise]
    )
    assert "At most 4." in refused(key, schema={"maximum": 4})


def test_save_declaration__schema_forbids_a_secret__does_not_repeat_it() -> None:
    key = declare(value_type="string", is_secret=True)
    publish(Proposal(key.key, "hush hush"))
    told = refused(key, schema={"maxLength": 4})
    assert "At most 4 characters." in told
    assert "hush" not in told


def test_save_declaration__other_words_only__ask_for_no_other_values() -> None:
    key = declare()
    publish(Proposal(key.key, 5))
    assert changed(key, description="In other words.").description == "In other words."


def change_set_with(key: ConfigKey, value: Any) -> ConfigChangeSet:
    """Draft a value, then forbid it."""
    change_set = draft(Proposal(key.key, value))
    changed(key, schema={"maximum": 4})
    return change_set


def test_publish_change_set__value_forbidden_since__is_refused_by_name() -> None:
    key = declare()
    change_set = change_set_with(key, 5)
    with pytest.raises(InvalidInput, match=f"^{key.key}: At most 4"):
        operations.publish_change_set(change_set=change_set)
    assert not SystemConfig.objects.filter(config_key=key, is_active=True).exists()


def test_stage_release__value_forbidden_since__is_refused_by_name(enterprise: Enterprise) -> None:
    key = declare()
    change_set = change_set_with(key, 5)
    with pytest.raises(InvalidInput, match=f"^{key.key}: At most 4"):
        operations.stage_release(change_set=change_set, enterprises=[enterprise])
    assert not SystemConfig.objects.filter(config_key=key, status="staged").exists()


def test_publish_change_set__secret_that_nobody_can_open__is_refused(settings: Any) -> None:
    key = declare(value_type="string", is_secret=True)
    change_set = draft(Proposal(key.key, "hush"))
    settings.ENCRYPTION_KEYS = []
    with pytest.raises(InvalidInput, match="does not open"):
        operations.publish_change_set(change_set=change_set)


def test_withdraw_declaration__code_reads_it__is_refused() -> None:
    with pytest.raises(Conflict, match=r"The code reads web\.threads"):
        operations.withdraw_declaration(key=ConfigKey.objects.get(pk="web.threads"))
    assert ConfigKey.objects.filter(pk="web.threads").exists()
    key = declare()
    operations.withdraw_declaration(key=key)
    assert not ConfigKey.objects.filter(pk=key.key).exists()
