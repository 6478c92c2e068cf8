import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from apps.configs.declarations import DeclareConfig
from layoverhq.migrations import InstallSQL


def weight(name: str, value: float, description: str) -> DeclareConfig:
    return DeclareConfig(
        f"algorithm.{name}_weight",
        default_value=value,
        value_type="number",
        category="business",
        description=description,
        schema={"type": "number", "minimum": 0, "maximum": 1},
        tenant_visible=True,
        tenant_overridable=True,
    )


def banned(name: str, pattern: str, description: str) -> DeclareConfig:
    return DeclareConfig(
        f"search.banned_{name}",
        default_value=[],
        value_type="array",
        category="business",
        description=description,
        schema={
            "type": "array",
            "items": {"type": "string", "pattern": pattern},
            "uniqueItems": True,
            "maxItems": 200,
        },
        tenant_visible=True,
        tenant_overridable=True,
    )


class Migration(migrations.Migration):
    dependencies = [
        ("flights", "0007_exchange_rates"),
        ("configs", "0003_groups"),
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("flights", "layover_preferences", digest="c75aaf25f2007798"),
                InstallSQL("flights", "restate_ground", digest="f6bd3f5f14fb86b5"),
                InstallSQL("flights", "search_offers", digest="029f30139eca0846"),
                InstallSQL("flights", "search_matches", digest="c592dda781bd4d01"),
                InstallSQL("flights", "search_score", digest="9f9ba3dde7865a5a"),
                InstallSQL("flights", "search_flights", digest="b5b704db4d0a7d3b"),
            ],
            state_operations=[
                migrations.CreateModel(
                    name="LayoverPreference",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "enterprise",
                                "airport",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        (
                            "share",
                            models.SmallIntegerField(
                                help_text="0 to 100, the most chosen being 100."
                            ),
                        ),
                        (
                            "updated_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
                            ),
                        ),
                        (
                            "airport",
                            models.ForeignKey(
                                db_column="airport",
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="flights.airport",
                            ),
                        ),
                        (
                            "enterprise",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="tenants.enterprise",
                            ),
                        ),
                    ],
                    options={"db_table": "layover_preferences"},
                ),
            ],
        ),
        weight("city", 0.3, "How much the time that is left for the city counts in a score"),
        weight("experience", 0.2, "How much counts in a score what there is to do in that time"),
        weight("safety", 0.2, "How much counts in a score that the connection holds"),
        weight("premium", 0.3, "How much counts in a score what an offer costs beside the best"),
        weight(
            "preference",
            0.2,
            "How much counts in a score where the enterprise's travellers liked to wait before",
        ),
        banned("hubs", "^[A-Z]{3}$", "Airports that no layover is at, by IATA code"),
        banned("carriers", "^[A-Z0-9]{2}$", "Airlines that no segment is by, by IATA code"),
    ]
