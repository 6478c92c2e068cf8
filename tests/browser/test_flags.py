"""Flags without JSON, in a real browser."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from apps.flags.condition_faults import condition_faults
from apps.flags.conditions import compile_condition, compile_groups
from apps.flags.words import OPERATORS
from apps.tenants.models import User
from tests.browser.test_operator import assert_fits, log_in
from tests.flags import factories
from tests.flags.strategies import Meeting, documents
from tests.isolation import roles

pytestmark = pytest.mark.browser

REWRITE = """async ([operators, documents]) => {
    const { Tree } = await import('/static/flags/tree.js');
    const tree = new Tree(operators);
    return documents.map((document) => {
        const root = tree.read(JSON.parse(document), 'conditions');
        return JSON.stringify(tree.write(root, 'conditions'));
    });
}"""


SHAPES = {
    "tags": {"$elemMatch": {"$gt": 1, "$not": {"$in": [5, "x"]}}},
    "cart": {"$size": {"$gte": 2, "$lt": 9}},
    "seats": {"$elemMatch": {"$or": [{"class": "first"}, {"row": {"$lte": 3}}]}},
    "plan": None,
    "shape": {"$eq": {"a": [1, True]}},
    "device.os": {"$exists": False},
    "age": {"$gte": 18, "$lt": 66},
    "$nor": [{"country": {"$ini": ["us"]}}, {"v": {"$vgte": "2.0", "$type": "string"}}],
    "$not": {"email": {"$regexi": "@example"}, "beta": True},
}
RULE = {"id": "a", "description": "", "conditions": {}, "rollout": 10000, "variant": "on"}
ODD = {"description": "odd", "conditions": SHAPES}


@pytest.fixture
def known(account: User) -> dict[str, Any]:
    """A segment, a prerequisite, and the flag that the operator edits; made before the browser."""
    return {
        "segment": factories.make_segment(members=["u1"]),
        "base": factories.make_flag(),
        "flag": factories.make_flag(rollout_percentage=0),
        "namespace": factories.make_namespace(holdout=1000),
        "laid_out": factories.make_flag(rules=[RULE, {**RULE, "id": "b", **ODD}]),
    }


def stored(name: str) -> dict[str, Any]:
    """Return a flag's row, without Django, which refuses in the browser's loop."""
    with roles.connect_as(roles.OPERATOR) as operator:
        row = operator.execute(
            "select to_jsonb(f) from feature_flags f where f.name = %s", [name]
        ).fetchone()
    assert row is not None
    return dict(row[0])


def open_section(page: Page, name: str) -> Any:
    section = page.locator(f"#flags-section-{name}")
    if section.get_attribute("open") is None:
        section.locator("> summary").click()
    return section


# Names that JavaScript's objects have of their own, and a list that only looks needless.
UNUSUAL: list[Any] = [
    {"constructor": [{"a": 1}]},
    {"$or": [{"toString": []}, {"__proto__": [{"b": 2}]}]},
    {"$not": {"hasOwnProperty": [{"valueOf": None}]}},
    {"a": {"$elemMatch": {"$and": []}}},
    {"<img src=x onerror=alert(1)>": {"$in": ["\"'><script>", "1", 1]}},
]


def test_rule_builder__any_valid_document__is_shown_and_written_with_its_meaning(
    page: Page, server: str, account: User
) -> None:
    log_in(page, server, account)
    drawn: list[Any] = []

    @settings(
        max_examples=200,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(documents(3), min_size=1, max_size=3))
    def draw(found: list[Any]) -> None:
        drawn.extend(found)

    draw()
    valid = [*UNUSUAL, *(document for document in drawn if not condition_faults(document))]
    assert not any(condition_faults(document) for document in UNUSUAL)
    assert len(valid) > 100
    written = [
        json.loads(text)
        for text in page.evaluate(
            REWRITE, [list(OPERATORS), [json.dumps(document) for document in valid]]
        )
    ]

    groups = compile_groups({"staff": (["u1"], {"plan": "business"})})
    random = Random(4)
    for before, after in zip(valid, written, strict=True):
        # Rewriting may nest deeper than is allowed, which is told like any other fault.
        assert {fault.code for fault in condition_faults(after)} <= {"depth"}, (before, after)
        one, other = compile_condition(before, groups), compile_condition(after, groups)
        for _ in range(20):
            context = Meeting(random).context(before)
            assert bool(one(context)) == bool(other(context)), (before, after, context)


def test_editor__nested_rule_slider_and_publishing__without_json(
    known: dict[str, Any], page: Page, server: str, account: User
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    log_in(page, server, account)
    flag, segment = known["flag"], known["segment"]
    page.goto(f"{server}/admin/flags/featureflag/{flag.pk}/edit/")

    rules = open_section(page, "rules")
    rules.get_by_role("button", name="Add a rule").click()
    rule = page.locator('[data-path="rules[0]"]')
    rule.get_by_label("Description of the rule").fill("Germans or staff")
    rule.get_by_role("button", name="Add a condition").click()
    rule.get_by_label("Attribute").fill("country")
    rule.get_by_label("Operator").select_option("$in")
    for country in ("DE", "AT"):
        rule.get_by_label("Add to the list").fill(country)
        rule.get_by_label("Add to the list").press("Enter")
    rule.get_by_role("button", name="Add a group").click()
    inner = rule.locator('[data-path="rules[0].conditions.$or"]')
    inner.get_by_role("button", name="Add a condition").click()
    inner.get_by_label("Attribute").fill("age")
    inner.get_by_label("Operator").select_option("$gte")
    inner.get_by_label("Type of the value").select_option("number")
    inner.get_by_label("Value", exact=True).fill("18")
    inner.get_by_role("button", name="Add a condition").click()
    second = inner.locator(".flags-row").nth(1)
    second.get_by_label("Attribute").fill("user")
    second.get_by_label("Operator").select_option("$inGroup")
    second.get_by_label("Segment").select_option(segment.name)

    everybody = page.locator("#flags-section-everybody")
    everybody.get_by_label("Percentage, as a slider").fill("40")
    expect(everybody.locator("[data-reach]")).to_contain_text(re.compile(r"of [\d,]+ users? now"))
    expect(page.locator("#flags-check")).to_contain_text("“on” for 40 % of everybody else")
    assert_fits(page)
    page.fill("[name=reason]", "Built in a browser")
    page.get_by_role("button", name="Publish now").click()

    expect(page.locator("body")).to_contain_text(f"Published “{flag.name}”. It is version 2.")
    expect(page.locator("#served")).to_contain_text("Rule 1 (Germans or staff)")
    assert_fits(page)
    row = stored(flag.name)
    assert row["rollout_percentage"] == 40
    assert [rule["conditions"] for rule in row["rules"]] == [
        {
            "country": {"$in": ["DE", "AT"]},
            "$or": [{"age": {"$gte": 18}}, {"user": {"$inGroup": segment.name}}],
        }
    ]
    assert not errors


def test_editor__faults__stand_at_their_rows_and_json_is_in_step(
    known: dict[str, Any], page: Page, server: str, account: User
) -> None:
    log_in(page, server, account)
    flag, base = known["flag"], known["base"]
    page.goto(f"{server}/admin/flags/featureflag/{flag.pk}/edit/")
    everybody = page.locator("#flags-section-everybody")
    everybody.get_by_role("button", name="Add a condition").click()
    row = everybody.locator(".flags-row")
    row.get_by_label("Attribute").fill("email")
    row.get_by_label("Operator").select_option("$regex")
    row.get_by_label("Pattern").fill("(?=x)")
    expect(row.locator(".flags-fault")).to_be_visible()
    row.get_by_label("Pattern").fill("@example")
    expect(row.locator(".flags-fault")).to_have_count(0)

    page.get_by_role("button", name="Show JSON").click()
    area = page.locator("[name=definition]")
    document = json.loads(area.input_value())
    assert document["conditions"] == {"email": {"$regex": "@example"}}
    document["prerequisites"] = [{"flag": base.name, "variants": ["nonsense"]}]
    area.fill(json.dumps(document))
    asked = page.locator('[data-path="prerequisites[0]"]')
    expect(asked).to_contain_text(f"{base.name} has no such variant.")
    assert_fits(page)
    area.fill("{")
    expect(page.locator("#flags-check")).to_contain_text("cannot be read")
    area.fill(json.dumps({**document, "prerequisites": []}))
    expect(page.locator("#flags-section-prerequisites > summary")).to_contain_text("(0)")
    page.fill("[name=reason]", "Built in a browser")
    page.get_by_role("button", name="Save as draft").click()
    expect(page.locator("body")).to_contain_text("Drafted")
    expect(page.locator("#change")).to_contain_text('"$regex": "@example"')
    assert_fits(page)


def test_editor__variants_weights_steps_and_namespace__of_a_new_flag(
    known: dict[str, Any], page: Page, server: str, account: User
) -> None:
    log_in(page, server, account)
    name = factories.flag_name("browser")
    page.goto(f"{server}/admin/flags/featureflag/add/")
    page.fill("[name=name]", name)
    page.select_option("[name=value_type]", "string")
    variants = open_section(page, "variants")
    variants.get_by_role("button", name="Add a variant").click()
    # On its way to its own name it has another's, which keeps what is its.
    for typed in ("o", "on", "blue"):
        variants.get_by_label("Key of the variant").nth(2).fill(typed)
    variants.get_by_label("Value", exact=True).nth(2).fill("#00f")
    everybody = page.locator("#flags-section-everybody")
    everybody.get_by_label("What they get").select_option("split")
    everybody.get_by_label("Weight of on").fill("30")
    expect(everybody).to_contain_text("it has to be 100 %")
    for key, weight in (("off", "0"), ("blue", "70")):
        everybody.get_by_label(f"Weight of {key}").fill(weight)
    expect(everybody).to_contain_text("Together 100 %.")
    steps = open_section(page, "steps")
    steps.get_by_role("button", name="Add a step").click()
    steps.get_by_label("Percentage").fill("25")
    prerequisites = open_section(page, "prerequisites")
    prerequisites.get_by_role("button", name="Add a prerequisite").click()
    prerequisites.get_by_label("Flag").select_option(known["base"].name)
    bucketing = open_section(page, "bucketing")
    bucketing.get_by_label("Namespace", exact=True).select_option(known["namespace"].name)
    bucketing.get_by_label("To, in per cent").fill("95")
    expect(bucketing.locator(".flags-fault")).to_contain_text("From 90 % on")
    bucketing.get_by_label("To, in per cent").fill("50")
    expect(bucketing.locator(".flags-own")).to_have_attribute("style", "left: 0%; width: 50%")
    expect(bucketing.locator(".flags-fault")).to_have_count(0)
    page.fill("[name=reason]", "Built in a browser")
    assert_fits(page)
    page.get_by_role("button", name="Make the flag").click()

    expect(page.locator("body")).to_contain_text(f"Made “{name}”.")
    row = stored(name)
    assert row["variants"][2] == {"key": "blue", "value": "#00f"}
    assert {key: held for key, held in row["allocations"].items() if held} == {
        "on": [[0, 3000]], "blue": [[3000, 10000]]
    }  # fmt: skip
    assert row["steps"][0]["percentage"] == 25
    assert row["prerequisites"] == [{"flag": known["base"].name, "variants": ["on"]}]
    assert (row["namespace_low"], row["namespace_high"]) == (0, 5000)


def test_flag__killed_tried_and_revived__from_its_page(
    known: dict[str, Any], page: Page, server: str, account: User
) -> None:
    log_in(page, server, account)
    flag = known["base"]
    page.goto(f"{server}/admin/flags/featureflag/{flag.pk}/change/")
    page.locator("#kill [name=reason]").fill("It burns")
    page.locator("#kill").get_by_role("button", name="Kill").click()
    expect(page.locator("#killed")).to_contain_text("Because: It burns")
    assert stored(flag.name)["is_killed"]
    assert_fits(page)

    page.goto(f"{server}/admin/flags/featureflag/{flag.pk}/change/#dataset-try")
    page.reload()
    page.fill("[name=user]", account.email)
    page.fill("[name=name]", "plan")
    page.fill("[name=value]", "business")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("#answer")).to_have_text("off")
    expect(page.locator("#path")).to_contain_text("the flag is killed: It burns")
    assert_fits(page)

    page.locator("#killed [name=reason]").fill("It is out")
    page.get_by_role("button", name="Revive").click()
    expect(page.locator("#served")).to_contain_text("“on” for everybody.")
    assert not stored(flag.name)["is_killed"]


def test_editor__rules_moved__keep_conditions_of_every_shape(
    known: dict[str, Any], page: Page, server: str, account: User
) -> None:
    flag = known["laid_out"]
    log_in(page, server, account)
    page.goto(f"{server}/admin/flags/featureflag/{flag.pk}/edit/")
    page.get_by_role("button", name="Move rule 2 up").click()
    first = page.locator('[data-path="rules[0]"]')
    expect(first.get_by_label("Description of the rule")).to_have_value("odd")
    # An edit of a row writes the whole document anew.
    row = first.locator('[data-path="rules[0].conditions.plan"]')
    row.get_by_label("Attribute").fill("tier")
    page.get_by_role("button", name="Show JSON").click()
    area = page.locator("[name=definition]")
    document = json.loads(area.input_value())
    document["rules"][1]["conditions"] = {"a": {"$foo": 1}}
    area.fill(json.dumps(document))
    second = page.locator('[data-path="rules[1]"]')
    expect(second.locator(".flags-fault")).to_contain_text("“$foo” is no operator.")
    second.get_by_label("A condition as JSON").fill('{"a": ')
    page.fill("[name=reason]", "Built in a browser")
    page.get_by_role("button", name="Publish now").click()
    expect(second.locator(".flags-problem").first).to_contain_text("This is not JSON")
    second.get_by_label("A condition as JSON").fill('{"a": 1}')
    page.get_by_role("button", name="Publish now").click()
    expect(page.locator("body")).to_contain_text(f"Published “{flag.name}”.")

    shape = {**SHAPES, "tier": None}
    del shape["plan"]
    rules = stored(flag.name)["rules"]
    assert [(rule["id"], rule["conditions"]) for rule in rules] == [
        ("b", shape), ("a", {"a": 1})
    ]  # fmt: skip
