"""Configuration leaves and comes back as YAML, and a hand-written document is read strictly."""

from __future__ import annotations

import json
import string
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apps.configs import documents, operations
from apps.configs.differences import MASK, NOTHING
from apps.configs.documents import (
    MAXIMUM_DOCUMENT_BYTES,
    DocumentValue,
    Sealed,
    read_document,
    write_document,
)
from apps.configs.exchange import ImportPlan, draft_import, export_document, plan_import
from apps.configs.models import ConfigChangeSet, ConfigKey, SystemConfig
from apps.configs.operations import UNSET, Proposal
from apps.tenants.models import Enterprise
from layoverhq import strict_yaml
from layoverhq.errors import FieldError, InvalidInput, StaleVersion
from layoverhq.tenancy import operator_scope, tenant_scope
from tests.configs.factories import declare, key_name, publish
from tests.tenants import factories

HEAD = "format: layoverhq-config\nversion: 1\n"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "", " ", "~", "null", "Null", "true", "True", "yes", "no", "on", "off", "y", "n", "=", "<<",
        "1", "01", "0o7", "0x1F", "1_000", "+1", "-0", "1e5", "1E+5", "1.", ".5", "1.0", "12:30:45",
        ".inf", "-.INF", ".nan", "NaN", "2026-12-01", "2026-12-01T09:00:00Z", "- x", "a: b", "# c",
        "&a", "*a", "!x", "%x", "@x", "`x", "|", ">", "'", '"', "\\", "\n", "a\n", "\na", "a\r\nb",
        "\t", "\x00", "\x07", "\x1b", "\x7f", "\x85", "\xa0", "\u2028", "\ufeff", "é", "東京", "😀",
        "\U0010ffff", "---", "...", "{", "[", "x" * 300, "sealed:x", "!sealed", "platform",
    ]
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
names = st.text(string.ascii_lowercase + string.digits + "_.-", min_size=1, max_size=12) | texts
document_values = st.lists(
    st.builds(
        DocumentValue,
        names,
        st.none() | names,
        json_values | st.builds(Sealed, texts) | st.just(UNSET),
    ),
    max_size=8,
    unique_by=lambda value: (value.key, value.tenant),
)


def exact(values: list[DocumentValue]) -> list[str]:
    """Return the values as texts that differ wherever types do."""

    def told(value: Any) -> str:
        if value is UNSET or isinstance(value, Sealed):
            return repr(value)
        return json.dumps(value, sort_keys=True)

    return sorted(json.dumps([each.key, each.tenant, told(each.value)]) for each in values)


@given(document_values)
def test_document__written_and_read__is_exactly_the_same(values: list[DocumentValue]) -> None:
    text = write_document(values)
    assert exact(read_document(text)) == exact(values)
    assert exact(read_document(text.encode())) == exact(values)
    assert write_document(values[::-1]) == text


@given(json_values)
def test_document__read_by_a_usual_parser__holds_the_same(value: Any) -> None:
    # What others make of it: YAML 1.1, where yes is true and 1:30 is ninety.
    text = write_document([DocumentValue("a.b", None, value)])
    found = yaml.safe_load(text)["platform"]["a.b"]
    assert json.dumps(found, sort_keys=True) == json.dumps(value, sort_keys=True)


def test_document__deepest_value__is_written_and_read() -> None:
    value: Any = 1
    for _ in range(documents.MAXIMUM_DEPTH):
        value = [value]
    values = [DocumentValue("a.b", "acme", value)]
    assert read_document(write_document(values)) == values


def read(body: str) -> list[DocumentValue]:
    return read_document(HEAD + body)


def faults(document: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as refused:
        read_document(document)
    return [(error.field, error.detail) for error in refused.value.errors]


def test_read_document__by_hand__means_what_json_means() -> None:
    read_values = read(
        """
platform:
  a.word: yes
  a.day: 2026-12-01
  a.time: 12:30
  a.octal: 010
  a.quoted: "1"
  a.number: -1.5e3
  a.whole: 30
  a.switch: true
  a.object: {x: [1, null], "2": no}
tenants:
  acme:
    a.secret: !sealed "sealed:k:AAAA"
unset:
  platform: [a.gone]
  tenants:
    globex:
    - a.word
"""
    )
    assert {(each.tenant, each.key): each.value for each in read_values} == {
        (None, "a.word"): "yes",
        (None, "a.day"): "2026-12-01",
        (None, "a.time"): "12:30",
        (None, "a.octal"): "010",
        (None, "a.quoted"): "1",
        (None, "a.number"): -1500.0,
        (None, "a.whole"): 30,
        (None, "a.switch"): True,
        (None, "a.object"): {"x": [1, None], "2": "no"},
        ("acme", "a.secret"): Sealed("sealed:k:AAAA"),
        (None, "a.gone"): UNSET,
        ("globex", "a.word"): UNSET,
    }
    assert {each.key: each.line for each in read_values}["a.whole"] == 11


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ("platform:\n  a.b: 1\n  a.b: 2\n", "document", "Line 5: “a.b” stands twice."),
        ("platform: {}\nplatform: {}\n", "document", "Line 4: “platform” stands twice."),
        ("platform:\n  a.b: {x: 1, x: 1}\n", "document", "Line 4: “x” stands twice."),
        ("platform: {a.b: 1}\nunset: {platform: [a.b]}\n", "a.b", "Line 4: stands twice."),
        ("platform:\n  a.b: &x 1\n", "document", "Line 4: anchors and aliases"),
        ("platform: &x\n  a.b: 1\n", "document", "Line 3: anchors and aliases"),
        ("platform:\n  a.b: *x\n", "document", "Line 4: anchors and aliases"),
        ("platform:\n  a.b: .inf\n", "document", "Line 4: NaN and Infinity are no values"),
        ("platform:\n  a.b: [-.INF]\n", "document", "Line 4: NaN and Infinity are no values"),
        ("platform:\n  a.b: .NaN\n", "document", "Line 4: NaN and Infinity are no values"),
        ("platform:\n  a.b: 1e999\n", "document", "Line 4: the number is too large."),
        (f"platform:\n  a.b: {'9' * 5000}\n", "document", "Line 4: no number has so many"),
        ("platform:\n  a.b: !!str 1\n", "document", "Line 4: tags are not used here"),
        ("platform:\n  a.b: !!python/name:os.system\n", "document", "Line 4: tags are"),
        ("platform:\n  a.b: !!set {x: 1}\n", "document", "Line 4: tags are not used here"),
        ("platform:\n  a.b: {x: !sealed s}\n", "document", "Line 4: a secret is sealed as a whole"),
        ("platform:\n  1: 1\n", "document", "Line 4: a name is a text"),
        ("platform:\n  a.b: {true: 1}\n", "document", "Line 4: a name is a text"),
        ("platform:\n  ? [a]\n  : 1\n", "document", "Line 4: a name is a text"),
        ("platform:\n  a.b: [1\n", "document", "Line 5: did not find expected"),
        ("platform:\n\ta.b: 1\n", "document", "Line 4: found character"),
        ("platform:\n  a.b: 1\n---\nx: 1\n", "document", "Line 6: a second document"),
        (
            f"platform:\n  a.b: {'[' * 40}{']' * 40}\n",
            "document",
            "Line 4: it has more than 36 levels",
        ),
        (f"platform:\n  a.b: {'[' * 90_000}\n", "document", "Line 4: it has more than 36 levels"),
        ("platforms: {}\n", "platforms", "Line 3: is none of format, platform, tenants"),
        ("unset: {keys: []}\n", "keys", "Line 3: is none of platform, tenants."),
        ("platform: [a.b]\n", "platform", "Line 3: holds names with values."),
        ("platform:\n", "platform", "Line 3: holds names with values."),
        ("tenants: acme\n", "tenants", "Line 3: holds names with values."),
        ("tenants:\n  acme: 5\n", "acme", "Line 4: holds names with values."),
        ("unset: {platform: a.b, tenants: {acme: 5}}\n", "acme", "Line 3: holds a list of keys."),
        ("unset: {platform: [[a.b]]}\n", "platform", "Line 3: holds a list of keys."),
    ],
)
def test_read_document__what_json_could_not_say__is_refused_with_its_line(
    body: str, field: str, told: str
) -> None:
    (fault,) = [each for each in faults(HEAD + body) if each[0] == field]
    assert fault[1].startswith(told), fault


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ("", ["document"]),
        ("# nothing\n", ["document"]),
        ("5", ["the document", "format", "version"]),
        ("version: 1", ["format"]),
        ("format: layoverhq-config", ["version"]),
        ("format: other\nversion: 2", ["format", "version"]),
        ("format: layoverhq-config\nversion: true", ["version"]),
        ("format: layoverhq-config\nversion: '1'", ["version"]),
        (b"\xff\xfe", ["document"]),
        ("\ud800", ["document"]),
        ("a: \x00", ["document"]),
        ("#" * (MAXIMUM_DOCUMENT_BYTES + 1), ["document"]),
    ],
)
def test_read_document__no_document_of_ours__is_refused(
    document: str | bytes, fields: list[str]
) -> None:
    assert [field for field, _ in faults(document)] == fields


def test_read_document__laughs__are_refused_before_they_grow() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    ((_, told),) = faults("\n".join(lines))
    assert told == "Line 1: anchors and aliases are not used here."


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_read_document__any_text__is_read_or_refused(text: str | bytes) -> None:
    with suppress(InvalidInput):
        assert read_document(text) == []


def test_read_document__without_libyaml__reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "Loader", yaml.SafeLoader)
    assert read("platform: {a.b: 1e3}") == [DocumentValue("a.b", None, 1000.0)]
    assert faults(f"{HEAD}platform:\n  a.b: *x\n") == [
        ("document", "Line 4: anchors and aliases are not used here.")
    ]
    for broken in ("platform: [", "\x00", "a: 'b", "%YAML 9.9\n---\n"):
        assert faults(broken)


# What is exported


@pytest.fixture
def key() -> ConfigKey:
    return declare(tenant_visible=True, tenant_overridable=True)


@pytest.fixture
def secret() -> ConfigKey:
    return declare(value_type="string", is_secret=True)


def exported(key: ConfigKey, **options: Any) -> str:
    with operator_scope():
        return export_document(prefix=key.key, **options)


def test_export_document__values__are_those_that_hold(
    key: ConfigKey, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    publish(Proposal(key.key, 1), Proposal(key.key, 10, enterprise))
    publish(Proposal(key.key, 2), Proposal(key.key, 20, other_enterprise))
    publish(Proposal(key.key, UNSET, other_enterprise))
    with operator_scope():
        operations.stage_release(
            change_set=operations.draft_change_set(
                title="staged", reason="test", proposals=[Proposal(key.key, 3)], actor=None
            ),
            percentage=100,
        )
    assert exported(key) == (
        f"{HEAD}platform:\n  {key.key}: 2\ntenants:\n  {enterprise.slug}:\n    {key.key}: 10\n"
    )


def test_export_document__choice__narrows_it(
    key: ConfigKey, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    publish(
        Proposal(key.key, 1),
        Proposal(key.key, 2, enterprise),
        Proposal(key.key, 3, other_enterprise),
    )

    def found(**options: Any) -> set[Any]:
        return {each.value for each in read_document(exported(key, **options))}

    assert found(category="business") == {1, 2, 3}
    assert found(category="security") == set()
    assert found(enterprises=[]) == {1}
    assert found(enterprises=[enterprise]) == {1, 2}
    assert found(enterprises=[enterprise], platform=False) == {2}
    assert found(platform=False) == {2, 3}


def test_export_document__secret__is_left_out_unless_sealed(
    secret: ConfigKey, enterprise: Enterprise
) -> None:
    publish(Proposal(secret.key, "hush"), Proposal(secret.key, "hush", enterprise))
    assert exported(secret) == HEAD
    text = exported(secret, sealed=True)
    assert text.count('!sealed "sealed:') == 2
    assert "hush" not in text


def test_export_document__more_than_an_import_reads__is_refused() -> None:
    key = declare(value_type="string")
    enterprises = [factories.make_enterprise() for _ in range(6)]
    publish(*(Proposal(key.key, "x" * 200_000, each) for each in enterprises))
    with pytest.raises(InvalidInput, match="choose fewer keys or enterprises"):
        exported(key)
    assert len(exported(key, enterprises=enterprises[:5])) > 1_000_000


def test_export_document__as_a_tenant__shows_nothing_of_others(
    key: ConfigKey, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    publish(Proposal(key.key, 1, other_enterprise))
    with tenant_scope(enterprise.ref):
        assert export_document(prefix=key.key) == HEAD


# What an import would do, and does


def planned(body: str) -> ImportPlan:
    with operator_scope():
        return plan_import(read(body))


def imported(body: str, digest: str = "") -> ConfigChangeSet:
    with operator_scope():
        document = read(body)
        return draft_import(
            document=document,
            digest=digest or plan_import(document).digest,
            title="Import",
            reason="test",
            actor=None,
        )


def shown(plan: ImportPlan) -> list[tuple[str, Any, Any]]:
    assert plan.faults == ()
    return [(change.action, change.before, change.after) for change in plan.changes]


def active(key: ConfigKey, enterprise: Enterprise | None = None) -> Any:
    with operator_scope():
        version = (
            SystemConfig.objects.of(key.key, enterprise.pk if enterprise else None)
            .filter(is_active=True)
            .first()
        )
    return UNSET if version is None or version.unset else version.value


def test_import__export_of_the_same__changes_nothing(enterprise: Enterprise) -> None:
    prefix = key_name("same")
    key = declare(key=f"{prefix}.a")
    secret = declare(value_type="string", is_secret=True, key=f"{prefix}.b")
    publish(Proposal(key.key, 1), Proposal(secret.key, "hush"), Proposal(key.key, 2, enterprise))
    publish(Proposal(secret.key, "hush hush", enterprise))
    with operator_scope():
        document = read_document(export_document(prefix=prefix, sealed=True))
        plan = plan_import(document)
        assert shown(plan) == [
            ("same", 1, 1),
            ("same", MASK, MASK),
            ("same", 2, 2),
            ("same", MASK, MASK),
        ]
        with pytest.raises(InvalidInput, match="Nothing in it differs"):
            draft_import(
                document=document, digest=plan.digest, title="t", reason="test", actor=None
            )


def test_import__changes__are_shown_before_and_made_together(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    key, object_key, left_out = declare(), declare(value_type="json"), declare()
    publish(
        Proposal(key.key, 1),
        Proposal(object_key.key, {"a": 1}, enterprise),
        Proposal(left_out.key, 5),
        Proposal(key.key, 7, other_enterprise),
    )
    body = f"""
platform:
  {key.key}: 2.0
  {object_key.key}: {{a: true}}
tenants:
  {enterprise.slug}:
    {object_key.key}: {{a: true}}
unset:
  platform: [{left_out.key}]
  tenants:
    {other_enterprise.slug}: [{key.key}, {object_key.key}]
"""
    plan = planned(body)
    assert shown(plan) == [
        ("change", 1, 2.0),
        ("add", NOTHING, {"a": True}),
        # 1 is not true, whatever Python thinks.
        ("change", {"a": 1}, {"a": True}),
        ("clear", 5, NOTHING),
        ("clear", 7, NOTHING),
        ("same", NOTHING, NOTHING),
    ]
    assert [change.base_version for change in plan.changes] == [1, 0, 1, 1, 1, 0]
    assert active(key) == 1

    change_set = imported(body, plan.digest)
    assert active(key) == 1
    with operator_scope():
        assert change_set.items.count() == 5
        operations.publish_change_set(change_set=change_set)
    assert (active(key), active(object_key)) == (2, {"a": True})
    assert active(object_key, enterprise) == {"a": True}
    assert active(left_out) is UNSET
    assert active(key, other_enterprise) is UNSET


def test_import__left_out__stays(key: ConfigKey, enterprise: Enterprise) -> None:
    publish(Proposal(key.key, 1), Proposal(key.key, 2, enterprise))
    change_set = imported(f"platform: {{{key.key}: 3}}")
    with operator_scope():
        operations.publish_change_set(change_set=change_set)
    assert (active(key), active(key, enterprise)) == (3, 2)


def test_import__faults__are_told_all_at_once_and_nothing_is_written(
    key: ConfigKey, secret: ConfigKey, enterprise: Enterprise
) -> None:
    with operator_scope():
        operations.save_declaration(
            key=_with_schema(key, {"maximum": 10}), base_version=key.version
        )
        before = ConfigChangeSet.objects.count()
    body = f"""
platform:
  {key.key}: 11
  {secret.key}: plain hush
  no.such_key: 1
  "not a key\\0": 1
tenants:
  nobody-here:
    {key.key}: 1
    {secret.key}: 1
  "No Slug\\0": {{a.b: 1}}
  {enterprise.slug}:
    {key.key}: !sealed "sealed:test:AAAA"
    web.threads: 3
    {secret.key}: !sealed "sealed:elsewhere:AAAA"
"""
    plan = planned(body)
    assert {(fault.field, fault.code) for fault in plan.faults} == {
        (key.key, "schema"),
        (secret.key, "secret"),
        ("no.such_key", "undeclared"),
        ("not a key\0", "undeclared"),
        ("nobody-here", "unknown_enterprise"),
        ("No Slug\0", "unknown_enterprise"),
        (f"{key.key} for {enterprise.slug}", "sealed"),
        (f"web.threads for {enterprise.slug}", "platform_only"),
        (f"{secret.key} for {enterprise.slug}", "does_not_open"),
    }
    assert FieldError(key.key, "schema", "Line 5: At most 10.") in plan.faults
    assert "hush" not in str(plan)
    with pytest.raises(InvalidInput) as refused:
        imported(body)
    assert refused.value.errors == plan.faults
    with operator_scope():
        assert ConfigChangeSet.objects.count() == before


def _with_schema(key: ConfigKey, schema: dict[str, Any]) -> ConfigKey:
    key.schema = schema
    return key


def test_import__changed_since_the_dry_run__is_refused(key: ConfigKey) -> None:
    body = f"platform: {{{key.key}: 3}}"
    seen = planned(body).digest
    assert planned(body).digest == seen
    publish(Proposal(key.key, 2))
    with pytest.raises(StaleVersion, match="since the dry run"):
        imported(body, seen)
    assert active(key) == 2


def test_import__another_document_than_was_shown__is_refused(key: ConfigKey) -> None:
    seen = planned(f"platform: {{{key.key}: 3}}").digest
    with pytest.raises(StaleVersion):
        imported(f"platform: {{{key.key}: 4}}", seen)


def test_import__changed_after_the_draft__is_refused_when_published(key: ConfigKey) -> None:
    change_set = imported(f"platform: {{{key.key}: 3}}")
    publish(Proposal(key.key, 2))
    with operator_scope(), pytest.raises(StaleVersion):
        operations.publish_change_set(change_set=change_set)
    assert active(key) == 2


def test_import__sealed_secret__opens_at_its_own_key_and_enterprise_only(
    secret: ConfigKey, enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    publish(Proposal(secret.key, "hush", enterprise))
    sealed = next(each.value.text for each in read_document(exported(secret, sealed=True)))
    publish(Proposal(secret.key, "another", enterprise))
    theirs = f'tenants: {{{other_enterprise.slug}: {{{secret.key}: !sealed "{sealed}"}}}}'
    assert [fault.code for fault in planned(theirs).faults] == ["does_not_open"]
    ours = f'tenants: {{{enterprise.slug}: {{{secret.key}: !sealed "{sealed}"}}}}'
    plan = planned(ours)
    assert shown(plan) == [("change", MASK, MASK)]
    assert "hush" not in repr(plan)
    change_set = imported(ours, plan.digest)
    with operator_scope():
        operations.publish_change_set(change_set=change_set)
        version = SystemConfig.objects.select_related("config_key").get(
            config_key=secret, is_active=True
        )
        assert operations.stored_plain(version) == "hush"
        # Sealed anew, and nowhere plain.
        assert version.value != sealed
        assert "hush" not in version.value


def test_import__protected_key__still_needs_a_second_person() -> None:
    protected = declare(category_id="security")
    change_set = imported(f"platform: {{{protected.key}: 3}}")
    with operator_scope(), pytest.raises(operations.NeedsApproval):
        operations.publish_change_set(change_set=change_set)
    assert active(protected) is UNSET
