"""What alerts tell, once, with its webhooks, wherever the enterprise lives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from apps.flights import queries
from apps.flights.models import Flight
from apps.flights.rates import NoRate
from apps.tenants import moving
from apps.tenants.homes import EnterpriseMoving, home_scope
from apps.tenants.models import Enterprise
from apps.tenants.operations import suspend_enterprise
from apps.trips import alerts, operations, tasks
from apps.trips.models import AlertEvent, PriceAlert
from apps.trips.queries import enterprises_with_due_alerts
from apps.webhooks.models import WebhookDelivery
from layoverhq.errors import QueryTimeout
from layoverhq.tenancy import operator_scope
from tests.flights.factories import Shop
from tests.tenants import factories
from tests.trips.factories import add_alert, add_event, add_traveller, save_search, stored
from tests.webhooks.factories import add_webhook, deliveries

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Send nothing to workers, and leave nothing for them."""
    monkeypatch.setattr("celery.app.base.Celery.send_task", lambda *args, **kwargs: None)
    yield
    with operator_scope():
        WebhookDelivery.objects.all().delete()
        PriceAlert.objects.all().delete()


@pytest.fixture
def _webhook(enterprise: Enterprise) -> None:
    add_webhook(enterprise, "https://example.com/hooks")


def check(enterprise: Enterprise, *, expected: int = 1) -> None:
    """Check all of the enterprise's alerts, due or not."""
    with home_scope(enterprise.ref):
        PriceAlert.objects.update(next_check_at=timezone.now() - timedelta(minutes=1))
    assert alerts.check_due_alerts(tenant=stored(enterprise).ref) == expected


def current(enterprise: Enterprise, alert: PriceAlert) -> PriceAlert:
    with home_scope(enterprise.ref):
        return PriceAlert.objects.get(pk=alert.pk)


def news(enterprise: Enterprise) -> list[tuple[str, int | None, int]]:
    with home_scope(enterprise.ref):
        return [
            (event.event, event.price_minor, event.offer_count)
            for event in AlertEvent.objects.order_by("id")
        ]


def reprice(shop: Shop, price_minor: int) -> None:
    """Let everything on the shop's shelves cost so much."""
    with operator_scope():
        Flight.objects.filter(
            departure_day=shop.day, pk__in=[offer.pk for offer in shop.made]
        ).update(price_minor=price_minor)


@pytest.mark.usefixtures("_webhook")
def test_price__falls_under_the_threshold__is_told_once_with_its_webhook(enterprise, shop):
    shop.sell([("DEN", 600)], price_minor=50_000)
    search = save_search(enterprise, shop, add_traveller(enterprise))
    alert = add_alert(enterprise, search, threshold_minor=40_000)

    check(enterprise)
    assert news(enterprise) == []
    assert current(enterprise, alert).best_price_minor == 50_000

    reprice(shop, 39_000)
    check(enterprise)
    check(enterprise)
    assert news(enterprise) == [("alert.price", 39_000, 1)]
    assert current(enterprise, alert).state == "met"
    (sent,) = deliveries(enterprise)
    told = json.loads(sent.body)
    assert told["type"] == "alert.price"
    assert told["data"]["alert_id"] == str(alert.pk)
    assert told["data"]["traveller_id"] == str(search.traveller_id)
    assert told["data"]["price_minor"] == 39_000
    assert [offer["id"] for offer in told["data"]["offers"]] == [str(shop.made[0].pk)]
    assert "Ann Arbor" not in sent.body
    assert "holidays" not in sent.body


def test_price__wavers__is_no_news_until_it_rose_or_fell_for_real(enterprise, shop):
    shop.sell(price_minor=39_900)
    add_alert(enterprise, save_search(enterprise, shop), threshold_minor=40_000)
    told = []
    for price in (39_900, 40_100, 39_900, 40_800, 39_900, 38_000, 37_905, 37_900, 41_000, 37_900):
        reprice(shop, price)
        check(enterprise)
        told.append(len(news(enterprise)))
    #          first  above by less than 2 %     5 % under what was told   rose, fell again
    assert told == [1, 1, 1, 1, 1, 1, 2, 2, 2, 3]


def test_price__offers_vanish_and_come_back__is_no_news(enterprise, shop):
    shop.sell(price_minor=39_000)
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=40_000)
    check(enterprise)
    shop.close()
    check(enterprise)
    assert current(enterprise, alert).best_price_minor is None
    shop.sell(price_minor=39_000)
    check(enterprise)
    assert news(enterprise) == [("alert.price", 39_000, 1)]


def test_layovers__new_journeys__are_told_each_once(enterprise, shop):
    shop.sell([("DEN", 60)])
    search = save_search(enterprise, shop)
    alert = add_alert(enterprise, search, layovers="layover=8h..20h&via=DEN")
    check(enterprise)
    assert news(enterprise) == []

    shop.sell([("DEN", 600)], price_minor=30_000)
    shop.sell([("DEN", 700)], price_minor=20_000)
    check(enterprise)
    check(enterprise)
    assert news(enterprise) == [("alert.layover", 20_000, 2)]

    # The same flights from another seller are the same journey.
    shop.sell([("DEN", 600)], price_minor=10_000)
    check(enterprise)
    assert len(news(enterprise)) == 1
    shop.sell([("DEN", 800)], price_minor=90_000)
    check(enterprise)
    assert news(enterprise)[1:] == [("alert.layover", 90_000, 1)]
    assert len(current(enterprise, alert).seen) == 3


def test_price_with_layovers__counts_the_offers_that_have_them(enterprise, shop):
    shop.sell(price_minor=10_000)
    shop.sell([("DEN", 600)], price_minor=35_000)
    search = save_search(enterprise, shop)
    add_alert(enterprise, search, threshold_minor=40_000, layovers="layover=8h..20h")
    check(enterprise)
    assert news(enterprise) == [("alert.price", 35_000, 1)]


@pytest.mark.usefixtures("_webhook")
def test_search__day_is_past__ends_the_alert_and_tells(enterprise, shop, monkeypatch):
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=1)
    later = timezone.now() + timedelta(days=60)
    with home_scope(enterprise.ref) as tenant:
        PriceAlert.objects.update(next_check_at=timezone.now())
    taken = alerts.take_alert(tenant=tenant, now=timezone.now())
    assert taken is not None
    sight = alerts.look(tenant, taken, now=later)
    assert sight.is_over
    alerts.settle(tenant=tenant, taken=taken, sight=sight, now=later)
    assert current(enterprise, alert).state == "ended"
    assert news(enterprise) == [("alert.ended", None, 0)]
    assert [each.event for each in deliveries(enterprise)] == ["alert.ended"]
    check(enterprise, expected=0)


def test_search__bounds_the_price_in_another_currency__keeps_its_meaning(
    enterprise, shop, monkeypatch
):
    # 150 yen, which have no minor units, are a dollar.
    monkeypatch.setattr(queries, "shown", lambda currency: (Decimal("1.5"), shop.day))
    shop.sell(price_minor=50_000)
    alert = add_alert(
        enterprise,
        save_search(enterprise, shop, currency="JPY", price="..45000"),
        threshold_minor=60_000,
    )
    check(enterprise)
    assert current(enterprise, alert).best_price_minor is None
    reprice(shop, 30_000)
    check(enterprise)
    assert news(enterprise) == [("alert.price", 30_000, 1)]
    offer = current(enterprise, alert).best_offer
    assert offer is not None
    assert offer["price_currency"] == "USD"


def test_search__no_rate_for_its_bounds__is_noted(enterprise, shop, monkeypatch):
    def none(currency: str) -> Any:
        raise NoRate(currency, "Prices in JPY")

    monkeypatch.setattr(queries, "shown", none)
    search = save_search(enterprise, shop, currency="JPY", price="..45000")
    alert = add_alert(enterprise, search, threshold_minor=60_000)
    check(enterprise)
    assert "no exchange rate of JPY" in current(enterprise, alert).problem


def test_search__takes_too_long__is_noted_and_checked_again(enterprise, shop, monkeypatch):
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=1)

    def slow(*arguments: Any) -> bytes:
        raise QueryTimeout("The query took longer than 30 s.")

    monkeypatch.setattr(alerts, "search_flights", slow)
    check(enterprise)
    noted = current(enterprise, alert)
    assert (noted.state, noted.problem) == ("watching", "The query took longer than 30 s.")
    assert noted.next_check_at > timezone.now()


def test_take__two_workers__never_the_same_and_a_killed_ones_again(enterprise, shop):
    search = save_search(enterprise, shop)
    for threshold in (1, 2):
        add_alert(enterprise, search, threshold_minor=threshold)
    now = timezone.now()
    first = alerts.take_alert(tenant=enterprise.ref, now=now)
    second = alerts.take_alert(tenant=enterprise.ref, now=now)
    assert first is not None
    assert second is not None
    assert first.alert_id != second.alert_id
    assert alerts.take_alert(tenant=enterprise.ref, now=now) is None
    later = now + alerts.LEASE
    again = alerts.take_alert(tenant=enterprise.ref, now=later)
    assert again is not None
    assert again.alert_id in {first.alert_id, second.alert_id}


def test_settle__alert_was_changed_meanwhile__changes_nothing(enterprise, shop):
    shop.sell(price_minor=100)
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=200)
    taken = alerts.take_alert(tenant=enterprise.ref, now=timezone.now())
    assert taken is not None
    sight = alerts.look(enterprise.ref, taken, now=timezone.now())
    assert len(sight.offers) == 1
    with home_scope(enterprise.ref) as tenant:
        operations.change_alert(
            tenant=tenant, alert=alert, version=1, threshold_minor=50, now=timezone.now()
        )
    alerts.settle(tenant=enterprise.ref, taken=taken, sight=sight, now=timezone.now())
    assert news(enterprise) == []
    assert current(enterprise, alert).checked_at is None


def test_news__cannot_be_written__neither_is_the_webhook(enterprise, shop, monkeypatch):
    add_webhook(enterprise, "https://example.com/hooks")
    shop.sell(price_minor=100)
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=200)
    usual = alerts.notify

    def failing(**arguments: Any) -> None:
        usual(**arguments)
        raise RuntimeError("pulled the plug")

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "notify", failing)
        with pytest.raises(RuntimeError):
            check(enterprise)
    assert news(enterprise) == []
    assert deliveries(enterprise) == []
    assert current(enterprise, alert).state == "watching"
    check(enterprise)
    assert len(news(enterprise)) == len(deliveries(enterprise)) == 1


@pytest.mark.usefixtures("tidy")
def test_round__pooled_dedicated_and_suspended__gives_each_that_is_served_a_turn(
    enterprise, other_enterprise, shop, monkeypatch
):
    suspended = factories.make_enterprise()
    shop.sell(price_minor=100)
    for tenant in (enterprise, other_enterprise, suspended):
        add_alert(tenant, save_search(tenant, shop), threshold_minor=200)
    with operator_scope():
        suspend_enterprise(enterprise=suspended)
        move = moving.start_move(
            enterprise=enterprise, target=Enterprise.Isolation.DEDICATED, reason="why"
        )
        moving.advance_move(move_id=move.pk)
        due = enterprises_with_due_alerts(timezone.now())
    homes = {tenant.id: tenant.schema for tenant in due}
    assert homes[enterprise.pk] == enterprise.schema_name
    assert homes[other_enterprise.pk] == ""
    assert suspended.pk not in homes

    sent: list[str] = []
    monkeypatch.setattr(
        tasks.check_enterprise_alerts,
        "apply_async",
        lambda kwargs, expires: sent.append(kwargs["enterprise_id"]),
    )
    tasks.check_alerts()
    assert sorted(sent) == sorted(str(key) for key in homes)
    for enterprise_id in [*sent, str(suspended.pk)]:
        tasks.check_enterprise_alerts(enterprise_id=enterprise_id)
    assert news(stored(enterprise)) == news(other_enterprise) == [("alert.price", 100, 1)]
    assert news(suspended) == []
    with operator_scope():
        assert enterprises_with_due_alerts(timezone.now()) == []


def test_round__one_enterprise_has_many__others_have_their_turn(enterprise, shop):
    search = save_search(enterprise, shop)
    for threshold in range(3):
        add_alert(enterprise, search, threshold_minor=threshold)
    assert alerts.check_due_alerts(tenant=enterprise.ref, seconds=0) == 1
    assert alerts.check_due_alerts(tenant=enterprise.ref) == 2


def test_turn__of_an_enterprise_that_is_moving__waits_for_the_next_round(
    enterprise, shop, monkeypatch
):
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=1)

    def moving_away(**_: Any) -> int:
        raise EnterpriseMoving

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "check_due_alerts", moving_away)
        tasks.check_enterprise_alerts(enterprise_id=str(enterprise.pk))
    assert current(enterprise, alert).checked_at is None
    tasks.check_enterprise_alerts(enterprise_id=str(enterprise.pk))
    assert current(enterprise, alert).checked_at is not None


def test_purge__old_news__goes_in_every_home(enterprise, shop):
    alert = add_alert(enterprise, save_search(enterprise, shop), threshold_minor=1)
    add_event(enterprise, alert, occurred_at=timezone.now() - timedelta(days=181))
    add_event(enterprise, alert, price_minor=7)
    tasks.purge_alert_events()
    assert news(enterprise) == [("alert.price", 7, 0)]
