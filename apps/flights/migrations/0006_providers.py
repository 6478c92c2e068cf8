import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import layoverhq.identifiers
from apps.configs.declarations import DeclareCategory, DeclareConfig
from layoverhq.migrations import InstallSQL
from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups
from layoverhq.schedules import BEAT_MIGRATION, SeedSchedule

VIEW = [
    "view_flightprovider",
    "view_providerroute",
    "view_providerfetch",
    "view_providerreject",
]
GROUPS = {
    "Provider viewers": VIEW,
    "Provider operators": [
        *VIEW,
        "add_flightprovider",
        "change_flightprovider",
        "pause_flightprovider",
        "fetch_flightprovider",
        "add_providerroute",
        "change_providerroute",
        "delete_providerroute",
    ],
}


class Migration(migrations.Migration):
    dependencies = [
        ("flights", "0005_layover_places"),
        ("flights", "0005_connection_times"),
        ("configs", "0002_seeds"),
        BEAT_MIGRATION,
        *AUTH_MIGRATIONS,
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("flights", "providers", digest="0cf104a16807a28e"),
                InstallSQL("flights", "offer_confirmations", digest="076ef3fa324b394f"),
                InstallSQL("flights", "provider_offers", digest="6f20853e0799363d"),
            ],
            state_operations=[
                migrations.CreateModel(
                    name="FlightProvider",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                default=layoverhq.identifiers.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        (
                            "name",
                            models.TextField(
                                help_text="What its offers are known by; never changes. Small letters, digits, . _ and -.",
                                unique=True,
                            ),
                        ),
                        (
                            "kind",
                            models.TextField(
                                choices=[
                                    ("amadeus", "Amadeus"),
                                    ("duffel", "Duffel"),
                                    ("kiwi", "Kiwi Tequila"),
                                ],
                                help_text="How it is asked; its credentials go by this. Never changes.",
                            ),
                        ),
                        (
                            "base_url",
                            models.TextField(
                                help_text="Without a path, such as https://test.api.amadeus.com.",
                                verbose_name="address",
                            ),
                        ),
                        ("pause_reason", models.TextField(blank=True, editable=False)),
                        (
                            "paused_until",
                            models.DateTimeField(blank=True, editable=False, null=True),
                        ),
                        (
                            "priority",
                            models.SmallIntegerField(
                                default=100,
                                help_text="The lower, the earlier its fetches are queued.",
                            ),
                        ),
                        (
                            "quota_per_minute",
                            models.PositiveIntegerField(
                                blank=True,
                                help_text="As your contract says; repeated requests count. Empty: unbounded.",
                                null=True,
                                verbose_name="requests per minute",
                            ),
                        ),
                        (
                            "quota_per_day",
                            models.PositiveIntegerField(
                                blank=True,
                                help_text="By UTC; counted from the fetch log. Empty: unbounded.",
                                null=True,
                                verbose_name="requests per day",
                            ),
                        ),
                        (
                            "market",
                            models.TextField(
                                blank=True,
                                help_text="Two letters of the country whose prices are asked for. Only Kiwi takes one.",
                            ),
                        ),
                        (
                            "currency",
                            models.TextField(
                                default="USD",
                                help_text="ISO 4217; prices are asked for in it. Duffel answers in its account's currency.",
                            ),
                        ),
                        (
                            "last_success_at",
                            models.DateTimeField(blank=True, editable=False, null=True),
                        ),
                        (
                            "last_error_at",
                            models.DateTimeField(blank=True, editable=False, null=True),
                        ),
                        ("last_error", models.TextField(blank=True, editable=False)),
                        ("consecutive_failures", models.IntegerField(default=0, editable=False)),
                        ("retry_at", models.DateTimeField(blank=True, editable=False, null=True)),
                        (
                            "created_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                    ],
                    options={
                        "verbose_name": "provider",
                        "db_table": "flight_providers",
                        "ordering": ["priority", "name"],
                        "permissions": [
                            ("pause_flightprovider", "Can pause and resume providers"),
                            ("fetch_flightprovider", "Can fetch from providers at once"),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="ProviderFetch",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                default=layoverhq.identifiers.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("origin", models.TextField()),
                        ("destination", models.TextField()),
                        (
                            "day",
                            models.DateField(help_text="Of departure, by the origin's calendar."),
                        ),
                        (
                            "status",
                            models.TextField(
                                choices=[
                                    ("queued", "Queued"),
                                    ("running", "Running"),
                                    ("done", "Done"),
                                    ("failed", "Failed"),
                                ],
                                default="running",
                            ),
                        ),
                        (
                            "requests",
                            models.IntegerField(
                                default=0, help_text="Sent to the provider, repeated ones too."
                            ),
                        ),
                        ("inserted", models.IntegerField(default=0, verbose_name="new")),
                        ("updated", models.IntegerField(default=0, verbose_name="changed")),
                        (
                            "unchanged",
                            models.IntegerField(
                                default=0, help_text="Seen again as they stood: not written."
                            ),
                        ),
                        (
                            "withdrawn",
                            models.IntegerField(
                                default=0, help_text="Stood before, and are not offered now."
                            ),
                        ),
                        (
                            "duplicates",
                            models.IntegerField(
                                default=0, help_text="The same journey again, not cheaper."
                            ),
                        ),
                        ("rejected", models.IntegerField(default=0)),
                        ("error_code", models.TextField(blank=True)),
                        ("error", models.TextField(blank=True)),
                        (
                            "created_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                        ("started_at", models.DateTimeField(editable=False, null=True)),
                        ("finished_at", models.DateTimeField(editable=False, null=True)),
                        (
                            "enterprise",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="tenants.enterprise",
                            ),
                        ),
                        (
                            "provider",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="fetches",
                                to="flights.flightprovider",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "fetch",
                        "verbose_name_plural": "fetches",
                        "db_table": "provider_fetches",
                        "ordering": ["-id"],
                    },
                ),
                migrations.CreateModel(
                    name="ProviderReject",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                default=layoverhq.identifiers.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("position", models.IntegerField(help_text="In the answer, from 0.")),
                        ("reason", models.TextField()),
                        ("field", models.TextField(blank=True)),
                        ("detail", models.TextField()),
                        (
                            "excerpt",
                            models.TextField(help_text="How the offer begins, as it was sent."),
                        ),
                        (
                            "fetch",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="rejects",
                                to="flights.providerfetch",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "rejected offer",
                        "db_table": "provider_rejects",
                        "ordering": ["position"],
                    },
                ),
                migrations.CreateModel(
                    name="ProviderRoute",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                default=layoverhq.identifiers.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("origin", models.TextField(help_text="IATA code, such as SFO.")),
                        ("destination", models.TextField(help_text="IATA code, such as JFK.")),
                        (
                            "days_ahead",
                            models.PositiveSmallIntegerField(
                                default=30,
                                help_text="From tomorrow on, by the origin's calendar; 1 to 330 days.",
                            ),
                        ),
                        (
                            "every_minutes",
                            models.PositiveIntegerField(
                                default=360,
                                help_text="Minutes between two fetches of a day; 15 to 10,080.",
                                verbose_name="every",
                            ),
                        ),
                        ("is_active", models.BooleanField(default=True, verbose_name="active")),
                        (
                            "created_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        (
                            "enterprise",
                            models.ForeignKey(
                                blank=True,
                                help_text="Priced for it alone, with its own credentials where it has any. Empty: the shared inventory.",
                                null=True,
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="tenants.enterprise",
                            ),
                        ),
                        (
                            "provider",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="routes",
                                to="flights.flightprovider",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "route of the pull plan",
                        "verbose_name_plural": "pull plan",
                        "db_table": "provider_routes",
                        "ordering": ["provider", "origin", "destination"],
                    },
                ),
            ],
        ),
        DeclareCategory("providers", description="How flight providers are reached."),
        DeclareConfig(
            "provider.connect_timeout",
            default_value=5,
            value_type="number",
            category="providers",
            description="How long a provider may take to accept a connection",
            schema={"type": "number", "minimum": 0.01, "maximum": 60, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "provider.read_timeout",
            default_value=20,
            value_type="number",
            category="providers",
            description="How long a provider may be silent within an answer",
            schema={"type": "number", "minimum": 0.01, "maximum": 60, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "provider.total_timeout",
            default_value=60,
            value_type="number",
            category="providers",
            description="How long a provider may take for an answer, repeated requests included",
            schema={"type": "number", "minimum": 0.01, "maximum": 70, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "provider.attempts",
            default_value=3,
            value_type="number",
            category="providers",
            description="How often a provider is asked that does not answer or says 429 or 5xx",
            schema={"type": "integer", "minimum": 1, "maximum": 10, "x-unit": "requests"},
        ),
        DeclareConfig(
            "provider.answer_megabytes",
            default_value=20,
            value_type="number",
            category="providers",
            description="How large a provider's answer may be, unpacked",
            schema={"type": "number", "minimum": 0.001, "maximum": 200, "x-unit": "MB"},
        ),
        DeclareConfig(
            "provider.circuit_failures",
            default_value=5,
            value_type="number",
            category="providers",
            description="Failed fetches in a row after which a provider is left alone",
            schema={"type": "integer", "minimum": 1, "maximum": 1000, "x-unit": "fetches"},
        ),
        DeclareConfig(
            "provider.circuit_cool_down",
            default_value=60,
            value_type="number",
            category="providers",
            description="How long it is left alone at first; each failed trial doubles it",
            schema={"type": "integer", "minimum": 1, "maximum": 1800, "x-unit": "seconds"},
        ),
        DeclareConfig(
            "provider.amadeus.client_id",
            value_type="string",
            category="providers",
            description="Amadeus: the application's API key",
            is_secret=True,
        ),
        DeclareConfig(
            "provider.amadeus.client_secret",
            value_type="string",
            category="providers",
            description="Amadeus: the application's API secret",
            is_secret=True,
        ),
        DeclareConfig(
            "provider.duffel.token",
            value_type="string",
            category="providers",
            description="Duffel: an access token that may read and write offer requests",
            is_secret=True,
        ),
        DeclareConfig(
            "provider.kiwi.api_key",
            value_type="string",
            category="providers",
            description="Kiwi Tequila: the solution's API key",
            is_secret=True,
        ),
        SeedSchedule(
            "Providers: pull what is due",
            task="apps.flights.providers.tasks.pull_due_offers",
            crontab="* * * * *",
            help_text="Queues a task for each provider that the pull plan has something of.",
        ),
        SeedSchedule(
            "Providers: purge old fetches",
            task="apps.flights.providers.tasks.purge_provider_fetches",
            crontab="50 3 * * *",
            help_text="Deletes fetches of more than 30 days ago, with their rejects. Offers stay.",
        ),
        SeedGroups(GROUPS),
    ]
