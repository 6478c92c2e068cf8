import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import layoverhq.identifiers
from apps.configs.declarations import DeclareCategory, DeclareConfig
from layoverhq.migrations import InstallSQL
from layoverhq.permission_groups import AUTH_MIGRATIONS, SeedGroups

VIEW = ["view_storefront"]
GROUPS = {
    "Storefront viewers": VIEW,
    "Storefront editors": [*VIEW, "change_storefront"],
}
OWN = {"category": "storefront", "tenant_visible": True, "tenant_overridable": True}
COLOUR = {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"}


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("audit", "0001_audit_log"),
        ("configs", "0002_seeds"),
        ("flags", "0002_seeds"),
        ("flights", "0002_airports"),
        ("tenants", "0001_tenants"),
        *AUTH_MIGRATIONS,
    ]

    operations = [
        migrations.CreateModel(
            name="Storefront",
            fields=[],
            options={
                "verbose_name": "storefront",
                "proxy": True,
                "default_permissions": ("view", "change"),
                "indexes": [],
                "constraints": [],
            },
            bases=("tenants.enterprise",),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                InstallSQL("storefront", "storefront_images", digest="803732b843761a4c")
            ],
            state_operations=[
                migrations.CreateModel(
                    name="StorefrontImage",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=layoverhq.identifiers.UUID7(),
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("digest", models.TextField(help_text="SHA-256 of the content.")),
                        ("width", models.IntegerField(help_text="In pixels.")),
                        ("height", models.IntegerField(help_text="In pixels.")),
                        ("content", models.BinaryField(help_text="PNG.")),
                        (
                            "created_at",
                            models.DateTimeField(
                                db_default=django.db.models.functions.datetime.Now(), editable=False
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
                    options={
                        "db_table": "storefront_images",
                        "ordering": ["-id"],
                        "default_permissions": (),
                    },
                ),
            ],
        ),
        InstallSQL("storefront", "site_directory", digest="278564aafebb9b8a"),
        InstallSQL("storefront", "places", digest="686ca11ba80b26bb"),
        DeclareCategory(
            "storefront", description="What travellers see on an enterprise's own domain."
        ),
        DeclareConfig(
            "storefront.name",
            default_value="",
            value_type="string",
            description="The storefront's name; empty: the enterprise's",
            schema={"type": "string", "maxLength": 60},
            **OWN,
        ),
        DeclareConfig(
            "storefront.tagline",
            default_value="Make the layover part of the trip",
            value_type="string",
            description="The sentence that greets travellers",
            schema={"type": "string", "maxLength": 120},
            **OWN,
        ),
        DeclareConfig(
            "storefront.primary_color",
            default_value="#1f5f8b",
            value_type="string",
            description="Colour of buttons and links, #rrggbb; shades of it are made readable",
            schema=COLOUR,
            **OWN,
        ),
        DeclareConfig(
            "storefront.accent_color",
            default_value="#c2571a",
            value_type="string",
            description="Colour of layovers, #rrggbb; shades of it are made readable",
            schema=COLOUR,
            **OWN,
        ),
        DeclareConfig(
            "storefront.logo",
            default_value="",
            value_type="string",
            description="Digest of the logo that was uploaded in the admin; empty: none",
            schema={"type": "string", "pattern": "^([0-9a-f]{64})?$"},
            **OWN,
        ),
        DeclareConfig(
            "storefront.requests_per_minute",
            default_value=120,
            value_type="number",
            category="storefront",
            description="Pages that one address may ask a storefront for",
            schema={"type": "integer", "minimum": 10, "maximum": 100_000, "x-unit": "pages/minute"},
        ),
        SeedGroups(GROUPS),
    ]
