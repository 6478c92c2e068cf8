from decimal import Decimal

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import layoverhq.identifiers
from layoverhq.migrations import InstallSQL


class Migration(migrations.Migration):
    dependencies = [
        ("flags", "0002_seeds"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Experiment",
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
                ("name", models.CharField(max_length=200)),
                (
                    "hypothesis",
                    models.TextField(help_text="What you expect to change, by how much, and why."),
                ),
                ("rule", models.CharField(blank=True, db_default="", default="", max_length=100)),
                ("control_variant", models.CharField(max_length=100, verbose_name="control")),
                (
                    "alpha",
                    models.DecimalField(
                        decimal_places=3,
                        default=Decimal("0.05"),
                        help_text="How often variants that are alike may be taken for different: 0.05 is 1 in 20.",
                        max_digits=4,
                        validators=[
                            django.core.validators.MinValueValidator(Decimal("0.001")),
                            django.core.validators.MaxValueValidator(Decimal("0.2")),
                        ],
                        verbose_name="error rate",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("running", "Running"),
                            ("stopped", "Stopped"),
                            ("shipped", "Shipped"),
                        ],
                        default="draft",
                        editable=False,
                        max_length=20,
                    ),
                ),
                (
                    "unit",
                    models.CharField(
                        blank=True, db_default="", default="", editable=False, max_length=100
                    ),
                ),
                (
                    "split",
                    models.JSONField(blank=True, db_default={}, default=dict, editable=False),
                ),
                ("started_at", models.DateTimeField(editable=False, null=True)),
                ("stopped_at", models.DateTimeField(editable=False, null=True)),
                (
                    "decision",
                    models.TextField(blank=True, db_default="", default="", editable=False),
                ),
                (
                    "shipped_variant",
                    models.CharField(
                        blank=True, db_default="", default="", editable=False, max_length=100
                    ),
                ),
                ("version", models.PositiveIntegerField(db_default=1, default=1, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        auto_now=True, db_default=django.db.models.functions.datetime.Now()
                    ),
                ),
                (
                    "author",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "flag",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="experiments",
                        to="flags.featureflag",
                    ),
                ),
                (
                    "shipped_version",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="flags.flagversion",
                    ),
                ),
            ],
            options={
                "db_table": "flag_experiments",
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("run_experiment", "Can start and stop experiments and ship winners")
                ],
            },
        ),
        migrations.CreateModel(
            name="ExperimentGoal",
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
                ("position", models.PositiveSmallIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("conversion", "Whether it happened"),
                            ("mean", "Sum of the values"),
                        ],
                        max_length=20,
                    ),
                ),
                ("event", models.CharField(max_length=100)),
                (
                    "window_hours",
                    models.PositiveIntegerField(help_text="After the unit met its variant."),
                ),
                ("is_primary", models.BooleanField(db_default=False, default=False)),
                (
                    "experiment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="goals",
                        to="flags.experiment",
                    ),
                ),
            ],
            options={
                "verbose_name": "goal",
                "db_table": "flag_experiment_goals",
                "ordering": ["position"],
            },
        ),
        migrations.AddConstraint(
            model_name="experiment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "running")),
                fields=("flag", "rule"),
                name="flag_experiments_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="experiment",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["draft", "running", "stopped", "shipped"])),
                name="flag_experiments_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="experiment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alpha__gte", Decimal("0.001")), ("alpha__lte", Decimal("0.2"))
                ),
                name="flag_experiments_alpha_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="experiment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("started_at__isnull", True), ("status", "draft")),
                    models.Q(
                        ("started_at__isnull", False), models.Q(("status", "draft"), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="flag_experiments_started",
            ),
        ),
        migrations.AddConstraint(
            model_name="experimentgoal",
            constraint=models.UniqueConstraint(
                fields=("experiment", "position"), name="flag_experiment_goals_position"
            ),
        ),
        migrations.AddConstraint(
            model_name="experimentgoal",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_primary", True)),
                fields=("experiment",),
                name="flag_experiment_goals_primary",
            ),
        ),
        migrations.AddConstraint(
            model_name="experimentgoal",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["conversion", "mean"])),
                name="flag_experiment_goals_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="experimentgoal",
            constraint=models.CheckConstraint(
                condition=models.Q(("window_hours__range", (1, 2160))),
                name="flag_experiment_goals_window",
            ),
        ),
        InstallSQL("flags", "flag_evaluations", digest="230867dc44f86a74"),
        InstallSQL("flags", "flag_exposures", digest="d0b72d97b54d55a3"),
        InstallSQL("flags", "tracked_events", digest="099c2ad4a84baa8c"),
        InstallSQL("flags", "flag_experiments", digest="3a769f79a7653e26"),
    ]
