"""Every API route, called with one tenant's key and another's ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from apps.flights.models import EnterpriseFlight
from apps.tenants.homes import home_scope
from apps.tenants.models import Enterprise, Scope
from apps.tenants.operations import IssuedKey
from apps.trips import operations as trips
from apps.trips.models import AlertEvent
from apps.webhooks import operations as webhooks
from apps.webhooks.models import WebhookDelivery
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.openapi import JSON
from tests.configs.declared import declare, publish
from tests.flags.rows import plant_flag
from tests.isolation import roles
from tests.isolation.planters import plant
from tests.tenants import factories

PREFIXES = ("api/v1/", "ofrep/v1/")


@dataclass(frozen=True)
class Victim:
    """An enterprise whose rows must not be seen, and the words that would give it away."""

    enterprise: Enterprise
    key: IssuedKey
    offer_id: str = ""
    config_key: str = ""
    flag: str = ""
    own_words: str = ""
    import_id: str = ""
    rows: dict[str, str] = field(default_factory=dict)

    @property
    def traces(self) -> list[str]:
        return [
            str(self.enterprise.id),
            self.enterprise.slug,
            self.enterprise.name,
            str(self.key.key.id),
            self.key.key.prefix,
            self.key.key.name,
            *([self.offer_id] if self.offer_id else []),
            *([self.own_words] if self.own_words else []),
            *([self.import_id] if self.import_id else []),
            *self.rows.values(),
        ]


@dataclass(frozen=True)
class Route:
    """How a route is called: `ids` leads to the victim's objects, which are not found.

    Where the names are `everybodys`, each tenant sees its own of what they name. `status` is what
    those who may are answered, `writes` the methods that do not only read. One that is only posted
    to has a body in `posted`, of its `content_type`. `also` is another scope that suffices. What is
    `nobodys` tells everybody the same, and nothing of anybody.
    """

    scope: Scope
    also: Scope | None = None
    ids: Callable[[Victim], dict[str, Any]] | None = None
    query: dict[str, str] = field(default_factory=dict)
    everybodys: bool = False
    nobodys: bool = False
    status: int = 200
    writes: frozenset[str] = frozenset()
    posted: dict[str, Any] | str | None = None
    content_type: str = JSON
    # What is written where `writes` are more than reads, and with which scope.
    written: dict[str, Any] = field(default_factory=dict)
    writing: Scope | None = None

    @property
    def method(self) -> str:
        return "get" if self.posted is None else "post"

    @property
    def foreign_status(self) -> int:
        return 404 if self.ids and not self.everybodys else self.status


def ids_of(**names: str) -> Callable[[Victim], dict[str, Any]]:
    """Return the victim's ids for a route's converters, by what they are of."""
    return lambda victim: {converter: victim.rows[row] for converter, row in names.items()}


def listed(**written: Any) -> Route:
    """A list of trips' things, to which one can be added."""
    return Route(
        Scope.TRIPS_READ, writes=frozenset({"post"}), written=written, writing=Scope.TRIPS_WRITE
    )


def single(converter: str, row: str, **written: Any) -> Route:
    """One of trips' things, which can be changed and deleted."""
    return Route(
        Scope.TRIPS_READ,
        ids=ids_of(**{converter: row}),
        writes=frozenset({"patch", "delete"}),
        written=written,
        writing=Scope.TRIPS_WRITE,
    )


WEBHOOK = ids_of(webhook_id="webhook")
DELIVERY = ids_of(webhook_id="webhook", delivery_id="delivery")


def config_key(victim: Victim) -> dict[str, Any]:
    return {"key": victim.config_key}


CONTEXT = {"context": {"targetingKey": "a-traveller"}}


TOMORROW = date.today() + timedelta(days=1)

# A new route must be added here, with ids of the victim's for each of its converters.
ROUTES: dict[str, Route] = {
    "api-enterprise": Route(Scope.ACCOUNT_READ),
    "api-key-list": Route(Scope.ACCOUNT_READ),
    "api-key": Route(Scope.ACCOUNT_READ, ids=lambda victim: {"key_id": victim.key.key.id}),
    "api-flight-search": Route(
        Scope.FLIGHTS_READ,
        query={"origin": "ORD", "destination": "DEN", "departure_date": TOMORROW.isoformat()},
    ),
    "api-flight-itineraries": Route(
        Scope.FLIGHTS_READ,
        query={"slices": f"ORD-DEN-{TOMORROW},DEN-ORD-{TOMORROW + timedelta(days=1)}"},
    ),
    "api-flight-calendar": Route(
        Scope.FLIGHTS_READ,
        query={"origin": "ORD", "destination": "DEN", "month": f"{TOMORROW:%Y-%m}"},
    ),
    "api-flight-layovers": Route(
        Scope.FLIGHTS_READ, query={"airport": "SLC", "date": TOMORROW.isoformat()}
    ),
    "api-popular-routes": Route(Scope.FLIGHTS_READ, nobodys=True),
    "api-flight-import": Route(
        Scope.FLIGHTS_WRITE, posted="{}\n", content_type="application/x-ndjson", status=202
    ),
    "api-flight-import-job": Route(
        Scope.FLIGHTS_WRITE, ids=lambda victim: {"import_id": victim.import_id}
    ),
    "api-layover-search": Route(
        Scope.LAYOVERS_READ,
        query={"origin": "ORD", "destination": "DEN", "departure_date": TOMORROW.isoformat()},
    ),
    "api-layover-analysis": Route(
        Scope.LAYOVERS_READ,
        query={
            "airport": "DEN",
            "arrival": f"{TOMORROW}T09:00",
            "departure": f"{TOMORROW}T18:00",
        },
        nobodys=True,
    ),
    "api-config-list": Route(Scope.CONFIGS_READ),
    "api-config": Route(
        Scope.CONFIGS_READ,
        ids=config_key,
        everybodys=True,
        writes=frozenset({"put", "delete"}),
        written={"value": "the attacker's"},
        writing=Scope.CONFIGS_WRITE,
    ),
    "api-config-explain": Route(Scope.CONFIGS_READ, ids=config_key, everybodys=True),
    "api-events-track": Route(
        Scope.EVENTS_WRITE, posted={"events": [{"event": "seen", "user": "ann"}]}, status=202
    ),
    # The stream process has the events: see tests/configs/test_stream.py.
    "api-events": Route(Scope.CONFIGS_READ, Scope.FLAGS_READ, status=404),
    "api-traveller-list": listed(reference="theirs", name="Mallory"),
    "api-traveller": single("traveller_id", "traveller", name="Mallory"),
    "api-saved-search-list": listed(name="theirs", query="origin=ORD"),
    "api-saved-search": single("search_id", "search", name="theirs"),
    "api-saved-search-results": Route(Scope.TRIPS_READ, ids=ids_of(search_id="search")),
    "api-trip-list": listed(),
    "api-trip": single("trip_id", "trip", status="cancelled"),
    "api-alert-list": listed(),
    "api-alert": single("alert_id", "alert", paused=True),
    "api-alert-events": Route(Scope.TRIPS_READ, ids=ids_of(alert_id="alert")),
    "api-webhook-list": Route(
        Scope.WEBHOOKS_READ,
        writes=frozenset({"post"}),
        written={"url": "https://example.com/", "events": ["trip.created"]},
        writing=Scope.WEBHOOKS_WRITE,
    ),
    "api-webhook": Route(
        Scope.WEBHOOKS_READ,
        ids=WEBHOOK,
        writes=frozenset({"patch", "delete"}),
        written={"url": "https://attacker.example.com/"},
        writing=Scope.WEBHOOKS_WRITE,
    ),
    "api-webhook-ping": Route(Scope.WEBHOOKS_WRITE, ids=WEBHOOK, posted={}, status=202),
    "api-webhook-secret": Route(Scope.WEBHOOKS_WRITE, ids=WEBHOOK, posted={}),
    "api-webhook-deliveries": Route(Scope.WEBHOOKS_READ, ids=WEBHOOK),
    "api-webhook-delivery": Route(Scope.WEBHOOKS_READ, ids=DELIVERY),
    "api-webhook-replay": Route(Scope.WEBHOOKS_WRITE, ids=DELIVERY, posted={}, status=202),
    "ofrep-flags": Route(Scope.FLAGS_READ, posted=CONTEXT),
    "ofrep-flag": Route(
        Scope.FLAGS_READ, ids=lambda victim: {"key": victim.flag}, everybodys=True, posted=CONTEXT
    ),
}


def patterns(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern, route)
        else:
            yield route, pattern


API = {
    pattern.name or route: pattern
    for route, pattern in patterns(get_resolver())
    if route.startswith(PREFIXES)
}


def plant_offer(enterprise: Enterprise) -> str:
    """Give the enterprise a private offer, where offers exist; return its id."""
    with roles.connect_as(roles.OPERATOR) as operator:
        row = operator.execute("select to_regclass('public.enterprise_flights')").fetchone()
        if row == (None,):
            return ""
        with roles.connect_as_superuser() as superuser:
            superuser.execute(
                "insert into airports (iata, name, city, subdivision, country, latitude,"
                " longitude, time_zone) values"
                " ('ORD', 'O''Hare', 'Chicago', 'IL', 'US', 41.98, -87.9, 'America/Chicago'),"
                " ('DEN', 'Denver', 'Denver', 'CO', 'US', 39.86, -104.67, 'America/Denver')"
                " on conflict do nothing"
            )
        row = operator.execute(
            """
            insert into enterprise_flights (
                enterprise_id, departure_day, departure_at, arrival_at, duration_minutes,
                departure_minute, layover_count, price_minor, expires_at, search_hash, provider,
                origin_airport, destination_airport, segments
            ) values (
                %(enterprise)s, %(day)s, %(day)s + time '15:00', %(day)s + time '17:00',
                120, 600, 0, 1, now() + interval '30 days', uuidv7(), 'victim-only', 'ORD', 'DEN',
                '[{"departs_at": "", "arrives_at": ""}]'
            ) returning id
            """,
            {"enterprise": enterprise.id, "day": TOMORROW},
        ).fetchone()
        assert row is not None
        # It has a layover where the search by place finds it, and a way back on the next day.
        operator.execute(
            """
            insert into flight_layovers (
                enterprise_id, departure_day, minutes, position, flight_id, airport,
                usable_minutes, daylight_minutes
            ) values (%(enterprise)s, %(day)s, 600, 1, %(offer)s, 'SLC', 300, 300)
            """,
            {"enterprise": enterprise.id, "day": TOMORROW, "offer": row[0]},
        )
        operator.execute(
            """
            insert into enterprise_flights (
                enterprise_id, departure_day, departure_at, arrival_at, duration_minutes,
                departure_minute, layover_count, price_minor, expires_at, search_hash, provider,
                origin_airport, destination_airport, segments
            ) values (
                %(enterprise)s, %(day)s, %(day)s + time '15:00', %(day)s + time '17:00',
                120, 600, 0, 1, now() + interval '30 days', uuidv7(), 'victim-only', 'DEN', 'ORD',
                '[{"departs_at": "", "arrives_at": ""}]'
            )
            """,
            {"enterprise": enterprise.id, "day": TOMORROW + timedelta(days=1)},
        )
        return str(row[0])


def plant_import(enterprise: Enterprise) -> str:
    """Give the enterprise an import of offers with a refused line; return its id."""
    with roles.connect_as(roles.OPERATOR) as operator:
        plant(operator, "offer_rejects", enterprise.id)
        row = operator.execute(
            "select import_id from offer_rejects where enterprise_id = %s", [enterprise.id]
        ).fetchone()
        assert row is not None
        return str(row[0])


def plant_trips(enterprise: Enterprise) -> dict[str, str]:
    """Give the enterprise a row behind each of these routes; return their ids."""
    now = timezone.now()
    with home_scope(enterprise.ref) as tenant:
        traveller = trips.add_traveller(tenant=tenant, reference="v", name="the victim's Ann")
        query = f"origin=ORD&destination=DEN&departure_date={TOMORROW}"
        search = trips.save_search(
            tenant=tenant, name="the victim's", query=query, traveller_id=traveller.pk, now=now
        )
        alert = trips.add_alert(
            tenant=tenant, saved_search_id=search.pk, threshold_minor=1, now=now
        )
        event = AlertEvent.objects.create(
            enterprise_id=tenant.id, alert=alert, event="alert.price", occurred_at=now
        )
        offers = EnterpriseFlight.objects.filter(origin_airport="ORD")
        (offer_id,) = offers.values_list("pk", flat=True)
        trip = trips.plan_trip(
            tenant=tenant,
            traveller_id=traveller.pk,
            offer={
                "id": str(offer_id),
                "origin": "ORD",
                "destination": "DEN",
                "departs_at": f"{TOMORROW}T10:00-06:00",
                "arrives_at": f"{TOMORROW}T11:00-07:00",
                "price_minor": 1,
                "price_currency": "USD",
                "layovers": [],
            },
            now=now,
        )
        made = webhooks.add_endpoint(
            tenant=tenant, url="https://victim.example.com/", events=["trip.created"]
        )
        (delivery,) = webhooks.notify(tenant=tenant, event="trip.created", data={}, now=now)
        # Not for a worker to send, and free to be replayed.
        WebhookDelivery.objects.update(status="dead", finished_at=now)
    return {
        "traveller": str(traveller.pk),
        "search": str(search.pk),
        "alert": str(alert.pk),
        "event": str(event.pk),
        "trip": str(trip.pk),
        "webhook": str(made.endpoint.pk),
        "delivery": str(delivery.pk),
    }


@pytest.fixture(scope="module")
def victim() -> Victim:
    enterprise = factories.make_enterprise(name=factories.unique("Victim Travel"))
    key = factories.make_key(enterprise, name=factories.unique("victims-key"))
    config, words = declare("string"), factories.unique("victims-words")
    publish((config, words, enterprise))
    flag = plant_flag(
        value_type="string",
        variants=[{"key": "on", "value": "for everybody"}, {"key": "own", "value": words}],
        tenant_overrides={str(enterprise.id): "own"},
    )
    offer_id = plant_offer(enterprise)
    return Victim(
        enterprise,
        key,
        offer_id,
        config.key,
        flag,
        words,
        plant_import(enterprise),
        plant_trips(enterprise),
    )


@pytest.fixture(scope="module")
def attacker() -> Client:
    return factories.make_client(factories.make_enterprise())


def address(name: str, victim: Victim) -> str:
    ids = ROUTES[name].ids
    return reverse(name, kwargs=ids(victim) if ids else {})


def call(client: Client, name: str, victim: Victim, **extra: Any) -> Any:
    """Ask a route as it is meant to be asked."""
    route = ROUTES[name]
    if route.posted is None:
        return client.get(address(name, victim), route.query, **extra)
    return client.post(
        address(name, victim), route.posted, content_type=route.content_type, **extra
    )


def assert_problem(response: Any, status: int, code: str, victim: Victim) -> None:
    assert response.status_code == status
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    body = response.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert_no_trace(response, victim)


def assert_refused(name: str, response: Any, status: int, code: str, victim: Victim) -> None:
    if not name.startswith("ofrep"):
        assert_problem(response, status, code, victim)
        return
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["errorCode"] == "GENERAL"
    assert_no_trace(response, victim)


def assert_no_trace(response: Any, victim: Victim) -> None:
    text = response.content.decode()
    assert not [trace for trace in victim.traces if trace in text]


def test_routes__all__have_an_entry_here():
    assert set(API) <= set(ROUTES), "add the new route, and how it is called, to ROUTES"


@pytest.mark.parametrize("name", sorted(API))
def test_route__with_ids__has_an_id_of_the_victim_for_each(name, victim):
    ids = ROUTES[name].ids
    given = set(ids(victim)) if ids else set()
    assert given == set(API[name].pattern.converters)


@pytest.mark.parametrize("name", sorted(API))
def test_route__another_tenants_key__finds_nothing_of_the_victims(name, attacker, victim):
    response = call(attacker, name, victim)
    if ROUTES[name].ids and not ROUTES[name].everybodys:
        assert_problem(response, 404, "not_found", victim)
    else:
        assert response.status_code == ROUTES[name].status
        if response.status_code == 200:
            assert response.headers["Content-Type"] == "application/json"
        assert_no_trace(response, victim)


@pytest.mark.parametrize("name", sorted(API))
def test_route__the_victims_own_key__finds_it(name, victim):
    # The mirror of the test above: without it, that one might ask for what nobody finds.
    factories.await_key(victim.key.token)
    client = factories.client_with(victim.key.token)
    response = call(client, name, victim)
    assert response.status_code == ROUTES[name].status
    if response.status_code == 200 and not ROUTES[name].nobodys:
        assert any(trace in response.content.decode() for trace in victim.traces)


@pytest.mark.parametrize("name", sorted(API))
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic YTpi",
        "bearer \u00e9",
        "Bearer " + "x" * 5000,
    ],
)
def test_route__without_a_usable_key__is_401(name, header, victim):
    client = Client(headers={"Authorization": header} if header is not None else {})
    response = call(client, name, victim)
    assert_refused(name, response, 401, "not_authenticated", victim)
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("name", sorted(API))
def test_route__key_without_its_scope__is_403(name, victim):
    others = [scope for scope in Scope if scope not in (ROUTES[name].scope, ROUTES[name].also)]
    client = factories.make_client(factories.make_enterprise(), others)
    response = call(client, name, victim)
    assert_refused(name, response, 403, "scope_missing", victim)
    assert ROUTES[name].scope in response.content.decode()


@pytest.mark.parametrize("name", sorted(API))
def test_route__context_in_the_callers_headers__is_not_believed(name, attacker, victim):
    response = call(
        attacker,
        name,
        victim,
        headers={
            "X-Enterprise-Id": str(victim.enterprise.id),
            "X-Tenant": victim.enterprise.slug,
            "X-Forwarded-Host": f"{victim.enterprise.slug}.localhost",
        },
    )
    assert response.status_code == ROUTES[name].foreign_status
    assert_no_trace(response, victim)


@pytest.mark.parametrize("name", sorted(API))
def test_route__at_a_host_that_is_not_the_platforms__is_not_served(name, attacker, victim):
    response = call(attacker, name, victim, headers={"Host": f"{victim.enterprise.slug}.localhost"})
    assert_problem(response, 400, "bad_request", victim)


READING = [
    (name, method)
    for name in sorted(API)
    for method in ("get", "post", "put", "patch", "delete")
    if method not in ROUTES[name].writes | {ROUTES[name].method}
]
WRITING = [(name, method) for name in sorted(API) for method in sorted(ROUTES[name].writes)]


@pytest.mark.parametrize(("name", "method"), READING)
def test_route__method_that_it_does_not_have__is_405(name, method, attacker, victim):
    response = getattr(attacker, method)(address(name, victim), content_type="application/json")
    assert_refused(name, response, 405, "method_not_allowed", victim)
    assert ROUTES[name].method.upper() in response.headers["Allow"]
    assert "{" not in response.json().get("title", "")


@pytest.mark.parametrize(("name", "method"), WRITING)
def test_route__written_with_another_tenants_key__changes_nothing_of_the_victims(
    name, method, attacker, victim
):
    path = address(name, victim)
    factories.await_key(victim.key.token)
    mine = factories.client_with(victim.key.token)
    before = mine.get(path).json()
    # With the version that the victim has, and with that of nothing.
    held = before.get("override", before)
    for version in (held.get("version", 1), 0):
        versioned = {} if method == "post" else {"version": version}
        response = getattr(attacker, method)(
            f"{path}?version={version}" if method == "delete" else path,
            {**ROUTES[name].written, **versioned},
            content_type="application/json",
        )
        assert_no_trace(response, victim)
        assert mine.get(path).json() == before


@pytest.mark.parametrize(("name", "method"), WRITING)
def test_route__written_with_a_key_that_reads__is_403(name, method, victim):
    needed = ROUTES[name].writing
    assert needed is not None
    others = [scope for scope in Scope if scope != needed]
    client = factories.make_client(factories.make_enterprise(), others)
    response = getattr(client, method)(address(name, victim), content_type="application/json")
    assert_problem(response, 403, "scope_missing", victim)
    assert needed in response.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/", "/api/v1/nowhere", "/api/v1/api-keys/1", "/api/v1/api-keys/%00", "/api/v1/%ff"],
)
def test_path__that_leads_nowhere__is_404_as_a_problem(path, attacker, victim):
    assert_problem(attacker.get(path), 404, "not_found", victim)
