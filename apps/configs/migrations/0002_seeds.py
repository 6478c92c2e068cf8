from django.db import migrations

from apps.configs.declarations import DeclareCategory, DeclareConfig
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule


class Migration(migrations.Migration):
    dependencies = [("configs", "0001_configs"), BEAT_MIGRATION]
    operations = [
        DeclareCategory("runtime", description="How the platform runs: limits, timeouts, caches."),
        DeclareCategory("business", description="What the product offers and how it scores."),
        DeclareCategory(
            "security", description="What keeps people out and data safe.", is_protected=True
        ),
        # The guide's seven, with its keys and values.
        DeclareConfig(
            "api.rate_limit.default",
            value=1000,
            default_value=1000,
            value_type="number",
            category="runtime",
            description="Default API rate limit per hour",
            schema={"type": "integer", "minimum": 1, "maximum": 1_000_000, "x-unit": "calls/hour"},
            tenant_visible=True,
        ),
        DeclareConfig(
            "weather.cache_ttl",
            value=300,
            default_value=300,
            value_type="number",
            category="runtime",
            description="Weather data cache TTL in seconds",
            schema={"type": "integer", "minimum": 1, "maximum": 86_400, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "flight.search_timeout",
            value=30,
            default_value=30,
            value_type="number",
            category="runtime",
            description="Flight search timeout in seconds",
            schema={"type": "number", "minimum": 0.05, "maximum": 300, "x-unit": "seconds"},
            tenant_visible=True,
        ),
        DeclareConfig(
            "layover.min_duration",
            value=90,
            default_value=90,
            value_type="number",
            category="business",
            description="Minimum layover duration in minutes",
            schema={"type": "integer", "minimum": 0, "maximum": 1440, "x-unit": "minutes"},
            tenant_visible=True,
            tenant_overridable=True,
        ),
        DeclareConfig(
            "algorithm.weather_weight",
            value=0.3,
            default_value=0.3,
            value_type="number",
            category="business",
            description="Weather factor in scoring algorithm",
            schema={"type": "number", "minimum": 0, "maximum": 1},
            tenant_visible=True,
            tenant_overridable=True,
        ),
        DeclareConfig(
            "security.session_timeout",
            value=3600,
            default_value=3600,
            value_type="number",
            category="security",
            description="Session timeout in seconds",
            schema={"type": "integer", "minimum": 60, "maximum": 86_400, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "features.experimental_ml",
            value=False,
            default_value=False,
            value_type="boolean",
            category="runtime",
            description="Enable experimental ML features",
            tenant_visible=True,
        ),
        # What else the code reads.
        DeclareConfig(
            "web.threads",
            default_value=4,
            value_type="number",
            category="runtime",
            description="Threads that serve requests in each web worker",
            schema={"type": "integer", "minimum": 1, "maximum": 256, "x-unit": "threads"},
            requires_restart=True,
        ),
        DeclareConfig(
            "stream.heartbeat",
            default_value=15,
            value_type="number",
            category="runtime",
            description="How often an idle event stream is told that it stands",
            schema={"type": "integer", "minimum": 1, "maximum": 300, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "stream.per_tenant",
            default_value=1000,
            value_type="number",
            category="runtime",
            description="Event streams that one tenant may hold open in a stream process",
            schema={"type": "integer", "minimum": 1, "maximum": 100_000, "x-unit": "streams"},
        ),
        SeedSchedule(
            "Configuration: activate and expire",
            task="apps.configs.tasks.apply_schedules",
            crontab="* * * * *",
            help_text="Publishes scheduled change sets and ends what has expired.",
        ),
    ]
