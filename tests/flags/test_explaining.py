"""What is told of a decision is what decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.flags.conditions import OPERATORS, compile_condition, compile_groups
from apps.flags.evaluation import CompiledFlag, Definition
from apps.flags.explaining import Finding, condition_findings, explain
from apps.flags.words import OPERATORS as WORDS
from tests.flags.strategies import Meeting, documents, segments
from tests.flags.test_evaluation import CONTEXTS, FLAGS, VARIANTS


def definition(name: str, before: str, made: dict[str, Any]) -> Definition:
    row = dict(made)
    killed, archived = row.pop("is_killed"), row.pop("is_archived")
    held, needs = row.pop("namespaced"), row.pop("needs")
    row["enabled"] = row["enabled"] and not killed and not archived
    return Definition(
        name=name,
        variants=VARIANTS,
        on_variant="on",
        off_variant="off",
        prerequisites=[{"flag": before, "variants": needs}] if needs else [],
        namespace=("n", *held) if held else None,
        **row,
    )


@given(
    made=st.lists(FLAGS, min_size=1, max_size=6),
    contexts=st.lists(CONTEXTS, min_size=5, max_size=9),
)
def test_explain__any_flag_and_context__answers_as_evaluating_does(
    made: list[dict[str, Any]], contexts: list[dict[str, Any]]
) -> None:
    definitions = [
        definition(f"f{number}", f"f{number - 1}", flag) for number, flag in enumerate(made)
    ]
    flags = {each.name: CompiledFlag(each, {}) for each in definitions}
    for each in definitions:
        for context in contexts:
            explained = explain(each, context, flags, {})
            assert explained.answer == flags[each.name].evaluate(context, flags)
            assert [finding.decided for finding in explained.path].index(True) == (
                len(explained.path) - 1
            )


@given(document=documents(), groups=segments, random=st.randoms(use_true_random=False))
def test_condition_findings__any_document__rows_met_as_a_whole_is_the_document_met(
    document: Any, groups: dict[str, Any], random: Any
) -> None:
    compiled = compile_groups(groups)
    context = Meeting(random).context(document)
    met = bool(compile_condition(document, compiled)(context))
    rows = list(condition_findings(document, context, compiled))
    assert all(row.met for row in rows) >= met


def leaves(findings: tuple[Finding, ...]) -> list[tuple[str, bool | None]]:
    found = []
    for finding in findings:
        found += leaves(finding.inner) if finding.inner else [(finding.told, finding.met)]
    return found


def test_explain__rule_passed_over__names_the_row_that_failed() -> None:
    flag = Definition(
        name="f", enabled=True, rollout_percentage=0, conditions={}, tenant_overrides={"t": True},
        user_overrides={}, value_type="boolean", variants=VARIANTS, on_variant="on",
        off_variant="off", allocations={}, prerequisites=[], bucketing_unit="user", salt="s",
        namespace=None,
        rules=[
            {
                "id": "a", "description": "Germans", "variant": "on", "rollout": 10_000,
                "conditions": {"country": {"$in": ["DE", "AT"]}, "plan": "business"},
            }
        ],
    )  # fmt: skip

    explained = explain(flag, {"user": "u", "plan": "business", "country": "US"}, {}, {})

    told = leaves(explained.path)
    assert ("country is one of “DE”, “AT”; it is “US”", False) in told
    assert ("plan is “business”; it is “business”", True) in told
    assert ("tenant override: none of 1", False) in told
    assert any(text.startswith("rollout to 0 %: bucket ") for text, _ in told)
    assert (explained.answer.variant, explained.answer.reason) == ("off", "DEFAULT")


def test_explain__without_the_unit__says_which_attribute_is_missing() -> None:
    flag = Definition(
        name="f", enabled=True, rollout_percentage=50, conditions={}, tenant_overrides={},
        user_overrides={}, value_type="boolean", variants=VARIANTS, on_variant="on",
        off_variant="off", allocations={}, prerequisites=[], bucketing_unit="enterprise", salt="s",
        namespace=None, rules=[],
    )  # fmt: skip

    told = leaves(explain(flag, {"user": "u"}, {}, {}).path)

    assert ("rollout to 50 %: the context has no enterprise", False) in told


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() - {"$not"}))
def test_words__operator_of_conditions__can_be_built(name: str) -> None:
    words, kind = WORDS[name]
    assert words
    assert kind in {
        "value", "list", "comparable", "boolean", "segment", "pattern", "version", "size",
        "element", "type",
    }  # fmt: skip
