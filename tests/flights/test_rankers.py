"""Weights learned from choices: found again, judged, used where they earn it, with a fallback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from django.db import IntegrityError, ProgrammingError
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from apps.configs.runtime import override_config
from apps.flights import learned, rankers, ranking, tasks
from apps.flights.learned import Learned
from apps.flights.models import OfferChoice, RankerVersion
from apps.flights.ranking import ranking_for
from apps.flights.training import (
    Floats,
    choice_sets,
    fitted_weights,
    losses,
    scores,
    top_1,
    train,
)
from apps.flights.weights import COMPONENTS, SCORE_VERSION, Weights, usable_weights
from apps.tenants.models import Enterprise
from layoverhq.snapshot import connect
from layoverhq.tenancy import fetch_in_scope, operator_scope
from tests.flights.choosing import keep, simulated
from tests.flights.factories import Shop
from tests.isolation import roles
from tests.tenants import factories

SEARCH = "/api/v1/flights/search"
Status = RankerVersion.Status

CONFIGURED = Weights(city=0.3, experience=0.2, weather=0.3, safety=0.2, premium=0.3, preference=0.2)
COUNTED = dict.fromkeys(COMPONENTS, True)
PLANTED = {"city": 3.0, "premium": 1.0}
EVERY = [True] * len(COMPONENTS)


def vector(**weights: float) -> Floats:
    return np.array([weights.get(name, 0.0) for name in COMPONENTS])


@pytest.fixture(scope="module")
def enterprise_of_sql() -> Enterprise:
    return factories.make_enterprise()


# As they come: of counts, and weights to the sixth decimal.
fractions = st.integers(0, 1_000_000).map(lambda each: each / 1_000_000)
shares = st.one_of(st.none(), fractions)


@settings(max_examples=60)
@given(
    components=st.lists(shares, min_size=6, max_size=6),
    weights=st.lists(fractions, min_size=6, max_size=6),
)
def test_scores__any_components__are_what_the_search_ranks_by(
    enterprise_of_sql: Enterprise, components: list[float | None], weights: list[float]
) -> None:
    # What is judged at training is what is served: two implementations, one formula.
    asked = {f"{name}_weight": each for name, each in zip(COMPONENTS, weights, strict=True)}
    ((served,),) = fetch_in_scope(
        enterprise_of_sql.ref,
        "select weighted_score("
        " row(%(c0)s::float8, %(c1)s::float8, %(c2)s::float8, %(c3)s::float8, %(c4)s::float8,"
        " %(c5)s::float8)::offer_components,"
        " jsonb_populate_record(null::flight_search, %(asked)s::jsonb))",
        {
            **{f"c{place}": each for place, each in enumerate(components)},
            "asked": json.dumps(asked),
        },
        timeout_seconds=10,
    )
    ours = scores(np.array([components], dtype=float), np.array(weights))[0]
    assert ours == pytest.approx(served, abs=1e-9)


# What is learned from a sample is off by chance: the same samples every time.
@settings(max_examples=12, derandomize=True)
@given(
    planted=st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=6, max_size=6).filter(any),
    seed=st.integers(0, 10_000),
)
def test_fitted_weights__planted_preferences__are_found_again(
    planted: list[float], seed: int
) -> None:
    wanted = dict(zip(COMPONENTS, planted, strict=True))
    sets = choice_sets(
        (who, chosen, shown)
        for who, _, chosen, shown in simulated(wanted, choices=1_500, seed=seed)
    )
    found = fitted_weights(sets, EVERY)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert found == pytest.approx(np.array(planted) / sum(planted), abs=0.06)


def test_train__three_to_one__ranks_unseen_choices_as_the_travellers_do() -> None:
    sets = choice_sets(
        (who, chosen, shown) for who, _, chosen, shown in simulated(PLANTED, choices=2_000)
    )
    trained = train(sets, CONFIGURED, COUNTED)
    assert trained.weights.city / trained.weights.premium == pytest.approx(3, rel=0.15)
    assert trained.choices + trained.held_out == 2_000
    assert 300 < trained.held_out < 500
    # Nobody does better than who knows the weights, and whim leaves little to gain on that.
    unseen = sets.those(sets.travellers % 5 == 0)
    known = losses(unseen, vector(city=0.75, premium=0.25), 15).mean()
    assert trained.log_loss == pytest.approx(known, abs=0.02)
    assert trained.top_1 == pytest.approx(top_1(unseen, vector(city=3, premium=1)), abs=0.03)
    assert trained.configured_log_loss - trained.log_loss == pytest.approx(trained.gain)
    assert trained.gain_at_least > 0.1
    assert trained.top_1 > trained.configured_top_1


def test_train__order_of_what_travellers_prefer__is_that_of_held_out_offers() -> None:
    rows = simulated(PLANTED, choices=2_000)
    trained = train(
        choice_sets((who, chosen, shown) for who, _, chosen, shown in rows), CONFIGURED, COUNTED
    )
    fresh = np.random.default_rng(11).random((500, len(COMPONENTS)))
    ours = scores(fresh, np.array([getattr(trained.weights, name) for name in COMPONENTS]))
    theirs = scores(fresh, vector(city=3, premium=1))
    ranks = [np.argsort(np.argsort(each)) for each in (ours, theirs)]
    assert np.corrcoef(*ranks)[0, 1] > 0.98


@settings(max_examples=10, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_verdict__random_choices__activate_nothing(seed: int) -> None:
    sets = choice_sets(
        (who, chosen, shown)
        for who, _, chosen, shown in simulated({}, choices=600, sharpness=0, seed=seed)
    )
    trained = train(sets, CONFIGURED, COUNTED)
    status, note = rankers.verdict(trained, margin=0.01)
    assert status in (Status.REJECTED, Status.CANDIDATE)
    assert "nats" in note or "No component" in note


def test_verdict__travellers_who_want_the_opposite__leave_no_negative_weight() -> None:
    # They choose whatever is worst by what offers are scored by: nothing of it counts for them.
    rows = [
        (who, hub, [1 - each for each in chosen], [[1 - each for each in row] for row in shown])
        for who, hub, chosen, shown in simulated(dict.fromkeys(COMPONENTS, 1.0), choices=400)
    ]
    trained = train(
        choice_sets((who, chosen, shown) for who, _, chosen, shown in rows), CONFIGURED, COUNTED
    )
    assert trained.weights.total == 0
    status, note = rankers.verdict(trained, margin=0)
    assert (status, note) == (Status.REJECTED, "No component tells what travellers choose.")


def test_train__component_that_does_not_count__is_not_learned() -> None:
    rows = simulated({"weather": 3, "city": 1}, choices=600)
    trained = train(
        choice_sets((who, chosen, shown) for who, _, chosen, shown in rows),
        CONFIGURED,
        {"weather": False, "preference": True},
    )
    assert trained.weights.weather == 0
    assert trained.weights.city > 0.8


def test_train__unknown_components__tell_nothing() -> None:
    rows = simulated(PLANTED, choices=1_000, unknown=("weather", "experience"))
    trained = train(
        choice_sets((who, chosen, shown) for who, _, chosen, shown in rows), CONFIGURED, COUNTED
    )
    assert (trained.weights.weather, trained.weights.experience) == (0, 0)
    assert trained.weights.city == pytest.approx(0.75, abs=0.05)


def test_train__one_travellers_many_choices__prove_no_more_than_one_traveller() -> None:
    rows = simulated(PLANTED, choices=400)
    alike = UUID(int=5 << 66)
    crowd = choice_sets((who, chosen, shown) for who, _, chosen, shown in rows)
    # All that is held out is of one traveller.
    single = choice_sets(
        (alike if (who.int >> 66) % 5 == 0 else who, chosen, shown)
        for who, _, chosen, shown in rows
    )
    assert train(crowd, CONFIGURED, COUNTED).gain_at_least > 0
    assert train(single, CONFIGURED, COUNTED).gain_at_least == -np.inf


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**asdict(CONFIGURED), "city": -0.1},
        {**asdict(CONFIGURED), "city": float("nan")},
        {**asdict(CONFIGURED), "city": 1.01},
        {**asdict(CONFIGURED), "city": "1"},
        {**asdict(CONFIGURED), "city": None},
        {**asdict(CONFIGURED), "prize": 1},
        dict.fromkeys(COMPONENTS, 0),
        {"city": 1},
    ],
)
def test_weights__that_make_no_sense__are_refused_in_memory_and_by_the_database(
    document: Any, enterprise: Enterprise
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        usable_weights(document)
    if "nan" not in str(document):
        # JSON has no NaN; and None is no document, which the column refuses.
        with pytest.raises(IntegrityError, match="weights"):
            plant_version(enterprise, weights=document)


def plant_version(enterprise: Enterprise | None, **fields: Any) -> RankerVersion:
    """Store a version as no operation would have to."""
    given_fields = {
        "status": Status.ACTIVE,
        "weights": {**dict.fromkeys(COMPONENTS, 0.0), "city": 1.0},
        "score_version": SCORE_VERSION,
        "trained_at": timezone.now(),
        "choices": 160,
        "held_out": 40,
        "newest_choice_at": timezone.now(),
        "enterprises": 1,
        "log_loss": 1.0,
        "configured_log_loss": 1.5,
        "top_1": 0.6,
        "configured_top_1": 0.4,
        "configured_weights": asdict(CONFIGURED),
        "gain": 0.5,
        "gain_at_least": 0.3,
        **fields,
    }
    if given_fields["status"] == Status.ACTIVE:
        given_fields.setdefault("activated_at", given_fields["trained_at"])
    with operator_scope():
        version = RankerVersion.objects.create(enterprise=enterprise, **given_fields)
    learned.rankers.forget()
    return version


@pytest.fixture(autouse=True)
def _no_shared_rankers() -> Iterator[None]:
    """Leave none behind that another test's enterprises might be ranked by."""
    yield
    with operator_scope():
        RankerVersion.objects.filter(enterprise__isnull=True).delete()
    learned.rankers.forget()


@contextmanager
def learning(*enterprises: Enterprise, **more: Any) -> Iterator[None]:
    """Let these enterprises have learned weights, of few choices."""
    with ExitStack() as stack:
        stack.enter_context(override_config({"ranking.training_choices": 50, **more}))
        for each in enterprises:
            stack.enter_context(override_config({"features.experimental_ml": True}, tenant=each))
        yield


def trained(enterprise: Enterprise | None, **options: Any) -> RankerVersion | None:
    with operator_scope():
        version = rankers.train_ranker(
            enterprise_id=enterprise and enterprise.pk,
            now=options.pop("now", None) or timezone.now(),
            **options,
        )
    learned.rankers.forget()
    return version


def versions(enterprise: Enterprise | None) -> list[RankerVersion]:
    with operator_scope():
        return list(RankerVersion.objects.of(enterprise and enterprise.pk).order_by("id"))


def ranked(enterprise: Enterprise) -> ranking.Ranking:
    return ranking_for(enterprise.ref, {"enterprise": str(enterprise.pk)})


def test_train_ranker__enough_choices__is_used_at_once(
    enterprise: Enterprise, switch: Callable[[str, bool], None]
) -> None:
    switch("enhanced_search", False)
    switch("real_time_weather", False)
    keep(enterprise, simulated(PLANTED, choices=400))
    with learning(enterprise):
        assert ranked(enterprise).source == "configuration"
        version = trained(enterprise)
        assert version is not None
        assert version.status == Status.ACTIVE
        assert version.choices + version.held_out == 400
        assert version.gain_at_least > 0.01
        assert version.top_1 > version.configured_top_1
        assert sum(version.weights.values()) == pytest.approx(1, abs=1e-5)
        # The flags of weather and preferences are off: nothing was learned of them.
        assert version.weights["weather"] == version.weights["preference"] == 0
        assert version.configured_weights["weather"] == 0
        used = ranked(enterprise)
        assert (used.source, used.version) == ("learned", version.pk)
        assert used.weights.city / used.weights.premium == pytest.approx(3, rel=0.4)
        assert used.document()["version"] == str(version.pk)


def test_train_ranker__nothing_new__makes_no_version_unless_forced(enterprise: Enterprise) -> None:
    keep(enterprise, simulated(PLANTED, choices=300))
    with learning(enterprise):
        first = trained(enterprise)
        assert trained(enterprise) is None
        again = trained(enterprise, forced=True)
        assert [each.status for each in versions(enterprise)] == [Status.RETIRED, Status.ACTIVE]
        assert first is not None
        assert again is not None
        assert first.weights == again.weights
        # It is confirmed before it grows stale.
        later = trained(enterprise, now=timezone.now() + timedelta(days=8))
        assert later is not None
        keep(enterprise, simulated(PLANTED, choices=10, seed=9))
        assert trained(enterprise) is not None


def test_train_ranker__too_few__says_how_many_there_are(enterprise: Enterprise) -> None:
    keep(enterprise, simulated(PLANTED, choices=49))
    # What was shown alone was no choice.
    keep(enterprise, [(uuid4(), "DEN", [1.0] * 6, [])] * 20)
    with learning(enterprise), pytest.raises(rankers.TooFewChoices, match="49 choices"):
        trained(enterprise)
    assert versions(enterprise) == []


def test_train_ranker__random_choices__leave_the_configured_weights(enterprise: Enterprise) -> None:
    keep(enterprise, simulated({}, choices=500, sharpness=0))
    with learning(enterprise):
        version = trained(enterprise)
        assert version is not None
        assert version.status in (Status.REJECTED, Status.CANDIDATE)
        assert ranked(enterprise).source == "configuration"


def test_train_ranker__no_better_than_before__leaves_the_active_one(enterprise: Enterprise) -> None:
    keep(enterprise, simulated(PLANTED, choices=300))
    with learning(enterprise):
        first = trained(enterprise)
        assert first is not None
        with override_config({"ranking.margin": 1}):
            second = trained(enterprise, forced=True)
        assert second is not None
        assert second.status == Status.CANDIDATE
        assert "the margin is 1" in second.note
        assert ranked(enterprise).version == first.pk


def test_train_ranker__choices_of_another_tenant__move_nothing(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    keep(other_enterprise, simulated({"safety": 1}, choices=400))
    with learning(enterprise, other_enterprise):
        trained(other_enterprise)
        assert ranked(other_enterprise).source == "learned"
        assert ranked(enterprise).source == "configuration"
        with pytest.raises(rankers.TooFewChoices, match="There are 0 choices"):
            trained(enterprise)
        keep(enterprise, simulated(PLANTED, choices=400))
        version = trained(enterprise)
        assert version is not None
        assert version.weights["safety"] < 0.1


def test_train_ranker__shared__is_of_and_for_those_that_share(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    loner, partner = factories.make_enterprise(), factories.make_enterprise()
    keep(loner, simulated({"safety": 1}, choices=400, seed=3))
    keep(other_enterprise, simulated(PLANTED, choices=200, seed=1))
    keep(partner, simulated(PLANTED, choices=200, seed=2))
    sharing = {"ranking.share_choices": True}
    with (
        learning(enterprise, other_enterprise, loner),
        override_config(sharing, tenant=other_enterprise),
    ):
        with pytest.raises(rankers.TooFewChoices, match="of 2 enterprises"):
            trained(None)
        with override_config(sharing, tenant=partner):
            version = trained(None)
            assert version is not None
            assert (version.status, version.enterprises) == (Status.ACTIVE, 2)
            assert version.choices + version.held_out == 400
            assert version.weights["safety"] < 0.1
            # Who does not share gets none of it.
            assert ranked(enterprise).source == "configuration"
            assert ranked(loner).source == "configuration"
            assert ranked(other_enterprise).version == version.pk
            with override_config(sharing, tenant=enterprise):
                assert ranked(enterprise).version == version.pk
            # Its own comes first.
            own = trained(other_enterprise)
            assert own is not None
            assert ranked(other_enterprise).version == own.pk


def test_due_trainings__are_of_those_who_learn_and_have_enough(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    few = factories.make_enterprise()
    for each, number in ((enterprise, 60), (other_enterprise, 60), (few, 10)):
        keep(each, simulated(PLANTED, choices=number))
    ours = {enterprise.pk, other_enterprise.pk, few.pk, None}
    with learning(enterprise, few), operator_scope():
        assert set(rankers.due_trainings(now=timezone.now())) & ours == {enterprise.pk}
        with (
            override_config({"ranking.share_choices": True}, tenant=other_enterprise),
            override_config({"ranking.share_choices": True}, tenant=few),
        ):
            assert set(rankers.due_trainings(now=timezone.now())) & ours == {enterprise.pk, None}
        later = timezone.now() + timedelta(days=91)
        assert set(rankers.due_trainings(now=later)) & ours == set()


def test_train_rankers__tasks__queue_and_train(
    enterprise: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(enterprise, simulated(PLANTED, choices=200))
    queued: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.train_ranker, "delay", lambda **given: queued.append(given))
    old = plant_version(
        enterprise, status=Status.REJECTED, trained_at=timezone.now() - timedelta(days=366)
    )
    with learning(enterprise):
        tasks.train_rankers(unknown="is ignored")
        assert {"enterprise_id": str(enterprise.pk)} in queued
        tasks.train_ranker(enterprise_id=str(enterprise.pk))
        tasks.train_ranker(enterprise_id=str(enterprise.pk))
    (version,) = versions(enterprise)
    assert version.status == Status.ACTIVE
    assert version.pk != old.pk


def test_train_ranker_task__too_few__is_told_and_no_fault(enterprise: Enterprise) -> None:
    with capture_logs() as logs:
        tasks.train_ranker(enterprise_id=str(enterprise.pk))
    (told,) = [each for each in logs if each["event"] == "ranker_not_trained"]
    assert "There are 0 choices" in told["why"]


def log_of(logs: list[Any], enterprise: Enterprise) -> list[str]:
    return [
        each["why"]
        for each in logs
        if each["event"] == "ranked_by_configuration" and each["tenant_id"] == str(enterprise.pk)
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (None, "no_version"),
        ({"status": Status.RETIRED}, "no_version"),
        ({"score_version": SCORE_VERSION + 1}, "other_formula"),
        ({"trained_at": timezone.now() - timedelta(days=15)}, "stale"),
        # The flag of weather is off, and nothing else was learned.
        ({"weights": {**dict.fromkeys(COMPONENTS, 0.0), "weather": 1.0}}, "nothing_counts"),
    ],
)
def test_ranking__version_that_cannot_be_used__falls_back_and_says_so(
    enterprise: Enterprise,
    switch: Callable[[str, bool], None],
    fields: dict[str, Any] | None,
    why: str,
) -> None:
    switch("real_time_weather", False)
    switch("enhanced_search", False)
    if fields is not None:
        plant_version(enterprise, **fields)
    with learning(enterprise):
        before = ranking.configured_weights(enterprise.ref)
        learned.rankers.forget()
        with capture_logs() as logs:
            used = [ranked(enterprise) for _ in range(3)]
        assert [each.source for each in used] == ["configuration"] * 3
        assert used[0].weights == replace(before, weather=0, preference=0)
        assert used[0].version is None
        assert "version" not in used[0].document()
        # Once, not with every search.
        assert log_of(logs, enterprise) == [why]


def test_ranking__database_away_before_the_first_load__falls_back(
    enterprise: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_version(enterprise)

    def away(*arguments: Any) -> Any:
        raise psycopg.OperationalError("connection refused")

    with learning(enterprise):
        ranked(factories.make_enterprise())
        learned.rankers.forget()
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr("layoverhq.snapshot.connect", away)
            assert ranked(enterprise).source == "configuration"
        assert log_of(logs, enterprise) == ["not_loaded"]
        assert ranked(enterprise).source == "learned"


def test_rankers__row_that_no_operation_wrote__takes_out_itself_alone(
    enterprise: Enterprise, other_enterprise: Enterprise
) -> None:
    plant_version(enterprise)
    good = plant_version(other_enterprise)
    with roles.connect_as_superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "alter table ranker_versions drop constraint ranker_versions_weights_usable"
        )
        try:
            connection.execute(
                "update ranker_versions set weights = weights || '{\"city\": -5}'"
                " where enterprise_id = %s",
                [enterprise.pk],
            )
            learned.rankers.forget()
            with learning(enterprise, other_enterprise), capture_logs() as logs:
                assert ranked(enterprise).source == "configuration"
                assert ranked(other_enterprise).version == good.pk
            assert [each["fault"] for each in logs if each["event"] == "ranker_unusable"] == [
                "city: -5 is no weight."
            ]
        finally:
            connection.execute(
                "delete from ranker_versions where enterprise_id = %s", [enterprise.pk]
            )
            connection.execute(
                "alter table ranker_versions add constraint ranker_versions_weights_usable check ("
                " status = 'rejected' or are_ranker_weights(weights))"
            )


def test_ranking__without_the_feature__is_configured_however_good_the_version(
    enterprise: Enterprise,
) -> None:
    plant_version(enterprise)
    with capture_logs() as logs:
        assert ranked(enterprise).source == "configuration"
    assert log_of(logs, enterprise) == []


def test_search__learned_weights__change_the_order_and_a_broken_version_does_not(
    api: Client, enterprise: Enterprise, shop: Shop, switch: Callable[[str, bool], None]
) -> None:
    """The whole way: choices, training, search; then what goes wrong with it."""
    stay = shop.sell([("DEN", 600)], ground=[(360, 0, False)], price_minor=60_000)
    cheap = shop.sell([("DEN", 600)], ground=[(125, 0, False)], price_minor=30_000)
    asked = {**shop.asked, "sort": "score"}

    def found() -> tuple[list[str], dict[str, Any]]:
        response = api.get(SEARCH, asked)
        assert response.status_code == 200, response.content
        body = response.json()
        return [offer["id"] for offer in body["results"]], body["ranking"]

    configured = {
        "algorithm.city_weight": 0.1, "algorithm.premium_weight": 1.0,
        "algorithm.experience_weight": 0.0, "algorithm.safety_weight": 0.1,
    }  # fmt: skip
    by_price, by_city = [str(cheap.pk), str(stay.pk)], [str(stay.pk), str(cheap.pk)]
    keep(enterprise, simulated({"city": 3, "premium": 0.3}, choices=300))
    with learning(enterprise), override_config(configured):
        switch("enhanced_search", True)
        assert found()[0] == by_price
        version = trained(enterprise)
        assert version is not None
        order, told = found()
        assert order == by_city
        assert (told["source"], told["version"]) == ("learned", str(version.pk))
        assert told["weights"]["city"] == version.weights["city"]
        with override_config({"features.experimental_ml": False}, tenant=enterprise):
            order, told = found()
        assert (order, told["source"]) == (by_price, "configuration")
        with operator_scope():
            RankerVersion.objects.filter(pk=version.pk).update(status=Status.RETIRED)
        learned.rankers.forget()
        plant_version(enterprise, score_version=SCORE_VERSION + 1)
        order, told = found()
        assert (order, told["source"]) == (by_price, "configuration")
        assert "version" not in told


def test_search__weight_too_small_to_multiply__counts_for_nothing(
    api: Client, enterprise: Enterprise, shop: Shop
) -> None:
    offer = shop.sell([("DEN", 600)], ground=[(125, 0, False)])
    with override_config({"algorithm.city_weight": 5e-324}, tenant=enterprise.ref):
        response = api.get(SEARCH, {**shop.asked, "sort": "score"})
    assert response.status_code == 200
    assert [each["id"] for each in response.json()["results"]] == [str(offer.pk)]
    assert response.json()["ranking"]["weights"]["city"] == 0


def test_snapshot__activated_elsewhere__reaches_this_process(enterprise: Enterprise) -> None:
    version = plant_version(enterprise, status=Status.CANDIDATE)
    with learning(enterprise):
        assert ranked(enterprise).source == "configuration"
        held = learned.rankers.version
        with operator_scope():
            rankers.activate_ranker(version=version, now=timezone.now())
        with connect() as connection:
            learned.rankers.refresh(connection, at_least=held + 1)
        assert ranked(enterprise).version == version.pk


def test_activate__candidate__replaces_the_active_one(enterprise: Enterprise) -> None:
    first = plant_version(enterprise)
    second = plant_version(enterprise, status=Status.CANDIDATE)
    with operator_scope():
        rankers.activate_ranker(version=second, now=timezone.now())
    assert [(each.pk, each.status) for each in versions(enterprise)] == [
        (first.pk, Status.RETIRED),
        (second.pk, Status.ACTIVE),
    ]


def test_roll_back__uses_what_was_used_before(enterprise: Enterprise) -> None:
    hours = [timezone.now() - timedelta(hours=each) for each in (3, 2, 1)]
    first = plant_version(
        enterprise, trained_at=hours[0], status=Status.RETIRED, activated_at=hours[0]
    )
    plant_version(enterprise, trained_at=hours[1], status=Status.REJECTED)
    third = plant_version(enterprise, trained_at=hours[2])
    with operator_scope():
        used = rankers.roll_back_ranker(version=third, now=timezone.now())
        assert used.pk == first.pk
        with pytest.raises(rankers.RankerRefused, match="not in use"):
            rankers.roll_back_ranker(version=third, now=timezone.now())
    assert [each.status for each in versions(enterprise)] == [
        Status.ACTIVE,
        Status.REJECTED,
        Status.RETIRED,
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"status": Status.REJECTED}, "rejected"),
        ({"status": Status.ACTIVE}, "active"),
        ({"score_version": SCORE_VERSION + 1}, "formula"),
        ({"trained_at": timezone.now() - timedelta(days=15)}, "fresh_days"),
    ],
)
def test_activate__what_would_not_be_used__is_refused(
    enterprise: Enterprise, fields: dict[str, Any], why: str
) -> None:
    version = plant_version(enterprise, **{"status": Status.RETIRED, **fields})
    with operator_scope(), pytest.raises(rankers.RankerRefused, match=why):
        rankers.activate_ranker(version=version, now=timezone.now())
    assert versions(enterprise)[0].status == version.status


def test_versions__what_was_learned__cannot_be_rewritten(enterprise: Enterprise) -> None:
    version = plant_version(enterprise)
    for fields in ({"weights": {**version.weights, "city": 0.5}}, {"choices": 1}, {"top_1": 1}):
        with operator_scope(), pytest.raises(IntegrityError, match="stands"):
            RankerVersion.objects.filter(pk=version.pk).update(**fields)
    rejected = plant_version(enterprise, status=Status.REJECTED)
    with operator_scope(), pytest.raises(IntegrityError, match="does not go from"):
        RankerVersion.objects.filter(pk=rejected.pk).update(status=Status.RETIRED)
    with pytest.raises(IntegrityError, match="ranker_versions_one_active"):
        plant_version(enterprise)
    plant_version(None)
    with pytest.raises(IntegrityError, match="ranker_versions_one_active"):
        plant_version(None)


def test_versions__runtime_role__can_read_none(enterprise: Enterprise) -> None:
    plant_version(enterprise)
    with pytest.raises(ProgrammingError, match="permission denied"):
        fetch_in_scope(enterprise.ref, "select * from ranker_versions", {}, timeout_seconds=5)
    assert not OfferChoice.objects.exists()


def test_learned__in_memory__holds_weights_only_of_versions_in_use(enterprise: Enterprise) -> None:
    version = plant_version(enterprise)
    plant_version(enterprise, status=Status.CANDIDATE)
    assert learned.rankers.get()[enterprise.pk] == Learned(
        version.pk, Weights(**version.weights), SCORE_VERSION, version.trained_at
    )
