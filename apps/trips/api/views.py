"""Travellers, saved searches, trips and alerts of the calling enterprise, in its home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db.models import Model
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.flags.context import request_context
from apps.flights.queries import search_flights
from apps.tenants.api.authentication import principal_of
from apps.tenants.homes import home_scope
from apps.tenants.models import Scope
from apps.trips import operations, searches
from apps.trips.api import serializers
from apps.trips.models import AlertEvent, PriceAlert, SavedSearch, Traveller, Trip
from apps.trips.queries import current_offer
from layoverhq import context
from layoverhq.answers import answered, current
from layoverhq.errors import InvalidInput
from layoverhq.members import (
    VERSION,
    Body,
    boolean,
    identifier,
    integer,
    nullable,
    one_of,
    text,
)
from layoverhq.openapi import IF_NONE_MATCH, JSON, NOT_MODIFIED, REMOVES, problem_responses
from layoverhq.paging import (
    PAGE_PARAMETERS,
    VERSION_PARAMETER,
    Page,
    query_of,
    version_of,
)
from layoverhq.parsers import StrictJSONParser
from layoverhq.tenancy import TenantRef

READS = problem_responses(400, 401, 403, 503)
READS_ONE = problem_responses(400, 401, 403, 404, 503)
ADDS = problem_responses(400, 401, 403, 409, 415, 503)
CHANGES = problem_responses(400, 401, 403, 404, 409, 415, 503)
# The search's own answer, by its name in the document.
SEARCH_RESULTS = {"$ref": "#/components/schemas/FlightSearchResponse"}
ID_SCHEMA = {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36}

reference_text, name_text = text(100), text(200)
query_text = text(searches.LONGEST_QUERY)
price = integer(0, serializers.LARGEST_PRICE)

NEW_TRAVELLER = Body({"reference": reference_text, "name": name_text}, ("reference", "name"))
CHANGED_TRAVELLER = Body(
    {"version": VERSION, "reference": reference_text, "name": name_text}, ("version",)
)
NEW_SEARCH = Body(
    {"name": name_text, "query": query_text, "traveller_id": nullable(identifier)},
    ("name", "query"),
)
CHANGED_SEARCH = Body({"version": VERSION, **NEW_SEARCH.readers}, ("version",))
NEW_TRIP = Body({"traveller_id": identifier, "offer_id": identifier}, ("traveller_id", "offer_id"))
CHANGED_TRIP = Body(
    {"version": VERSION, "status": one_of(Trip.Status.values)}, ("version", "status")
)
NEW_ALERT = Body(
    {
        "saved_search_id": identifier,
        "threshold_minor": nullable(price),
        "layovers": nullable(query_text),
    },
    ("saved_search_id",),
)
CHANGED_ALERT = Body(
    {
        "version": VERSION,
        "threshold_minor": nullable(price),
        "layovers": nullable(query_text),
        "paused": boolean,
    },
    ("version",),
)


def _filter(name: str, description: str, schema: dict[str, Any] | None = None) -> OpenApiParameter:
    return OpenApiParameter(name, type=schema or ID_SCHEMA, description=description)


class TripsView(APIView):
    """Of what a key may read or write with the scopes of trips."""

    parser_classes = (StrictJSONParser,)

    @property
    def required_scope(self) -> Scope:
        reads = self.request.method in SAFE_METHODS
        return Scope.TRIPS_READ if reads else Scope.TRIPS_WRITE


@contextmanager
def _home(request: Request) -> Iterator[TenantRef]:
    """Run the block where the caller's rows are, with the key for the audit trail."""
    principal = principal_of(request)
    with context.bind(reason=principal.key_label), home_scope(principal.tenant) as tenant:
        yield tenant


def _listed(request: Request, model: type[Model], serializer: Any, readers: Any) -> HttpResponse:
    page = Page.of(request, readers)
    with _home(request) as tenant:
        rows = model._default_manager.filter(enterprise_id=tenant.id, **page.filters)
        document = page.document(rows, serializer)
    return current(request, document)


def _shown(request: Request, model: type[Model], serializer: Any, pk: UUID) -> HttpResponse:
    query_of(request)
    with _home(request) as tenant:
        document = serializer(get_object_or_404(model, enterprise_id=tenant.id, pk=pk)).data
    return current(request, document)


def _removed(request: Request, model: type[Any], pk: UUID) -> HttpResponseBase:
    version = version_of(request)
    with _home(request) as tenant:
        thing = get_object_or_404(model, enterprise_id=tenant.id, pk=pk)
        operations.remove(thing=thing, version=version)
    return Response(status=204)


class TravellerListView(TripsView):
    @extend_schema(
        operation_id="travellers",
        summary="Your travellers, newest first",
        parameters=[
            *PAGE_PARAMETERS,
            _filter(
                "reference",
                "Only the one of this reference.",
                {"type": "string", "minLength": 1, "maxLength": 100},
            ),
            IF_NONE_MATCH,
        ],
        responses={(200, JSON): serializers.TravellerPageSerializer, **NOT_MODIFIED, **READS},
    )
    def get(self, request: Request) -> HttpResponseBase:
        readers = {"reference": reference_text}
        return _listed(request, Traveller, serializers.TravellerSerializer, readers)

    @extend_schema(
        operation_id="add_traveller",
        summary="Add a traveller",
        request={JSON: serializers.TravellerRequestSerializer},
        responses={(201, JSON): serializers.TravellerSerializer, **ADDS},
    )
    def post(self, request: Request) -> HttpResponseBase:
        query_of(request)
        given = NEW_TRAVELLER.read(request.data)
        with _home(request) as tenant:
            added = operations.add_traveller(tenant=tenant, **given)
        return answered(serializers.TravellerSerializer(added).data, status=201)


class TravellerView(TripsView):
    @extend_schema(
        operation_id="traveller",
        summary="One traveller",
        parameters=[IF_NONE_MATCH],
        responses={(200, JSON): serializers.TravellerSerializer, **NOT_MODIFIED, **READS_ONE},
    )
    def get(self, request: Request, traveller_id: UUID) -> HttpResponseBase:
        return _shown(request, Traveller, serializers.TravellerSerializer, traveller_id)

    @extend_schema(
        operation_id="change_traveller",
        summary="Change a traveller",
        request={JSON: serializers.TravellerPatchSerializer},
        responses={(200, JSON): serializers.TravellerSerializer, **CHANGES},
    )
    def patch(self, request: Request, traveller_id: UUID) -> HttpResponseBase:
        query_of(request)
        given = CHANGED_TRAVELLER.read(request.data)
        with _home(request) as tenant:
            changed = operations.change_traveller(
                tenant=tenant,
                traveller=get_object_or_404(Traveller, enterprise_id=tenant.id, pk=traveller_id),
                **given,
            )
        return answered(serializers.TravellerSerializer(changed).data)

    @extend_schema(
        operation_id="remove_traveller",
        summary="Delete a traveller, with trips, saved searches and alerts",
        parameters=[VERSION_PARAMETER],
        responses=REMOVES,
    )
    def delete(self, request: Request, traveller_id: UUID) -> HttpResponseBase:
        return _removed(request, Traveller, traveller_id)


class SavedSearchListView(TripsView):
    @extend_schema(
        operation_id="saved_searches",
        summary="Your saved searches, newest first",
        parameters=[
            *PAGE_PARAMETERS,
            _filter("traveller_id", "Only this traveller's."),
            IF_NONE_MATCH,
        ],
        responses={(200, JSON): serializers.SavedSearchPageSerializer, **NOT_MODIFIED, **READS},
    )
    def get(self, request: Request) -> HttpResponseBase:
        readers = {"traveller_id": identifier}
        return _listed(request, SavedSearch, serializers.SavedSearchSerializer, readers)

    @extend_schema(
        operation_id="save_search",
        summary="Save a search",
        request={JSON: serializers.SavedSearchRequestSerializer},
        responses={(201, JSON): serializers.SavedSearchSerializer, **ADDS},
    )
    def post(self, request: Request) -> HttpResponseBase:
        query_of(request)
        given = NEW_SEARCH.read(request.data)
        with _home(request) as tenant:
            saved = operations.save_search(tenant=tenant, now=timezone.now(), **given)
        return answered(serializers.SavedSearchSerializer(saved).data, status=201)


class SavedSearchView(TripsView):
    @extend_schema(
        operation_id="saved_search",
        summary="One saved search",
        parameters=[IF_NONE_MATCH],
        responses={(200, JSON): serializers.SavedSearchSerializer, **NOT_MODIFIED, **READS_ONE},
    )
    def get(self, request: Request, search_id: UUID) -> HttpResponseBase:
        return _shown(request, SavedSearch, serializers.SavedSearchSerializer, search_id)

    @extend_schema(
        operation_id="change_saved_search",
        summary="Change a saved search",
        description="With another query its alerts begin anew.",
        request={JSON: serializers.SavedSearchPatchSerializer},
        responses={(200, JSON): serializers.SavedSearchSerializer, **CHANGES},
    )
    def patch(self, request: Request, search_id: UUID) -> HttpResponseBase:
        query_of(request)
        given = CHANGED_SEARCH.read(request.data)
        with _home(request) as tenant:
            changed = operations.change_search(
                tenant=tenant,
                search=get_object_or_404(SavedSearch, enterprise_id=tenant.id, pk=search_id),
                now=timezone.now(),
                **given,
            )
        return answered(serializers.SavedSearchSerializer(changed).data)

    @extend_schema(
        operation_id="remove_saved_search",
        summary="Delete a saved search, with its alerts",
        parameters=[VERSION_PARAMETER],
        responses=REMOVES,
    )
    def delete(self, request: Request, search_id: UUID) -> HttpResponseBase:
        return _removed(request, SavedSearch, search_id)


class SavedSearchResultsView(TripsView):
    @extend_schema(
        operation_id="saved_search_results",
        summary="Run a saved search",
        description="As GET /flights/search answers it. A day that is past since is `400`.",
        parameters=[
            OpenApiParameter("limit", type={"type": "integer", "minimum": 1, "maximum": 100}),
            OpenApiParameter(
                "cursor",
                type={"type": "string", "minLength": 1, "maxLength": 200},
                description="`next` of the page before.",
            ),
        ],
        responses={(200, JSON): SEARCH_RESULTS, **READS_ONE},
    )
    def get(self, request: Request, search_id: UUID) -> HttpResponseBase:
        paging = query_of(request, searches.PAGING)
        with _home(request) as tenant:
            query = get_object_or_404(SavedSearch, enterprise_id=tenant.id, pk=search_id).query
        asked = searches.parse(searches.with_parameters(query, **paging), now=timezone.now())
        body = search_flights(principal_of(request).tenant, asked, context=request_context(request))
        return HttpResponse(body, content_type=JSON)


class TripListView(TripsView):
    @extend_schema(
        operation_id="trips",
        summary="Your travellers' trips, newest first",
        parameters=[
            *PAGE_PARAMETERS,
            _filter("traveller_id", "Only this traveller's."),
            _filter("status", "Only these.", {"type": "string", "enum": Trip.Status.values}),
            IF_NONE_MATCH,
        ],
        responses={(200, JSON): serializers.TripPageSerializer, **NOT_MODIFIED, **READS},
    )
    def get(self, request: Request) -> HttpResponseBase:
        readers = {"traveller_id": identifier, "status": one_of(Trip.Status.values)}
        return _listed(request, Trip, serializers.TripSerializer, readers)

    @extend_schema(
        operation_id="plan_trip",
        summary="Keep an offer as a traveller's trip",
        description="The offer is kept as it is now, whatever becomes of it.",
        request={JSON: serializers.TripRequestSerializer},
        responses={(201, JSON): serializers.TripSerializer, **ADDS},
    )
    def post(self, request: Request) -> HttpResponseBase:
        query_of(request)
        given = NEW_TRIP.read(request.data)
        with _home(request) as tenant:
            offer = current_offer(given["offer_id"])
            if offer is None:
                detail = "There is no such offer, or it has expired."
                raise InvalidInput.of("offer_id", detail, code="unknown")
            trip = operations.plan_trip(
                tenant=tenant,
                traveller_id=given["traveller_id"],
                offer=offer,
                now=timezone.now(),
            )
        return answered(serializers.TripSerializer(trip).data, status=201)


class TripView(TripsView):
    @extend_schema(
        operation_id="trip",
        summary="One trip",
        parameters=[IF_NONE_MATCH],
        responses={(200, JSON): serializers.TripSerializer, **NOT_MODIFIED, **READS_ONE},
    )
    def get(self, request: Request, trip_id: UUID) -> HttpResponseBase:
        return _shown(request, Trip, serializers.TripSerializer, trip_id)

    @extend_schema(
        operation_id="change_trip",
        summary="Say that a trip was booked, travelled or cancelled",
        request={JSON: serializers.TripPatchSerializer},
        responses={(200, JSON): serializers.TripSerializer, **CHANGES},
    )
    def patch(self, request: Request, trip_id: UUID) -> HttpResponseBase:
        query_of(request)
        given = CHANGED_TRIP.read(request.data)
        with _home(request) as tenant:
            changed = operations.change_trip(
                tenant=tenant,
                trip=get_object_or_404(Trip, enterprise_id=tenant.id, pk=trip_id),
                now=timezone.now(),
                **given,
            )
        return answered(serializers.TripSerializer(changed).data)

    @extend_schema(
        operation_id="remove_trip",
        summary="Delete a trip",
        parameters=[VERSION_PARAMETER],
        responses=REMOVES,
    )
    def delete(self, request: Request, trip_id: UUID) -> HttpResponseBase:
        return _removed(request, Trip, trip_id)


class AlertListView(TripsView):
    @extend_schema(
        operation_id="alerts",
        summary="Your alerts, newest first",
        parameters=[
            *PAGE_PARAMETERS,
            _filter("saved_search_id", "Only of this saved search."),
            _filter("state", "Only these.", {"type": "string", "enum": PriceAlert.State.values}),
            IF_NONE_MATCH,
        ],
        responses={(200, JSON): serializers.AlertPageSerializer, **NOT_MODIFIED, **READS},
    )
    def get(self, request: Request) -> HttpResponseBase:
        readers = {"saved_search_id": identifier, "state": one_of(PriceAlert.State.values)}
        return _listed(request, PriceAlert, serializers.AlertSerializer, readers)

    @extend_schema(
        operation_id="add_alert",
        summary="Watch a saved search for its price, its layovers, or both",
        request={JSON: serializers.AlertRequestSerializer},
        responses={(201, JSON): serializers.AlertSerializer, **ADDS},
    )
    def post(self, request: Request) -> HttpResponseBase:
        query_of(request)
        given = NEW_ALERT.read(request.data)
        with _home(request) as tenant:
            added = operations.add_alert(tenant=tenant, now=timezone.now(), **given)
        return answered(serializers.AlertSerializer(added).data, status=201)


class AlertView(TripsView):
    @extend_schema(
        operation_id="alert",
        summary="One alert",
        parameters=[IF_NONE_MATCH],
        responses={(200, JSON): serializers.AlertSerializer, **NOT_MODIFIED, **READS_ONE},
    )
    def get(self, request: Request, alert_id: UUID) -> HttpResponseBase:
        return _shown(request, PriceAlert, serializers.AlertSerializer, alert_id)

    @extend_schema(
        operation_id="change_alert",
        summary="Change what is watched for, pause, or go on",
        description="Of changed criteria nothing counts as told.",
        request={JSON: serializers.AlertPatchSerializer},
        responses={(200, JSON): serializers.AlertSerializer, **CHANGES},
    )
    def patch(self, request: Request, alert_id: UUID) -> HttpResponseBase:
        query_of(request)
        given = CHANGED_ALERT.read(request.data)
        with _home(request) as tenant:
            changed = operations.change_alert(
                tenant=tenant,
                alert=get_object_or_404(PriceAlert, enterprise_id=tenant.id, pk=alert_id),
                now=timezone.now(),
                **given,
            )
        return answered(serializers.AlertSerializer(changed).data)

    @extend_schema(
        operation_id="remove_alert",
        summary="Delete an alert, with its news",
        parameters=[VERSION_PARAMETER],
        responses=REMOVES,
    )
    def delete(self, request: Request, alert_id: UUID) -> HttpResponseBase:
        return _removed(request, PriceAlert, alert_id)


class AlertEventsView(TripsView):
    @extend_schema(
        operation_id="alert_events",
        summary="What an alert told, newest first",
        parameters=[*PAGE_PARAMETERS, IF_NONE_MATCH],
        responses={
            (200, JSON): serializers.AlertEventPageSerializer,
            **NOT_MODIFIED,
            **READS_ONE,
        },
    )
    def get(self, request: Request, alert_id: UUID) -> HttpResponseBase:
        page = Page.of(request, {})
        with _home(request) as tenant:
            alert = get_object_or_404(PriceAlert, enterprise_id=tenant.id, pk=alert_id)
            rows = AlertEvent.objects.filter(enterprise_id=tenant.id, alert=alert)
            document = page.document(rows, serializers.AlertEventSerializer)
        return current(request, document)
