"""Journeys of several slices: the best combinations of their offers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from apps.configs.runtime import configs
from apps.flights.combining import Choice, Slice, best_combinations
from apps.flights.itinerary_grammar import ItinerarySearch
from apps.flights.queries import asked_record
from layoverhq.tenancy import Fetch, TenantRef, snapshot_scope

# Between an arrival and the next slice's departure.
WAIT_MINUTES: Final = 60
# So many offers of a slice can be read.
MOST_OFFERS: Final = 2_000

SLICE_OFFERS = """
    select * from slice_offers(jsonb_populate_record(null::flight_search, %(asked)s::jsonb))
"""
OFFERS_BY_ID = """
    select id, body
    from offers_by_id(
        jsonb_populate_record(null::flight_search, %(asked)s::jsonb), %(ids)s::uuid[]
    )
"""


def search_itineraries(tenant: TenantRef, search: ItinerarySearch) -> bytes:
    """Return the answer's body as JSON, `{"results": […], "next": …, "truncated": …}`.

    All of it is read from one snapshot. `truncated`: there may be more than can be told. Raises
    QueryTimeout.
    """
    timeout = configs.get("flight.search_timeout", tenant)
    with snapshot_scope(tenant, timeout_seconds=timeout) as fetch:
        asked = [asked_record(tenant, each) for each in search.slices]
        combined = best_combinations(
            [offer_list(fetch, each) for each in asked],
            wait=WAIT_MINUTES,
            count=search.limit + 1,
            after=search.after,
        )
        page = combined.combinations[: search.limit]
        offers = [
            offers_by_id(fetch, record, {combination.ids[place] for combination in page})
            for place, record in enumerate(asked)
        ]
    results = [
        told([offers[place][offer] for place, offer in enumerate(combination.ids)])
        for combination in page
    ]
    more = len(combined.combinations) > search.limit
    answer = {
        "results": results,
        "next": search.cursor(page[-1]) if more else None,
        "truncated": not more and not combined.is_whole,
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def told(offers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an itinerary of these offers."""
    return {
        "price_minor": sum(offer["price_minor"] for offer in offers),
        "price_currency": offers[0]["price_currency"],
        "duration_minutes": sum(offer["duration_minutes"] for offer in offers),
        "slices": offers,
    }


def offer_list(fetch: Fetch, record: Mapping[str, Any]) -> Slice:
    """Return a slice's offers as a list that is read page by page."""

    def read(after: Choice | None, count: int) -> list[Choice]:
        asked = {**record, "page_size": count}
        if after:
            asked |= {"after_key": after.key, "after_id": str(after.id)}
        rows = fetch(SLICE_OFFERS, {"asked": json.dumps(asked)})
        return [Choice(*row) for row in rows]

    return Slice(read, limit=MOST_OFFERS)


def offers_by_id(
    fetch: Fetch, record: Mapping[str, Any], ids: Iterable[UUID]
) -> dict[UUID, dict[str, Any]]:
    """Return a slice's offers as answers hold them."""
    wanted = sorted(ids)
    if not wanted:
        return {}
    rows = fetch(OFFERS_BY_ID, {"asked": json.dumps(record), "ids": wanted})
    return {offer: json.loads(body) for offer, body in rows}
