"""What an analysis answers, for the OpenAPI document: the document itself is made by `analysis`."""

from __future__ import annotations

from rest_framework import serializers

from apps.layovers.analysis import AIRPORT, CITY, WEATHER_STATES
from apps.layovers.bags import ADVICES
from apps.layovers.scoring import DOUBTS
from apps.layovers.visas import STATUSES

LOCAL = "On the airport's clock, ISO 8601."


class AnalysedAirportSerializer(serializers.Serializer[None]):
    iata = serializers.CharField()
    name = serializers.CharField()
    city = serializers.CharField()
    country = serializers.CharField(help_text="ISO 3166-1 alpha-2.")


class QuestionSerializer(serializers.Serializer[None]):
    airport = serializers.CharField()
    arrival = serializers.CharField(help_text="Local, with its offset.")
    departure = serializers.CharField(help_text="Local, with its offset.")
    to = serializers.CharField(allow_null=True)
    passport = serializers.CharField(allow_null=True)
    visa_held = serializers.BooleanField()
    self_transfer = serializers.BooleanField()
    price = serializers.CharField(allow_null=True)
    best_price = serializers.CharField(allow_null=True)
    duration = serializers.IntegerField(allow_null=True, help_text="Minutes.")
    best_duration = serializers.IntegerField(allow_null=True, help_text="Minutes.")

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        # `from` is a word of Python's.
        return {**super().get_fields(), "from": serializers.CharField(allow_null=True)}


class ObstacleSerializer(serializers.Serializer[None]):
    code = serializers.ChoiceField(choices=["minimum_connection", "visa_required"])
    detail = serializers.CharField()


class LayoverComponentSerializer(serializers.Serializer[None]):
    name = serializers.ChoiceField(
        choices=["city", "experience", "weather", "airport_comfort", "safety", "premium"]
    )
    value = serializers.FloatField(
        allow_null=True, min_value=0, max_value=1, help_text="Null where nothing is known of it."
    )
    weight = serializers.FloatField(help_text="Its share; those that are known sum up to 1.")
    points = serializers.FloatField(help_text="What it adds to the score.")


class PartsSerializer(serializers.Serializer[None]):
    exit_minutes = serializers.IntegerField(help_text="From the gate to the kerb.")
    transfer_minutes = serializers.IntegerField(help_text="To the city's centre, one way.")
    buffer_minutes = serializers.IntegerField(help_text="To be at the airport before departure.")
    window_minutes = serializers.IntegerField(help_text="Between the two ways.")
    outside_opening_hours_minutes = serializers.IntegerField(
        help_text="Of it before 8 or after 22."
    )


class UsableSerializer(serializers.Serializer[None]):
    minutes = serializers.IntegerField(help_text="That can be spent in the city.")
    daylight_minutes = serializers.IntegerField(help_text="Of the window in the city.")
    overnight = serializers.BooleanField(help_text="It lasts from one o'clock to five of a night.")
    parts = PartsSerializer()
    in_city_from = serializers.CharField(allow_null=True, help_text=LOCAL)
    in_city_until = serializers.CharField(allow_null=True, help_text=LOCAL)


class StopSerializer(serializers.Serializer[None]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    city = serializers.CharField()
    category = serializers.CharField()
    rating = serializers.FloatField(help_text="Stars from 0 to 5.")
    price_from_minor = serializers.IntegerField(
        allow_null=True, help_text="In minor units; 0 is free, null is not known."
    )
    price_currency = serializers.CharField()
    duration_minutes = serializers.IntegerField()
    opening_hours = serializers.CharField()
    is_indicative = serializers.BooleanField(
        help_text="Hours, price and duration are a guide and may have changed."
    )
    source = serializers.CharField()  # type: ignore[assignment]  # a name of DRF\'s own
    way_minutes = serializers.IntegerField(help_text="From the stop before, or the airport.")
    begins = serializers.CharField(help_text=LOCAL)
    ends = serializers.CharField(help_text=LOCAL)


class PlanSerializer(serializers.Serializer[None]):
    stops = StopSerializer(many=True)
    back_at_airport = serializers.CharField(allow_null=True, help_text=LOCAL)
    note = serializers.CharField()


class WeatherHourSerializer(serializers.Serializer[None]):
    hour = serializers.CharField(help_text=LOCAL)
    temperature = serializers.FloatField(help_text="°C.")
    precipitation = serializers.FloatField(help_text="Millimetres.")
    wind_kmh = serializers.IntegerField()
    cloud_percent = serializers.IntegerField()
    weather_code = serializers.IntegerField(help_text="WMO 4677.")
    comfort = serializers.IntegerField(min_value=0, max_value=100)


class WeatherSerializer(serializers.Serializer[None]):
    state = serializers.ChoiceField(choices=WEATHER_STATES)
    source = serializers.CharField(allow_null=True)  # type: ignore[assignment]  # a name of DRF\'s own
    fetched_at = serializers.DateTimeField(allow_null=True)
    comfort = serializers.IntegerField(allow_null=True, min_value=0, max_value=100)
    hours = WeatherHourSerializer(many=True, help_text="Those in which the city can be visited.")


class VisaSerializer(serializers.Serializer[None]):
    requirement = serializers.ChoiceField(choices=STATUSES)
    without_visa = serializers.ChoiceField(
        choices=["airside", "none", "unknown"],
        allow_null=True,
        help_text="What is left to those who have none of what they need.",
    )
    note = serializers.CharField()
    as_of = serializers.CharField(help_text="Of when the table is.")
    advice = serializers.CharField()


class BagsSerializer(serializers.Serializer[None]):
    advice = serializers.ChoiceField(choices=ADVICES)
    detail = serializers.CharField()


class ConnectionSerializer(serializers.Serializer[None]):
    minimum_minutes = serializers.IntegerField()
    spare_minutes = serializers.IntegerField(help_text="For a late arrival; negative: too short.")
    share_on_time = serializers.FloatField(
        allow_null=True, help_text="Of flights that are late by no more than that."
    )
    basis = serializers.ChoiceField(
        choices=["airport", "nation"], help_text="Whose delays these are."
    )
    source = serializers.CharField()  # type: ignore[assignment]  # a name of DRF\'s own


class PremiumSerializer(serializers.Serializer[None]):
    extra_price = serializers.CharField(allow_null=True)
    extra_minutes = serializers.IntegerField(allow_null=True)


class LayoverAnalysisSerializer(serializers.Serializer[None]):
    airport = AnalysedAirportSerializer()
    question = QuestionSerializer()
    minutes = serializers.IntegerField(help_text="How long the layover lasts.")
    feasible = serializers.BooleanField()
    obstacles = ObstacleSerializer(many=True)
    mode = serializers.ChoiceField(
        choices=[CITY, AIRPORT], help_text="Whether a visit to the city is scored, or the wait."
    )
    score = serializers.IntegerField(allow_null=True, min_value=0, max_value=100)
    score_version = serializers.IntegerField()
    components = LayoverComponentSerializer(many=True)
    confidence = serializers.FloatField(min_value=0, max_value=1)
    doubts = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(DOUBTS)),
        help_text="What the confidence lacks.",
    )
    usable = UsableSerializer()
    plan = PlanSerializer()
    weather = WeatherSerializer()
    visa = VisaSerializer()
    bags = BagsSerializer()
    connection = ConnectionSerializer()
    premium = PremiumSerializer(allow_null=True)
    computed_at = serializers.DateTimeField()
