"""Pulling: what a provider answers is what stands of its route and day, whatever else happens."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stamina
from django.db import connections
from django.utils import timezone

from apps.configs.models import ConfigKey, SystemConfig
from apps.configs.runtime import override_config
from apps.flights.models import Flight, FlightLayover
from apps.flights.providers import operations, pulling
from apps.flights.providers.models import (
    FlightProvider,
    ProviderFetch,
    ProviderReject,
    ProviderRoute,
)
from apps.flights.providers.queries import (
    Standing,
    due_fetches,
    freshness,
    has_work,
    requests_today,
    situation,
)
from apps.tenants.models import Enterprise
from layoverhq.errors import InvalidInput
from layoverhq.remote import RemoteFault, backoff
from layoverhq.shared_state import shared_state
from layoverhq.tenancy import operator_scope
from tests.flights.shop_fronts import Journeys, Reply, Request, ShopFront, says
from tests.tenants import factories as tenants

CREDENTIALS = {
    "provider.amadeus.client_id": "id",
    "provider.amadeus.client_secret": "hush",
    "provider.duffel.token": "duffel-token",
    "provider.kiwi.api_key": "kiwi-key",
}
SEARCH = "/air/offer_requests"
AMADEUS_SEARCH = "/v2/shopping/flight-offers"
TOKEN = "/v1/security/oauth2/token"

_numbers = itertools.count(1)


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    at: datetime = field(default_factory=timezone.now)

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **duration: float) -> None:
        self.at += timedelta(**duration)


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been sent to the workers."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(
        operations.current_app,
        "send_task",
        lambda name, kwargs, **options: messages.append({"name": name, **kwargs, **options}),
    )
    return messages


@pytest.fixture(autouse=True)
def _world() -> Iterator[None]:
    """Credentials for all kinds, and no waiting between attempts."""
    stamina.set_testing(True, attempts=10, cap=True)
    with override_config(CREDENTIALS), operator_scope():
        yield
        FlightProvider.objects.filter(name__startswith="test-").delete()
        Flight.objects.filter(provider__startswith="test-").delete()
    stamina.set_testing(False)


@pytest.fixture
def front() -> Iterator[ShopFront]:
    with closing(ShopFront()) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    # Noon, so that the days of all zones are what they look like.
    return Clock(timezone.now().replace(hour=12, minute=0, second=0, microsecond=0))


@pytest.fixture
def journeys(clock: Clock) -> Journeys:
    return Journeys(clock().date() + timedelta(days=1))


def make_provider(front: ShopFront, kind: str = "duffel", **fields: Any) -> FlightProvider:
    return FlightProvider.objects.create(
        name=f"test-{kind}-{next(_numbers)}-{timezone.now():%H%M%S%f}",
        kind=kind,
        base_url=front.url,
        **fields,
    )


def plan(
    provider: FlightProvider, enterprise: Enterprise | None = None, **fields: Any
) -> ProviderRoute:
    given = {"origin": "SFO", "destination": "JFK", "days_ahead": 1, "every_minutes": 60}
    route = ProviderRoute(provider=provider, enterprise=enterprise, **{**given, **fields})
    return operations.save_route(route=route, actor=None)


def pull(provider: FlightProvider, clock: Clock, **options: Any) -> list[ProviderFetch]:
    """Let a worker take its turn; return the fetches, the first first."""
    pulling.pull_provider(provider_id=provider.pk, clock=clock, **options)
    return list(ProviderFetch.objects.filter(provider=provider).order_by("created_at", "id"))


def standing(provider: FlightProvider, clock: Clock) -> str:
    provider.refresh_from_db()
    return situation(provider, clock()).standing


def offers(provider: FlightProvider) -> list[Flight]:
    return list(Flight.objects.filter(provider=provider.name).order_by("price_minor"))


def versions(provider: FlightProvider) -> list[tuple[str, str]]:
    """Return the rows' physical versions: a write makes a new one."""
    with connections["operator"].cursor() as cursor:
        cursor.execute(
            "select f.xmin::text, f.ctid::text, l.xmin::text, l.ctid::text"
            " from flights f join flight_layovers l on l.flight_id = f.id"
            " and l.departure_day = f.departure_day where f.provider = %s",
            [provider.name],
        )
        return sorted(cursor.fetchall())


def counts(fetch: ProviderFetch) -> tuple[int, int, int, int]:
    return (fetch.inserted, fetch.updated, fetch.unchanged, fetch.withdrawn)


def test_pull__each_provider__is_asked_as_it_documents_and_its_offers_stand(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    found = {}
    for kind in ("amadeus", "duffel", "kiwi"):
        provider = make_provider(front, kind, market="DE")
        plan(provider)
        offer = getattr(journeys, kind)()
        replies = [says({"access_token": "t0ken", "expires_in": 1799})] * (kind == "amadeus")
        front.put_up(*replies, says(journeys.answer(kind, offer)))
        (fetch,) = pull(provider, clock)
        assert (fetch.status, counts(fetch), fetch.rejected) == ("done", (1, 0, 0, 0), 0), (
            fetch.error
        )
        (found[kind],) = offers(provider)
        (place,) = FlightLayover.objects.filter(flight_id=found[kind].pk)
        assert (place.airport, place.minutes, place.enterprise_id) == ("DEN", 510, None)
        assert place.usable_minutes == found[kind].usable_minutes
        assert standing(provider, clock) == Standing.HEALTHY
    assert {(each.price_minor, each.departure_at) for each in found.values()} == {
        (41_250, found["kiwi"].departure_at)
    }
    assert [found[kind].self_transfer for kind in found] == [False, False, True]
    # A ticketing deadline is no expiry.
    assert found["amadeus"].expires_at == found["amadeus"].departure_at

    day = journeys.day
    token, search, duffel, kiwi = front.requests
    assert (token.path, token.method) == (TOKEN, "POST")
    assert token.body == b"grant_type=client_credentials&client_id=id&client_secret=hush"
    assert (search.path, search.headers["authorization"]) == (AMADEUS_SEARCH, "Bearer t0ken")
    assert search.query["departureDate"] == day.isoformat()
    assert (search.query["originLocationCode"], search.query["max"]) == ("SFO", "250")
    assert (duffel.path, duffel.headers["duffel-version"]) == (SEARCH, "v2")
    assert duffel.headers["authorization"] == "Bearer duffel-token"
    assert f'"departure_date":"{day.isoformat()}"'.encode() in duffel.body.replace(b" ", b"")
    assert (kiwi.path, kiwi.headers["apikey"]) == ("/v2/search", "kiwi-key")
    assert kiwi.query["date_from"] == day.strftime("%d/%m/%Y")
    assert kiwi.query["partner_market"] == "de"


def test_pull__found_by_every_tenants_search__with_its_layover(
    front: ShopFront, clock: Clock, journeys: Journeys, api: Any
) -> None:
    provider = make_provider(front)
    plan(provider)
    front.put_up(says(journeys.answer("duffel", journeys.duffel())))
    pull(provider, clock)
    search = {
        "origin": "SFO",
        "destination": "JFK",
        "departure_date": journeys.day.isoformat(),
        "via": "DEN",
        "layover": "8h..9h",
    }
    results = api.get("/api/v1/flights/search", search).json()["results"]
    (mine,) = [each for each in results if each["provider"] == provider.name]
    assert (mine["private"], mine["price_minor"]) == (False, 41_250)


def test_pull__priced_for_one_enterprise__is_seen_by_it_alone(
    front: ShopFront,
    clock: Clock,
    journeys: Journeys,
    enterprise: Enterprise,
    other_enterprise: Enterprise,
) -> None:
    provider = make_provider(front)
    plan(provider)
    plan(provider, enterprise)
    front.put_up(
        says(journeys.answer("duffel", journeys.duffel("500.00"))),
        says(journeys.answer("duffel", journeys.duffel("400.00"))),
    )
    with override_config({"provider.duffel.token": "its-own"}, tenant=enterprise):
        fetches = pull(provider, clock)
    assert {fetch.enterprise_id for fetch in fetches} == {None, enterprise.pk}
    tokens = {request.headers["authorization"] for request in front.requests}
    assert tokens == {"Bearer duffel-token", "Bearer its-own"}
    stand = {offer.enterprise_id: offer for offer in offers(provider)}
    assert stand.keys() == {None, enterprise.pk}
    # The same journey twice, once for everybody and once for it.
    assert len({offer.search_hash for offer in stand.values()}) == 1
    place = FlightLayover.objects.get(flight_id=stand[enterprise.pk].pk)
    assert place.enterprise_id == enterprise.pk

    search = {"origin": "SFO", "destination": "JFK", "departure_date": journeys.day.isoformat()}
    for client, seen in (
        (tenants.make_client(enterprise), {None, enterprise.pk}),
        (tenants.make_client(other_enterprise), {None}),
    ):
        body = client.get("/api/v1/flights/search", search).content.decode()
        assert {owner for owner, offer in stand.items() if str(offer.pk) in body} == seen


def seen(api: Any, provider: FlightProvider, journeys: Journeys) -> dict[str, str]:
    """Return when a tenant is told that the provider's offers were seen, by their ids."""
    search = {"origin": "SFO", "destination": "JFK", "departure_date": journeys.day.isoformat()}
    results = api.get("/api/v1/flights/search", search).json()["results"]
    mine = [each for each in results if each["provider"] == provider.name]
    assert {each["age_minutes"] for each in mine} <= {0}
    return {each["id"]: each["seen_at"] for each in mine}


def test_pull__unchanged_answer__writes_no_offer_and_is_fresh_by_its_fetch(
    front: ShopFront, clock: Clock, journeys: Journeys, api: Any
) -> None:
    provider = make_provider(front)
    route = plan(provider)
    front.put_up(says(journeys.answer("duffel", journeys.duffel(), journeys.duffel(fare="Y"))))
    pull(provider, clock)
    before = versions(provider)
    assert len(before) == 2
    named = seen(api, provider, journeys)
    assert len(named) == 2
    clock.pass_by(minutes=61)
    again = pull(provider, clock)[-1]
    assert counts(again) == (0, 0, 2, 0)
    assert versions(provider) == before
    # Its price was named again, which a search tells.
    again_named = seen(api, provider, journeys)
    assert min(again_named.values()) > max(named.values())
    assert again_named.keys() == named.keys()
    assert freshness([route.pk], now=clock())[route.pk].newest_at == clock()


def test_pull__changed_answer__updates_one_and_ends_what_is_gone(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    first = journeys.duffel("300.00", fare="A")
    gone = journeys.duffel("310.00", fare="B")
    front.put_up(
        says(journeys.answer("duffel", first, gone)),
        says(journeys.answer("duffel", journeys.duffel("290.00", fare="A"))),
        says(journeys.answer("duffel", first, gone)),
    )
    pull(provider, clock)
    kept, ended = offers(provider)
    clock.pass_by(minutes=61)
    assert counts(pull(provider, clock)[-1]) == (0, 1, 0, 1)
    after = {offer.pk: offer for offer in offers(provider)}
    assert after[kept.pk].price_minor == 29_000
    assert after[ended.pk].expires_at < timezone.now()
    clock.pass_by(minutes=61)
    assert counts(pull(provider, clock)[-1]) == (0, 2, 0, 0)
    assert {offer.pk for offer in offers(provider)} == {kept.pk, ended.pk}
    assert {offer.expires_at > timezone.now() for offer in offers(provider)} == {True}


def test_pull__two_providers_on_one_route__leave_each_others_offers(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    one, other = make_provider(front), make_provider(front)
    plan(one)
    plan(other)
    front.put_up(
        says(journeys.answer("duffel", journeys.duffel())), says(journeys.answer("duffel"))
    )
    pull(one, clock)
    (fetch,) = pull(other, clock)
    assert (fetch.status, counts(fetch)) == ("done", (0, 0, 0, 0))
    (offer,) = offers(one)
    assert offer.expires_at > timezone.now()


def test_pull__same_fare_twice__keeps_the_cheaper(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    prices = ("500.00", "450.00", "470.00")
    front.put_up(says(journeys.answer("duffel", *(journeys.duffel(each) for each in prices))))
    (fetch,) = pull(provider, clock)
    assert (counts(fetch), fetch.duplicates, fetch.rejected) == ((1, 0, 0, 0), 2, 0)
    assert [offer.price_minor for offer in offers(provider)] == [45_000]


def test_pull__unusable_offers__are_named_and_the_rest_stands(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    other_day = Journeys(journeys.day + timedelta(days=1))
    front.put_up(
        says(
            journeys.answer(
                "duffel",
                journeys.duffel(currency="XAU"),
                {"nul": "\x00", "half": "\ud800"},
                journeys.duffel(),
                other_day.duffel(),
                journeys.duffel("-1.00"),
            )
        )
    )
    (fetch,) = pull(provider, clock)
    assert (fetch.status, counts(fetch), fetch.rejected) == ("done", (1, 0, 0, 0), 4)
    rejects = ProviderReject.objects.filter(fetch=fetch)
    assert [(each.position, each.reason, each.field) for each in rejects] == [
        (0, "unknown_currency", "currency"),
        (1, "unexpected_shape", ""),
        (3, "another_journey", "segments"),
        (4, "negative_price", "price"),
    ]
    assert rejects[1].excerpt == r'{"nul": "\u0000", "half": "\ud800"}'
    assert "JFK on" in rejects[2].detail


def test_pull__all_of_it_unusable__leaves_what_stands(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    front.put_up(
        says(journeys.answer("duffel", journeys.duffel())),
        says(journeys.answer("duffel", {"surprise": 1}, {"surprise": 2})),
    )
    pull(provider, clock)
    before = versions(provider)
    clock.pass_by(minutes=61)
    fetch = pull(provider, clock)[-1]
    assert (fetch.status, fetch.error_code, fetch.rejected) == ("failed", "nothing_usable", 2)
    assert versions(provider) == before
    assert ProviderReject.objects.filter(fetch=fetch).count() == 2
    assert standing(provider, clock) == Standing.DEGRADED


FAULTS: dict[str, tuple[Reply, str]] = {
    "500": (says({}, 500), "server_error"),
    "html": (Reply(b"<html>Bad gateway</html>", 200, {"Content-Type": "text/html"}), "html_answer"),
    "html named json": (Reply(b"\n <!doctype html>"), "html_answer"),
    "truncated json": (Reply(b'{"data": {"offers": ['), "malformed_json"),
    "broken off": (Reply(b'{"data": {"offers": []}}', cut=4), "connection"),
    "not utf-8": (Reply(b'{"data": "\xff"}'), "malformed_json"),
    "nan": (Reply(b'{"data": NaN}'), "malformed_json"),
    "deep": (Reply(b"[" * 9_000), "malformed_json"),
    "huge": (Reply(b'"' + b"x" * 20_000 + b'"'), "answer_too_large"),
    "another shape": (says([1, 2]), "unexpected_shape"),
    "offers no list": (says({"data": {"offers": {"a": 1}}}), "unexpected_shape"),
    "redirect": (Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), "unexpected_status"),
    "bad request": (says({"errors": [{"title": "no such place"}]}, 400), "refused"),
    "bad gzip": (Reply(b"no gzip", 200, {"Content-Encoding": "gzip"}), "malformed_json"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_pull__answer_that_is_none__is_named_and_leaves_what_stands(
    front: ShopFront, clock: Clock, journeys: Journeys, name: str
) -> None:
    reply, code = FAULTS[name]
    provider = make_provider(front)
    plan(provider)
    front.put_up(says(journeys.answer("duffel", journeys.duffel())), reply)
    pull(provider, clock)
    before = versions(provider)
    clock.pass_by(minutes=61)
    with override_config({"provider.answer_megabytes": 0.01}):
        fetch = pull(provider, clock)[-1]
    assert (fetch.status, fetch.error_code) == ("failed", code), fetch.error
    assert fetch.requests == (3 if code in ("server_error", "connection") else 1)
    assert versions(provider) == before
    assert len(before) == 1
    provider.refresh_from_db()
    assert provider.last_error.startswith(code)
    # It is due again, after a while, and then comes right.
    assert due_fetches(provider.pk, now=clock()) == []
    clock.pass_by(minutes=16)
    front.put_up(says(journeys.answer("duffel", journeys.duffel())))
    assert pull(provider, clock)[-1].status == "done"
    assert standing(provider, clock) == Standing.HEALTHY


def test_pull__provider_that_hangs__ends_in_time(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider, days_ahead=3)
    front.put_up(Reply(hangs=True))
    with override_config({"provider.read_timeout": 0.05, "provider.attempts": 2}):
        (fetch,) = pull(provider, clock)
    assert (fetch.error_code, fetch.requests) == ("timeout", 2)


def test_pull__nobody_there__is_a_fault_of_the_connection(clock: Clock) -> None:
    with closing(ShopFront()) as gone:
        provider = make_provider(gone)
    plan(provider)
    (fetch,) = pull(provider, clock)
    assert (fetch.error_code, fetch.requests) == ("connection", 3)


def test_pull__500s_then_an_answer__is_done_after_repeating(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    answer = says(journeys.answer("duffel", journeys.duffel()))
    front.put_up(says({}, 500), says({}, 503), answer)
    (fetch,) = pull(provider, clock)
    assert (fetch.status, fetch.requests, counts(fetch)) == ("done", 3, (1, 0, 0, 0))
    assert requests_today(provider, clock()) == 3


def test_pull__429_with_a_short_wait__is_asked_again(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    waits: list[float] = []
    stamina.set_testing(False)
    stamina.instrumentation.set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    answer = says(journeys.answer("duffel", journeys.duffel()))
    front.put_up(says({}, 429, **{"Retry-After": "0"}), answer)
    try:
        (fetch,) = pull(provider, clock)
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    # As it asked, and not as long as we would have waited.
    assert (fetch.status, fetch.requests, waits) == ("done", 2, [0.0])


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_pull__429_with_a_long_wait__is_left_alone_until_then(
    front: ShopFront, clock: Clock, journeys: Journeys, form: str
) -> None:
    provider = make_provider(front)
    plan(provider, days_ahead=2)
    until = clock() + timedelta(seconds=120)
    given = "120" if form == "seconds" else until.strftime("%a, %d %b %Y %H:%M:%S GMT")
    answer = says(journeys.answer("duffel"))
    front.put_up(says({}, 429, **{"Retry-After": given}), answer)
    (fetch,) = pull(provider, clock)
    assert (fetch.error_code, fetch.requests) == ("throttled", 1)
    provider.refresh_from_db()
    assert provider.retry_at == until
    assert standing(provider, clock) == Standing.THROTTLED
    assert not has_work(provider, now=clock())
    clock.pass_by(seconds=119)
    assert len(pull(provider, clock)) == 1
    clock.pass_by(seconds=2)
    assert [each.status for each in pull(provider, clock)][1:] == ["done"]
    assert standing(provider, clock) == Standing.HEALTHY


def test_amadeus__token_that_ended_early__is_renewed_once(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front, "amadeus")
    plan(provider, days_ahead=2)
    valid = {"token": "first"}

    def answer(request: Request) -> Reply:
        if request.path == TOKEN:
            return says({"access_token": valid["token"], "expires_in": 1799})
        if request.headers["authorization"] != f"Bearer {valid['token']}":
            return says({"errors": [{"status": 401}]}, 401)
        return says(journeys.answer("amadeus"))

    front.put_up(answer)
    assert [fetch.status for fetch in pull(provider, clock)] == ["done", "done"]
    assert len(front.asked(TOKEN)) == 1
    valid["token"] = "second"
    clock.pass_by(minutes=61)
    # By now the first has ended by the clock, so that the second is asked for right away.
    pull(provider, clock)
    assert len(front.asked(TOKEN)) == 2
    valid["token"] = "third"
    clock.pass_by(minutes=15)
    operations.request_fetch(
        provider=provider, origin="SFO", destination="JFK", day=journeys.day, now=clock()
    )
    assert pull(provider, clock)[-1].status == "done"
    assert len(front.asked(TOKEN)) == 3


def test_amadeus__refused_credentials__are_tried_once_more_and_then_not_in_this_run(
    front: ShopFront, clock: Clock
) -> None:
    provider = make_provider(front, "amadeus")
    plan(provider, days_ahead=3)
    front.put_up(says({"error": "invalid_client"}, 401))
    (fetch,) = pull(provider, clock)
    assert (fetch.error_code, fetch.requests) == ("unauthorised", 1)
    front.requests.clear()
    clock.pass_by(minutes=1)

    def answer(request: Request) -> Reply:
        if request.path == TOKEN:
            return says({"access_token": "t", "expires_in": 1799})
        return says({"errors": [{"status": 401}]}, 401)

    front.put_up(answer)
    fetch = pull(provider, clock)[-1]
    assert (fetch.error_code, fetch.requests) == ("unauthorised", 4)
    assert [request.path for request in front.requests] == [TOKEN, AMADEUS_SEARCH] * 2


def test_own_credentials__refused__say_nothing_against_the_provider(
    front: ShopFront, clock: Clock, enterprise: Enterprise
) -> None:
    provider = make_provider(front)
    plan(provider, enterprise, days_ahead=2)
    front.put_up(says({}, 401))
    (fetch,) = pull(provider, clock)
    assert fetch.error_code == "unauthorised"
    provider.refresh_from_db()
    assert provider.consecutive_failures == 0


def test_circuit__fails_again_and_again__opens_then_one_tries_then_closes(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider, days_ahead=5)
    front.put_up(says({}, 500))
    limits = {"provider.circuit_failures": 2, "provider.attempts": 1}
    with override_config({**limits, "provider.circuit_cool_down": 60}):
        assert [fetch.status for fetch in pull(provider, clock)] == ["failed"] * 2
        assert standing(provider, clock) == Standing.OPEN
        assert not has_work(provider, now=clock())
        clock.pass_by(seconds=59)
        assert len(pull(provider, clock)) == 2
        clock.pass_by(seconds=2)
        assert standing(provider, clock) == Standing.DEGRADED
        # Half open: one asks, fails, and it is left alone for twice as long.
        assert len(pull(provider, clock)) == 3
        clock.pass_by(seconds=61)
        assert standing(provider, clock) == Standing.OPEN
        clock.pass_by(seconds=60)
        front.put_up(says(journeys.answer("duffel")))
        statuses = [fetch.status for fetch in pull(provider, clock)][3:]
        assert statuses == ["done"] * 2
        assert standing(provider, clock) == Standing.HEALTHY


def test_circuit__closed_by_an_operator__is_asked_at_once(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider, days_ahead=3)
    front.put_up(says({}, 500))
    with override_config({"provider.circuit_failures": 1, "provider.attempts": 1}):
        pull(provider, clock)
        with pytest.raises(operations.CannotFetch, match="Left alone until"):
            operations.request_fetch(
                provider=provider, origin="SFO", destination="JFK", day=journeys.day, now=clock()
            )
        front.put_up(says(journeys.answer("duffel")))
        operations.close_circuit(provider=provider)
        assert [each.status for each in pull(provider, clock)][1:] == ["done"] * 2


def test_quota__of_the_minute__ends_the_turn_and_the_next_goes_on(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front, quota_per_minute=2)
    plan(provider, days_ahead=5)
    front.put_up(says(journeys.answer("duffel")))
    assert [fetch.status for fetch in pull(provider, clock)] == ["done"] * 2
    assert len(pull(provider, clock)) == 2
    clock.pass_by(seconds=60)
    assert len(pull(provider, clock)) == 4
    assert len(front.requests) == 4


def test_quota__of_the_day__is_counted_from_the_log(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front, quota_per_day=3)
    plan(provider, days_ahead=5)
    front.put_up(says({}, 500), says(journeys.answer("duffel")))
    # Two requests for the first day, and one for the second.
    assert [fetch.requests for fetch in pull(provider, clock)] == [2, 1]
    shared_state.forget(f"quota:{provider.name}")
    assert len(pull(provider, clock)) == 2
    clock.at = datetime(clock.at.year, clock.at.month, clock.at.day, tzinfo=UTC) + timedelta(days=1)
    assert len(pull(provider, clock)) > 2


def test_quota__used_up_while_repeating__ends_the_fetch_by_name(
    front: ShopFront, clock: Clock
) -> None:
    provider = make_provider(front, quota_per_minute=2)
    plan(provider)
    front.put_up(says({}, 500))
    (fetch,) = pull(provider, clock)
    assert (fetch.error_code, fetch.requests) == ("quota", 2)
    assert len(front.requests) == 2


def test_pause__with_and_without_an_end__keeps_the_provider_from_being_asked(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    front.put_up(says(journeys.answer("duffel")))
    until = clock() + timedelta(hours=1)
    operations.pause_provider(provider=provider, reason="contract", until=until, now=clock())
    assert pull(provider, clock) == []
    assert standing(provider, clock) == Standing.PAUSED
    with pytest.raises(operations.CannotFetch, match="contract"):
        operations.request_fetch(
            provider=provider, origin="SFO", destination="JFK", day=journeys.day, now=clock()
        )
    clock.pass_by(hours=1)
    assert operations.end_pauses(now=clock()) == 1
    provider.refresh_from_db()
    assert provider.pause_reason == ""
    assert len(pull(provider, clock)) == 1

    operations.pause_provider(provider=provider, reason="again", until=None, now=clock())
    clock.pass_by(days=300)
    assert len(pull(provider, clock)) == 1
    operations.resume_provider(provider=provider)
    assert len(pull(provider, clock)) == 2
    with pytest.raises(InvalidInput) as caught:
        operations.pause_provider(provider=provider, reason="x", until=clock(), now=clock())
    assert caught.value.errors[0].field == "until"


@pytest.mark.parametrize("token", ["töken", "to\nken", " \n"])
def test_credentials__that_no_header_can_have__are_named(
    front: ShopFront, clock: Clock, token: str
) -> None:
    provider = make_provider(front)
    plan(provider)
    with override_config({"provider.duffel.token": token}):
        assert pull(provider, clock) == []
        assert "provider.duffel.token" in situation(provider, clock()).told
    with override_config({"provider.duffel.token": " pasted \n"}):
        pull(provider, clock)
    assert front.requests[0].headers["authorization"] == "Bearer pasted"


def test_credentials__missing__are_named_and_nobody_is_asked(
    front: ShopFront, clock: Clock
) -> None:
    provider = make_provider(front, "kiwi")
    plan(provider)
    with override_config({"provider.kiwi.api_key": ""}):
        assert pull(provider, clock) == []
        stands = situation(provider, clock())
        assert stands.standing == Standing.NO_CREDENTIALS
        assert "provider.kiwi.api_key" in stands.told
    assert front.requests == []


def test_workers__two_at_once__fetch_each_day_once(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider, days_ahead=4)
    both = threading.Barrier(2, timeout=20)
    first_asked, go_on = threading.Event(), threading.Event()

    def answer(request: Request) -> Reply:
        first_asked.set()
        assert go_on.wait(20)
        return says(journeys.answer("duffel"))

    front.put_up(answer)
    taken: list[int] = []

    def work() -> None:
        with operator_scope():
            both.wait()
            taken.append(pulling.pull_provider(provider_id=provider.pk, clock=clock))
            # Whoever was too late is back while the other still waits for its first answer.
            go_on.set()
            connections["operator"].close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert first_asked.wait(20)
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == [0, 4]
    assert len(front.requests) == 4


class Killed(BaseException):
    """The worker is gone."""


def test_worker__killed_within_a_fetch__loses_nothing(
    front: ShopFront, clock: Clock, journeys: Journeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = make_provider(front)
    plan(provider)
    front.put_up(says(journeys.answer("duffel", journeys.duffel())))

    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pulling, "_keep_rejects", killed)
        with pytest.raises(Killed):
            pull(provider, clock)
    assert offers(provider) == []
    assert ProviderFetch.objects.get(provider=provider).status == "running"
    clock.pass_by(minutes=11)
    assert pulling.end_lost_fetches(now=clock()) >= 1
    assert ProviderFetch.objects.get(provider=provider).error_code == "lost"
    clock.pass_by(minutes=5)
    assert pull(provider, clock)[-1].status == "done"
    assert len(offers(provider)) == 1


def test_enterprise_that_left__gets_no_offers(
    front: ShopFront, clock: Clock, journeys: Journeys, enterprise: Enterprise
) -> None:
    provider = make_provider(front)
    plan(provider, enterprise)

    def leave(_: Request) -> Reply:
        Enterprise.objects.filter(pk=enterprise.pk).update(status="offboarding")
        return says(journeys.answer("duffel", journeys.duffel()))

    def answer(request: Request) -> Reply:
        with operator_scope():
            reply = leave(request)
            connections["operator"].close()
        return reply

    front.put_up(answer)
    (fetch,) = pull(provider, clock)
    assert fetch.error_code == "enterprise_leaving"
    assert offers(provider) == []
    clock.pass_by(hours=2)
    assert due_fetches(provider.pk, now=clock()) == []


def test_due__by_the_last_answer__whoever_asked_for_it(
    front: ShopFront, clock: Clock, journeys: Journeys, sent: list[dict[str, Any]]
) -> None:
    provider = make_provider(front)
    route = plan(provider, days_ahead=3, every_minutes=60)
    front.put_up(says(journeys.answer("duffel")))
    operations.request_fetch(
        provider=provider, origin="sfo", destination="jfk", day=journeys.day, now=clock()
    )
    assert sent[-1]["provider_id"] == str(provider.pk)
    assert sent[-1]["expires"] == operations.PULL_EXPIRES_SECONDS
    assert len(pull(provider, clock)) == 3
    assert due_fetches(provider.pk, now=clock()) == []
    clock.pass_by(minutes=60)
    assert [each.day - journeys.day for each in due_fetches(provider.pk, now=clock())] == [
        timedelta(days=shift) for shift in range(3)
    ]
    operations.set_routes_active(routes=[route], is_active=False)
    assert due_fetches(provider.pk, now=clock()) == []


def test_purge__after_thirty_days__leaves_offers_and_the_rest(
    front: ShopFront, clock: Clock, journeys: Journeys
) -> None:
    provider = make_provider(front)
    plan(provider)
    front.put_up(says(journeys.answer("duffel", journeys.duffel(), {})))
    (old,) = pull(provider, clock)
    assert old.rejected == 1
    pulling.purge_fetches(now=clock() + timedelta(days=29))
    assert ProviderReject.objects.filter(fetch=old).exists()
    pulling.purge_fetches(now=clock() + timedelta(days=30, seconds=1))
    assert not ProviderFetch.objects.filter(provider=provider).exists()
    assert not ProviderReject.objects.filter(fetch=old).exists()
    assert len(offers(provider)) == 1


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"name": "Big Name"}, "name"),
        ({"base_url": "http://api.example.com"}, "base_url"),
        ({"base_url": "https://user:pass@api.example.com"}, "base_url"),
        ({"base_url": "https://api.example.com/v1"}, "base_url"),
        ({"base_url": "ftp://api.example.com"}, "base_url"),
        ({"base_url": "https://api.example.com:0x"}, "base_url"),
        ({"quota_per_day": 0}, "quota_per_day"),
        ({"market": "GER"}, "market"),
        ({"currency": "XAU"}, "currency"),
    ],
)
def test_save_provider__unusable_field__is_named(fields: dict[str, Any], refused: str) -> None:
    given = {"name": "test-new", "kind": "kiwi", "base_url": "https://api.example.com"}
    with pytest.raises(InvalidInput) as caught:
        operations.save_provider(provider=FlightProvider(**{**given, **fields}), actor=None)
    assert [error.field for error in caught.value.errors] == [refused]
    assert not FlightProvider.objects.filter(name="test-new").exists()


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"origin": "QQQ"}, "origin"),
        ({"destination": "SFO"}, "destination"),
        ({"days_ahead": 0}, "days_ahead"),
        ({"days_ahead": 331}, "days_ahead"),
        ({"every_minutes": 14}, "every_minutes"),
    ],
)
def test_save_route__unusable_field__is_named(
    front: ShopFront, fields: dict[str, Any], refused: str
) -> None:
    provider = make_provider(front)
    with pytest.raises(InvalidInput) as caught:
        plan(provider, **fields)
    assert [error.field for error in caught.value.errors] == [refused]
    assert not ProviderRoute.objects.filter(provider=provider).exists()


@pytest.mark.parametrize("kind", ["amadeus", "duffel", "kiwi"])
def test_pull__credentials_said_back__are_kept_nowhere(
    front: ShopFront, clock: Clock, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = make_provider(front, kind)
    plan(provider)
    told = [says({"access_token": "t0ken", "expires_in": 1e11})] if kind == "amadeus" else []
    front.put_up(*told, lambda request: Reply(str(dict(request.headers)).encode(), 400))
    (fetch,) = pull(provider, clock)
    provider.refresh_from_db()
    assert fetch.error_code == "refused"
    assert "[credential]" in fetch.error
    for secret in ("t0ken", "duffel-token", "kiwi-key", "hush"):
        assert secret not in fetch.error + provider.last_error + caplog.text


def test_amadeus__token_that_lasts_for_ever__is_no_token(front: ShopFront, clock: Clock) -> None:
    provider = make_provider(front, "amadeus")
    plan(provider)
    front.put_up(says({"access_token": "t0ken", "expires_in": 10**13}))
    (fetch,) = pull(provider, clock)
    assert (fetch.status, fetch.error_code) == ("failed", "unexpected_shape")


def test_amadeus__other_secret_of_one_client__asks_for_a_token_of_its_own(
    front: ShopFront, clock: Clock, journeys: Journeys, enterprise: Enterprise
) -> None:
    provider = make_provider(front, "amadeus")
    plan(provider)
    plan(provider, enterprise)
    token = says({"access_token": "t0ken", "expires_in": 1799})
    answer = says(journeys.answer("amadeus", journeys.amadeus()))
    front.put_up(token, answer, says({}, 401))
    with override_config({"provider.amadeus.client_secret": "wrong"}, tenant=enterprise):
        fetches = pull(provider, clock)
    assert sorted(fetch.status for fetch in fetches) == ["done", "failed"]


def test_request_fetch__today__is_the_origins(front: ShopFront, clock: Clock) -> None:
    provider = make_provider(front)
    # Five o'clock in the morning, UTC: in Honolulu it is the evening before.
    clock.at = clock.at.replace(hour=5)
    eve = clock().date() - timedelta(days=1)
    asked = {"provider": provider, "destination": "JFK", "day": eve, "now": clock()}
    assert operations.request_fetch(origin="HNL", **asked).day == eve
    with pytest.raises(InvalidInput) as caught:
        operations.request_fetch(origin="SYD", **asked)
    assert [error.field for error in caught.value.errors] == ["day"]


def test_backoff__retry_after__is_heeded_up_to_ten_seconds() -> None:
    assert backoff(RemoteFault("throttled", "", retry_after=7)) == 7
    assert backoff(RemoteFault("throttled", "", retry_after=11)) is False
    assert backoff(RemoteFault("server_error", "")) is True
    assert backoff(RemoteFault("html_answer", "")) is False
    assert backoff(ValueError()) is False


def test_credentials__seeded__are_secret_and_have_no_value() -> None:
    for key in CREDENTIALS:
        assert ConfigKey.objects.get(pk=key).is_secret, key
        assert not SystemConfig.objects.filter(config_key=key, enterprise=None).exists(), key
