"""Every change to travellers, saved searches, trips and alerts: in the enterprise's home_scope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections

from apps.trips.models import AlertEvent, PriceAlert, SavedSearch, Traveller, Trip
from apps.trips.searches import canonical_layovers, canonical_query, narrowed, parse
from apps.webhooks.models import Event
from apps.webhooks.operations import notify
from layoverhq import versions
from layoverhq.errors import Conflict, FieldError, InvalidInput
from layoverhq.tenancy import TenantRef, atomic, current_alias

M = TypeVar("M", Traveller, SavedSearch, Trip, PriceAlert)

MAXIMUM_ALERTS = 20
NEWS_KEPT = timedelta(days=180)
UNSET: Any = object()

# What may follow: a trip that was travelled or cancelled stays so.
FOLLOWING = {
    Trip.Status.PLANNED: (Trip.Status.BOOKED, Trip.Status.CANCELLED),
    Trip.Status.BOOKED: (Trip.Status.TRAVELLED, Trip.Status.CANCELLED),
    Trip.Status.TRAVELLED: (),
    Trip.Status.CANCELLED: (),
}


class TooManyAlerts(Conflict):
    """The saved search has as many alerts as it may."""

    code = "too_many_alerts"


class WrongState(Conflict):
    """It is not in a state for this."""

    code = "wrong_state"


def add_traveller(*, tenant: TenantRef, reference: str, name: str) -> Traveller:
    """Add a traveller; raises InvalidInput for a reference that stands already."""
    with atomic():
        if Traveller.objects.filter(enterprise_id=tenant.id, reference=reference).exists():
            raise InvalidInput.of("reference", "A traveller has it already.", code="conflict")
        return versions.added(Traveller(enterprise_id=tenant.id, reference=reference, name=name))


def reveal_traveller(*, traveller: Traveller, schema: str) -> tuple[str, str]:
    """Return a traveller's reference and name, and note in the audit trail who read them and why.

    With the operator's role; `schema` is the own schema that holds the row, if one does.
    """
    table = f"{schema}.travellers" if schema else "travellers"
    with atomic(), connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select audit_reading(%s, %s, %s)",
            [table, str(traveller.pk), traveller.enterprise_id],
        )
    return traveller.reference, traveller.name


def change_traveller(
    *,
    tenant: TenantRef,
    traveller: Traveller,
    version: int,
    reference: str | None = None,
    name: str | None = None,
) -> Traveller:
    """Change what is given. Raises StaleVersion and InvalidInput."""
    with atomic():
        locked = versions.locked(traveller, version)
        if reference is not None:
            others = Traveller.objects.filter(enterprise_id=tenant.id, reference=reference)
            if others.exclude(pk=locked.pk).exists():
                raise InvalidInput.of("reference", "A traveller has it already.", code="conflict")
            locked.reference = reference
        if name is not None:
            locked.name = name
        return versions.saved(locked)


def remove(*, thing: M, version: int) -> None:
    """Delete it with what hangs on it: a traveller's trips and searches, a search's alerts.

    Raises StaleVersion.
    """
    with atomic():
        versions.locked(thing, version).delete()


def save_search(
    *,
    tenant: TenantRef,
    name: str,
    query: str,
    traveller_id: UUID | None = None,
    now: datetime,
) -> SavedSearch:
    """Keep a search. Raises InvalidInput."""
    text = canonical_query(query, now=now)
    with atomic():
        _require_traveller(tenant, traveller_id)
        return versions.added(
            SavedSearch(enterprise_id=tenant.id, name=name, query=text, traveller_id=traveller_id)
        )


def change_search(
    *,
    tenant: TenantRef,
    search: SavedSearch,
    version: int,
    name: str | None = None,
    query: str | None = None,
    traveller_id: UUID | None = UNSET,
    now: datetime,
) -> SavedSearch:
    """Change what is given; with another query its alerts begin anew.

    Raises StaleVersion and InvalidInput.
    """
    with atomic():
        locked = versions.locked(search, version)
        if name is not None:
            locked.name = name
        if traveller_id is not UNSET:
            _require_traveller(tenant, traveller_id)
            locked.traveller_id = traveller_id
        if query is not None and (text := canonical_query(query, now=now)) != locked.query:
            locked.query = text
            for alert in PriceAlert.objects.select_for_update().filter(
                enterprise_id=tenant.id, saved_search=locked
            ):
                _require_fitting(alert, text, now)
                _begin(alert, now)
                versions.saved(alert)
        return versions.saved(locked)


def plan_trip(
    *, tenant: TenantRef, traveller_id: UUID, offer: Mapping[str, Any], now: datetime
) -> Trip:
    """Keep an offer as it is now for a traveller, and tell of it. Raises InvalidInput."""
    with atomic():
        _require_traveller(tenant, traveller_id)
        trip = versions.added(
            Trip(
                enterprise_id=tenant.id,
                traveller_id=traveller_id,
                offer_id=offer["id"],
                offer=offer,
                origin=offer["origin"],
                destination=offer["destination"],
                departure_at=datetime.fromisoformat(offer["departs_at"]),
                arrival_at=datetime.fromisoformat(offer["arrives_at"]),
                price_minor=offer["price_minor"],
                price_currency=offer["price_currency"],
                layovers=offer["layovers"],
            )
        )
        _tell_of_trip(tenant, trip, Event.TRIP_CREATED, now)
        return trip


def change_trip(*, tenant: TenantRef, trip: Trip, version: int, status: str, now: datetime) -> Trip:
    """Take a trip on: booked, travelled or cancelled. Raises StaleVersion and InvalidInput."""
    with atomic():
        locked = versions.locked(trip, version)
        if status == locked.status:
            return locked
        following = FOLLOWING[Trip.Status(locked.status)]
        if status not in following:
            can = f"can be {' or '.join(following)}" if following else "stays so"
            raise InvalidInput.of("status", f"A trip that is {locked.status} {can}.")
        locked.status = status
        saved = versions.saved(locked)
        _tell_of_trip(tenant, saved, Event.TRIP_CHANGED, now)
        return saved


def add_alert(
    *,
    tenant: TenantRef,
    saved_search_id: UUID,
    threshold_minor: int | None = None,
    layovers: str | None = None,
    now: datetime,
) -> PriceAlert:
    """Watch a saved search. Raises InvalidInput and TooManyAlerts."""
    with atomic():
        search = (
            SavedSearch.objects.select_for_update()
            .filter(enterprise_id=tenant.id, pk=saved_search_id)
            .first()
        )
        if search is None:
            detail = "There is no such saved search."
            raise InvalidInput.of("saved_search_id", detail, code="unknown")
        alerts = PriceAlert.objects.filter(enterprise_id=tenant.id, saved_search=search)
        if alerts.count() >= MAXIMUM_ALERTS:
            raise TooManyAlerts(f"At most {MAXIMUM_ALERTS} alerts of one saved search.")
        _require_runnable(search, now)
        alert = PriceAlert(enterprise_id=tenant.id, saved_search=search)
        _set_criteria(alert, search, threshold_minor, layovers, now)
        _begin(alert, now)
        return versions.added(alert)


def change_alert(
    *,
    tenant: TenantRef,
    alert: PriceAlert,
    version: int,
    threshold_minor: int | None = UNSET,
    layovers: str | None = UNSET,
    paused: bool | None = None,
    now: datetime,
) -> PriceAlert:
    """Change what is watched for, pause it, or go on; what was told counts no more then.

    Raises StaleVersion, InvalidInput and WrongState.
    """
    with atomic():
        locked = versions.locked(alert, version)
        if locked.state == PriceAlert.State.ENDED:
            raise WrongState("The alert has ended: change its saved search first.")
        if threshold_minor is not UNSET or layovers is not UNSET:
            search = SavedSearch.objects.get(enterprise_id=tenant.id, pk=locked.saved_search_id)
            _set_criteria(
                locked,
                search,
                locked.threshold_minor if threshold_minor is UNSET else threshold_minor,
                locked.layovers if layovers is UNSET else layovers,
                now,
            )
            _begin(locked, now)
        if paused is not None:
            if paused:
                locked.state = PriceAlert.State.PAUSED
            elif locked.state == PriceAlert.State.PAUSED:
                locked.state = PriceAlert.State.WATCHING
                _begin(locked, now)
        return versions.saved(locked)


def purge_alert_events(*, now: datetime) -> int:
    """Delete news of 180 days ago from the schema that the search path leads to."""
    with atomic():
        deleted, _ = AlertEvent.objects.filter(occurred_at__lt=now - NEWS_KEPT).delete()
        return deleted


def _require_runnable(search: SavedSearch, now: datetime) -> None:
    try:
        parse(search.query, now=now)
    except InvalidInput as error:
        detail = f"It cannot be run any more: {error.detail}"
        raise InvalidInput.of("saved_search_id", detail, code=error.errors[0].code) from error


def _require_fitting(alert: PriceAlert, query: str, now: datetime) -> None:
    try:
        parse(narrowed(query, alert.layovers), now=now)
    except InvalidInput as error:
        detail = f"Its alert {alert.pk} does not fit: {error.detail}"
        raise InvalidInput.of("query", detail, code=error.errors[0].code) from error


def _set_criteria(
    alert: PriceAlert,
    search: SavedSearch,
    threshold_minor: int | None,
    layovers: str | None,
    now: datetime,
) -> None:
    if threshold_minor is None and not layovers:
        detail = "Give a threshold, or layovers to look for, or both."
        raise InvalidInput(
            [
                FieldError("threshold_minor", "required", detail),
                FieldError("layovers", "required", detail),
            ]
        )
    alert.threshold_minor = threshold_minor
    alert.layovers = canonical_layovers(search.query, layovers, now=now) if layovers else ""


def _begin(alert: PriceAlert, now: datetime) -> None:
    """Watch anew, with nothing told and a check at once; what is paused stays so."""
    if alert.state != PriceAlert.State.PAUSED:
        alert.state = PriceAlert.State.WATCHING
    alert.best_price_minor, alert.best_offer, alert.told_price_minor = None, None, None
    alert.seen, alert.problem = [], ""
    alert.next_check_at = now


def _tell_of_trip(tenant: TenantRef, trip: Trip, event: str, now: datetime) -> None:
    notify(
        tenant=tenant,
        event=event,
        data={
            "trip_id": trip.pk,
            "traveller_id": trip.traveller_id,
            "status": trip.status,
            "offer_id": trip.offer_id,
            "origin": trip.origin,
            "destination": trip.destination,
            "price_minor": trip.price_minor,
            "price_currency": trip.price_currency,
        },
        now=now,
    )


def _require_traveller(tenant: TenantRef, traveller_id: UUID | None) -> None:
    if traveller_id is None:
        return
    if not Traveller.objects.filter(enterprise_id=tenant.id, pk=traveller_id).exists():
        raise InvalidInput.of("traveller_id", "There is no such traveller.", code="unknown")
