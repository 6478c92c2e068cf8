"""The shape of the search's answer, for the OpenAPI document: SQL writes the answer itself."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.flights.models import MODELLED_FIELDS, OfferImport, OfferReject


class LayoverSerializer(serializers.Serializer[None]):
    airport = serializers.CharField(help_text="IATA code.")
    minutes = serializers.IntegerField(min_value=0)
    usable_minutes = serializers.IntegerField(
        required=False, min_value=0, help_text="What it leaves for the city, within opening hours."
    )
    daylight_minutes = serializers.IntegerField(
        required=False, min_value=0, help_text="What it leaves for the city with daylight."
    )
    overnight = serializers.BooleanField(
        required=False, help_text="It lasts from one o'clock to five of a night."
    )
    next_airport = serializers.CharField(
        required=False, help_text="Where the journey goes on, if that is another airport."
    )
    terminal_change = serializers.BooleanField(required=False)
    self_transfer = serializers.BooleanField(
        required=False, help_text="The next segment is on a ticket of its own."
    )
    bag_recheck = serializers.BooleanField(
        required=False, help_text="Bags are claimed and checked in again."
    )


class SegmentSerializer(serializers.Serializer[None]):
    origin = serializers.CharField(help_text="IATA code.")
    destination = serializers.CharField(help_text="IATA code.")
    departs_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    arrives_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    minutes = serializers.IntegerField(min_value=1)
    carrier = serializers.CharField(help_text="IATA airline code.")
    flight_number = serializers.CharField(required=False)
    origin_terminal = serializers.CharField(required=False)
    destination_terminal = serializers.CharField(required=False)
    cabin = serializers.CharField(required=False)
    fare_basis = serializers.CharField(required=False)
    provider = serializers.CharField(
        required=False, help_text="Who sells it, where we composed the journey of several tickets."
    )
    offer_id = serializers.UUIDField(required=False, help_text="Of that provider's offer.")


class FareSerializer(serializers.Serializer[None]):
    price_minor = serializers.IntegerField(min_value=0)
    price_currency = serializers.CharField(help_text="ISO 4217.")
    rate_date = serializers.DateField(help_text="Of the exchange rate that the price is by.")


class ScoreComponentSerializer(serializers.Serializer[None]):
    weight = serializers.FloatField(min_value=0)
    value = serializers.FloatField(
        required=False, min_value=0, max_value=1, help_text="Missing where it is not known."
    )
    points = serializers.FloatField(required=False, help_text="What it adds to the score.")


class ScoreExplanationSerializer(serializers.Serializer[None]):
    hub = serializers.CharField(
        required=False, help_text="Where the layover is that leaves most for its city."
    )
    confidence = serializers.FloatField(
        required=False, min_value=0, max_value=1, help_text="The known components' share of weight."
    )
    components = serializers.DictField(child=ScoreComponentSerializer(), required=False)
    best_price_minor = serializers.IntegerField(
        help_text="Of the route and days, in US cents: what `premium` compares with."
    )
    best_duration_minutes = serializers.IntegerField()


class RankingSerializer(serializers.Serializer[None]):
    score_version = serializers.IntegerField(help_text="Of the formula.")
    source = serializers.CharField(help_text="Where the weights come from.")  # type: ignore[assignment]  # a name of DRF's own
    weights = serializers.DictField(child=serializers.FloatField())
    version = serializers.UUIDField(
        required=False, help_text="Of the learned weights, where `source` is `learned`."
    )


class PricesSerializer(serializers.Serializer[None]):
    currency = serializers.CharField(help_text="ISO 4217.")
    rate_date = serializers.DateField(help_text="Of the reference rate that they are shown by.")


class RefusingFilterSerializer(serializers.Serializer[None]):
    parameter = serializers.CharField(
        help_text="Or `policy`, for what your enterprise's configuration forbids."
    )
    refused = serializers.IntegerField(help_text="Offers that it refuses.")
    found_without = serializers.IntegerField(
        help_text="Offers that would be found if it alone were left out."
    )


class EmptySerializer(serializers.Serializer[None]):
    offers = serializers.IntegerField(help_text="Of the route and days.")
    filters = RefusingFilterSerializer(many=True)
    days_with_offers = serializers.ListField(
        child=serializers.DateField(), help_text="Nearby, where there are no offers at all."
    )


class OfferSerializer(serializers.Serializer[None]):
    id = serializers.UUIDField()
    provider = serializers.CharField()
    private = serializers.BooleanField(help_text="Priced for, or negotiated by, your enterprise.")
    origin = serializers.CharField(help_text="IATA code.")
    destination = serializers.CharField(help_text="IATA code.")
    departs_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    arrives_at = serializers.CharField(help_text="Local time with its offset from UTC, ISO 8601.")
    duration_minutes = serializers.IntegerField(min_value=1)
    price_minor = serializers.IntegerField(
        min_value=0, help_text="In minor units, such as cents, of the currency asked for."
    )
    price_currency = serializers.CharField(help_text="ISO 4217.")
    fare = FareSerializer(
        required=False, help_text="As the provider named it, where that is another currency."
    )
    usable_minutes = serializers.IntegerField(
        required=False, min_value=0, help_text="The most that one layover leaves for its city."
    )
    daylight_minutes = serializers.IntegerField(
        required=False, min_value=0, help_text="The most of that with daylight."
    )
    cabin = serializers.CharField(required=False, help_text="The lowest of the journey.")
    self_transfer = serializers.BooleanField(help_text="It is on more than one ticket.")
    score = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        help_text="With `sort=score` or `explain=true`.",
    )
    explanation = ScoreExplanationSerializer(required=False, help_text="With `explain=true`.")
    age_minutes = serializers.IntegerField(min_value=0, help_text="Since `seen_at`.")
    layover_count = serializers.IntegerField(min_value=0)
    layovers = LayoverSerializer(many=True)
    segments = SegmentSerializer(many=True)
    modelled = serializers.ListField(
        child=serializers.ChoiceField(choices=MODELLED_FIELDS),
        help_text="What of this offer is modelled and not a provider's word; demo data only.",
    )
    seen_at = serializers.DateTimeField(help_text="When the provider named the price.")
    expires_at = serializers.DateTimeField()


class FlightSearchResponseSerializer(serializers.Serializer[None]):
    results = OfferSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The `cursor` of the next page; null on the last one."
    )
    prices = PricesSerializer(
        required=False, help_text="What prices are shown in, where that is not US dollars."
    )
    ranking = RankingSerializer(
        required=False, help_text="By what scores are made; with `sort=score` or `explain=true`."
    )
    empty = EmptySerializer(required=False, help_text="Why nothing was found, if so.")


class OfferRejectSerializer(serializers.ModelSerializer[OfferReject]):
    class Meta:
        model = OfferReject
        fields = ("line", "reason", "field", "detail", "excerpt")


class ImportProblemSerializer(serializers.Serializer[None]):
    code = serializers.CharField()
    detail = serializers.CharField()


class OfferImportSerializer(serializers.ModelSerializer[OfferImport]):
    percent = serializers.IntegerField(min_value=0, max_value=100, read_only=True)
    problem = serializers.SerializerMethodField(
        help_text="Why nothing of it was loaded; null unless it failed."
    )

    class Meta:
        model = OfferImport
        fields = (
            "id", "status", "percent", "bytes_received", "bytes_done", "lines_done", "inserted",
            "updated", "unchanged", "rejected", "problem", "created_at", "started_at",
            "finished_at",
        )  # fmt: skip

    @extend_schema_field(ImportProblemSerializer(allow_null=True))
    def get_problem(self, offer_import: OfferImport) -> dict[str, str] | None:
        if not offer_import.problem_code:
            return None
        return {"code": offer_import.problem_code, "detail": offer_import.problem}


class OfferImportPageSerializer(OfferImportSerializer):
    errors = OfferRejectSerializer(many=True, help_text="Refused lines, in order.")  # type: ignore[assignment]  # a name of DRF's own
    next = serializers.IntegerField(
        allow_null=True, help_text="`after` of the next page; null on the last one."
    )

    class Meta(OfferImportSerializer.Meta):
        fields = (*OfferImportSerializer.Meta.fields, "errors", "next")  # type: ignore[assignment]
