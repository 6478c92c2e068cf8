"""How each provider is asked for a journey, and where its answer keeps the offers.

Written after their documentation: Amadeus Self-Service Flight Offers Search v2, Duffel v2 offer
requests, Kiwi Tequila v2 search. How one offer reads is apps/flights/offers/providers.py's.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Final

from apps.flights.offers.normalised import NormalisedOffer, Refused
from apps.flights.offers.providers import read_provider_offer
from layoverhq.remote import RemoteClient, RemoteFault

EXCERPT: Final = 500
# What Amadeus and Kiwi give at most, or are asked for.
MOST_OFFERS: Final = 250
# A token is renewed this long before it ends.
TOKEN_MARGIN: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Journey:
    """What a provider is asked for: a route, on a day of the origin's calendar."""

    origin: str
    destination: str
    day: date


@dataclass(frozen=True, slots=True)
class Rejected:
    """An offer that cannot be used, why, and how it begins."""

    position: int
    refusal: Refused
    excerpt: str


@dataclass(frozen=True, slots=True)
class ProviderAdapter(ABC):
    """One provider: `search` asks it, `offers` reads what it answered.

    `name` is what its offers are known by, `market` a country or empty, `currency` what prices are
    asked in.
    """

    name: str
    client: RemoteClient
    credentials: tuple[str, ...]
    market: str
    currency: str
    clock: Callable[[], datetime]

    kind: ClassVar[str]

    @abstractmethod
    def search(self, journey: Journey) -> Any:
        """Return the provider's answer as it is. Raises RemoteFault."""

    @abstractmethod
    def listed(self, raw: Any) -> list[Any]:
        """Return the offers of an answer, whatever raised where it has another shape."""

    def offers(
        self, raw: Any, journey: Journey, zones: Mapping[str, str]
    ) -> Iterator[NormalisedOffer | Rejected]:
        """Yield each offer of an answer, or why it cannot be used.

        Raises RemoteFault where the answer is none. An offer of another route or day is refused:
        what stands of a route and day is what its own answer said.
        """
        try:
            listed = self.listed(raw)
        except (LookupError, TypeError, AttributeError) as error:
            detail = f"This is no answer as {self.kind} documents it: {error!r:.200}"
            raise RemoteFault("unexpected_shape", detail) from error
        now = self.clock()
        for position, given in enumerate(listed):
            try:
                offer = read_provider_offer(
                    self.kind, given, zones=zones, now=now, provider=self.name
                )
                check_journey(offer, journey)
            except Refused as refusal:
                yield Rejected(position, refusal, excerpt(given))
            else:
                yield offer


def check_journey(offer: NormalisedOffer, asked: Journey) -> None:
    """Raise Refused, another_journey, unless the offer is for what was asked."""
    got = Journey(offer.segments[0].origin, offer.segments[-1].destination, offer.departure_day)
    if got != asked:
        detail = f"It goes from {got.origin} to {got.destination} on {got.day}."
        raise Refused("another_journey", "segments", detail)


def excerpt(given: Any) -> str:
    """Return how an offer begins, in ASCII: what a database may not keep is escaped in JSON."""
    return json.dumps(given)[:EXCERPT]


def _list(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise TypeError("the offers are no list")
    return given


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    expires_at: datetime


# By address and credentials: a process asks for a token twice an hour, however much it pulls. Two
# threads may both ask for one, which does no harm; a lock would make one wait for the other.
_tokens: dict[tuple[str, ...], _Token] = {}


class Amadeus(ProviderAdapter):
    """OAuth 2 client credentials; at most 250 offers of a search."""

    kind = "amadeus"

    def search(self, journey: Journey) -> Any:
        token = self._token()
        try:
            return self._search(journey, token)
        except RemoteFault as fault:
            if fault.code != "unauthorised":
                raise
        # It ended before its time: one more, and no third.
        self._forget_token()
        return self._search(journey, self._token())

    def listed(self, raw: Any) -> list[Any]:
        return _list(raw["data"])

    def _search(self, journey: Journey, token: str) -> Any:
        self.client.secrets.add(token)
        return self.client.ask(
            "GET",
            "/v2/shopping/flight-offers",
            params={
                "originLocationCode": journey.origin,
                "destinationLocationCode": journey.destination,
                "departureDate": journey.day.isoformat(),
                "adults": 1,
                "currencyCode": self.currency,
                "max": MOST_OFFERS,
            },
            headers={"Authorization": f"Bearer {token}"},
        )

    def _token(self) -> str:
        client_id, client_secret = self.credentials
        known = _tokens.get(self._token_key)
        now = self.clock()
        if known is not None and now < known.expires_at:
            return known.value
        answer = self.client.ask(
            "POST",
            "/v1/security/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": client_secret,
            },
        )
        try:
            value = answer["access_token"]
            expires_at = now + timedelta(seconds=answer["expires_in"]) - TOKEN_MARGIN
        except (LookupError, TypeError, OverflowError) as error:
            detail = "Its answer to the credentials has no token."
            raise RemoteFault("unexpected_shape", detail) from error
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise RemoteFault("unexpected_shape", "Its token cannot stand in a header.")
        _tokens[self._token_key] = _Token(value, expires_at)
        return value

    @property
    def _token_key(self) -> tuple[str, ...]:
        return (self.client.base_url, *self.credentials)

    def _forget_token(self) -> None:
        _tokens.pop(self._token_key, None)


class Duffel(ProviderAdapter):
    """A bearer token, and the version of the API in a header; prices are in the account's currency.

    An offer request makes nothing that has to be undone, so that it may be repeated.
    """

    kind = "duffel"

    def search(self, journey: Journey) -> Any:
        (token,) = self.credentials
        return self.client.ask(
            "POST",
            "/air/offer_requests",
            params={"return_offers": "true"},
            headers={"Authorization": f"Bearer {token}", "Duffel-Version": "v2"},
            json={
                "data": {
                    "slices": [
                        {
                            "origin": journey.origin,
                            "destination": journey.destination,
                            "departure_date": journey.day.isoformat(),
                        }
                    ],
                    "passengers": [{"type": "adult"}],
                }
            },
        )

    def listed(self, raw: Any) -> list[Any]:
        return _list(raw["data"]["offers"])


class Kiwi(ProviderAdapter):
    """A key in the header `apikey`; the currency stands once in the answer, for all offers."""

    kind = "kiwi"

    def search(self, journey: Journey) -> Any:
        (key,) = self.credentials
        day = journey.day.strftime("%d/%m/%Y")
        return self.client.ask(
            "GET",
            "/v2/search",
            params={
                "fly_from": journey.origin,
                "fly_to": journey.destination,
                "date_from": day,
                "date_to": day,
                "flight_type": "oneway",
                "vehicle_type": "aircraft",
                "adults": 1,
                "curr": self.currency,
                "limit": MOST_OFFERS,
                **({"partner_market": self.market.lower()} if self.market else {}),
            },
            headers={"apikey": key},
        )

    def listed(self, raw: Any) -> list[Any]:
        currency = raw["currency"]
        return [
            {"currency": currency, **offer} if isinstance(offer, dict) else offer
            for offer in _list(raw["data"])
        ]


ADAPTERS: Final[Mapping[str, type[ProviderAdapter]]] = {
    adapter.kind: adapter for adapter in (Amadeus, Duffel, Kiwi)
}
