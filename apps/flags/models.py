"""Feature flags, and the segments and namespaces that they refer to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Now

from layoverhq.identifiers import UUID7, uuid7

NAME_PATTERN = r"^[a-z][a-z0-9_.-]*$"
BASIS_POINTS = 10_000


class FlagSegment(models.Model):
    """A reusable group: members by name, or whoever meets its conditions."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    name = models.CharField(
        max_length=255,
        validators=[RegexValidator(NAME_PATTERN, "Use small letters, digits, dots, - and _.")],
    )
    description = models.TextField(blank=True, db_default="")
    members = models.JSONField(
        default=list, db_default=[], blank=True, help_text="Texts and numbers."
    )
    conditions = models.JSONField(
        null=True, blank=True, help_text="Whoever meets them belongs to it besides."
    )
    version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta:
        db_table = "flag_segments"
        verbose_name = "segment"
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["name"], name="flag_segments_name_key")
        ]

    def __str__(self) -> str:
        return self.name


class FlagNamespace(models.Model):
    """Buckets that mutually exclusive experiments divide among them; the end is held out."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    name = models.CharField(
        max_length=255,
        validators=[RegexValidator(NAME_PATTERN, "Use small letters, digits, dots, - and _.")],
    )
    description = models.TextField(blank=True, db_default="")
    salt = models.CharField(max_length=100, editable=False)
    holdout = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text="Hundredths of a per cent that no flag of the namespace gets.",
        validators=[MaxValueValidator(BASIS_POINTS)],
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "flag_namespaces"
        verbose_name = "namespace"
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["name"], name="flag_namespaces_name_key"),
            models.CheckConstraint(
                condition=models.Q(holdout__range=(0, BASIS_POINTS)),
                name="flag_namespaces_holdout_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class FeatureFlag(models.Model):
    """A flag as it is obeyed now."""

    class ValueType(models.TextChoices):
        BOOLEAN = "boolean", "Switch"
        STRING = "string", "Text"
        NUMBER = "number", "Number"
        JSON = "json", "JSON"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    name = models.CharField(
        max_length=255,
        validators=[RegexValidator(NAME_PATTERN, "Use small letters, digits, dots, - and _.")],
        help_text="What code asks for; never changes.",
    )
    description = models.TextField(null=True, blank=True)  # noqa: DJ001 - as the guide has it
    enabled = models.BooleanField(default=False, db_default=False)
    rollout_percentage = models.IntegerField(
        default=0,
        db_default=0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Of those who meet the conditions, and whom no rule decides on.",
    )
    conditions = models.JSONField(default=dict, db_default={}, blank=True)
    tenant_overrides = models.JSONField(default=dict, db_default={}, blank=True)
    user_overrides = models.JSONField(default=dict, db_default={}, blank=True)
    value_type = models.CharField(
        max_length=20, choices=ValueType.choices, default="boolean", db_default="boolean"
    )
    # [{"key": …, "value": …}], in the order that people gave them
    variants = models.JSONField(
        default=list,
        db_default=[{"key": "on", "value": True}, {"key": "off", "value": False}],
        blank=True,
    )
    on_variant = models.CharField(max_length=100, default="on", db_default="on")
    off_variant = models.CharField(max_length=100, default="off", db_default="off")
    # {} or {variant: [[low, high), …]} of the flag's own rollout; rules have theirs in `rules`.
    allocations = models.JSONField(default=dict, db_default={}, blank=True)
    # [{"id", "description", "conditions", "rollout", "variant" or "allocations"}], in order
    rules = models.JSONField(default=list, db_default=[], blank=True)
    # [{"flag": name, "variants": [key, …]}]
    prerequisites = models.JSONField(default=list, db_default=[], blank=True)
    bucketing_unit = models.CharField(
        max_length=100,
        default="user",
        db_default="user",
        help_text="The attribute that stays together: user, enterprise, or any other.",
    )
    salt = models.CharField(max_length=100, db_default="", editable=False)
    namespace = models.ForeignKey(
        FlagNamespace, null=True, blank=True, on_delete=models.PROTECT, related_name="flags"
    )
    namespace_low = models.PositiveIntegerField(null=True, blank=True)
    namespace_high = models.PositiveIntegerField(null=True, blank=True)
    is_killed = models.BooleanField(default=False, db_default=False, editable=False)
    kill_reason = models.TextField(blank=True, db_default="", editable=False)
    is_protected = models.BooleanField(
        "protected",
        default=False,
        db_default=False,
        help_text="Every change needs the approval of somebody who did not take part in it.",
    )
    is_archived = models.BooleanField("archived", default=False, db_default=False, editable=False)
    tenant_visible = models.BooleanField(
        default=False, db_default=False, help_text="Whether tenants may ask for it over the API."
    )
    # [{"at": ISO 8601 in UTC, "percentage" and/or "enabled"}], those to come, the next one first.
    steps = models.JSONField(default=list, db_default=[], blank=True)
    next_step_at = models.DateTimeField(null=True, editable=False)
    # Why the next step could not be taken; empty if nothing is wrong.
    step_problem = models.TextField(blank=True, db_default="", editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    expires_date = models.DateField(
        null=True, blank=True, help_text="When the flag should be gone from the code."
    )
    tags = ArrayField(models.CharField(max_length=50), default=list, db_default=[], blank=True)
    version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta:
        db_table = "feature_flags"
        ordering: ClassVar[list[str]] = ["name"]
        permissions: ClassVar[list[tuple[str, Any]]] = [
            ("kill_featureflag", "Can kill and revive flags"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["name"],
                name="feature_flags_name_key",
                violation_error_message="A flag of this name exists already.",
            ),
            models.CheckConstraint(
                condition=models.Q(rollout_percentage__range=(0, 100)),
                name="feature_flags_rollout_percentage_check",
            ),
            models.CheckConstraint(
                condition=models.Q(value_type__in=["boolean", "string", "number", "json"]),
                name="feature_flags_type_known",
            ),
            models.CheckConstraint(
                condition=models.Q(namespace__isnull=True)
                | models.Q(
                    namespace_low__gte=0,
                    namespace_high__lte=BASIS_POINTS,
                    namespace_low__lt=models.F("namespace_high"),
                ),
                name="feature_flags_namespace_range",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["next_step_at"],
                condition=models.Q(next_step_at__isnull=False),
                name="feature_flags_next_step",
            )
        ]

    def __str__(self) -> str:
        return self.name


class FlagVersion(models.Model):
    """A definition of a flag, as it was, is or is to be obeyed; see definitions for its shape.

    Drafts may be edited; from then on it only changes its status.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        IN_REVIEW = "in_review", "In review"
        APPROVED = "approved", "Approved"
        SCHEDULED = "scheduled", "Scheduled"
        ACTIVE = "active", "Active"
        SUPERSEDED = "superseded", "Superseded"
        REJECTED = "rejected", "Rejected"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    flag = models.ForeignKey(FeatureFlag, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(editable=False)
    base_number = models.PositiveIntegerField(
        editable=False, help_text="The version that was obeyed when it was drafted."
    )
    definition = models.JSONField()
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.DRAFT)
    reason = models.TextField()
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    # None of them may approve it.
    edited_by = ArrayField(models.UUIDField(), default=list, db_default=[], editable=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    approved_at = models.DateTimeField(null=True)
    activate_at = models.DateTimeField(null=True)
    activated_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta:
        db_table = "flag_versions"
        verbose_name = "flag version"
        ordering: ClassVar[list[str]] = ["-created_at", "-id"]
        permissions: ClassVar[list[tuple[str, Any]]] = [
            ("approve_flagversion", "Can approve changes of protected flags"),
            ("publish_flagversion", "Can publish, schedule and roll back changes of flags"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["flag", "number"], name="flag_versions_number_key"),
            models.UniqueConstraint(
                fields=["flag"], condition=models.Q(status="active"), name="flag_versions_active"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=[
                        "draft",
                        "in_review",
                        "approved",
                        "scheduled",
                        "active",
                        "superseded",
                        "rejected",
                    ]
                ),
                name="flag_versions_status_known",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["activate_at"],
                condition=models.Q(status="scheduled"),
                name="flag_versions_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.flag} version {self.number}"


class Experiment(models.Model):
    """A comparison of the variants that a rule of a flag, or its own rollout, divides units among.

    Drafts may be edited; from the start on only what came of it is added.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        RUNNING = "running", "Running"
        STOPPED = "stopped", "Stopped"
        SHIPPED = "shipped", "Shipped"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    name = models.CharField(max_length=200)
    hypothesis = models.TextField(
        help_text="What you expect to change, by how much, and why.",
    )
    flag = models.ForeignKey(FeatureFlag, on_delete=models.PROTECT, related_name="experiments")
    # The id of one of the flag's rules; empty: the flag's own rollout.
    rule = models.CharField(max_length=100, blank=True, default="", db_default="")
    control_variant = models.CharField("control", max_length=100)
    alpha = models.DecimalField(
        "error rate",
        max_digits=4,
        decimal_places=3,
        default=Decimal("0.05"),
        validators=[MinValueValidator(Decimal("0.001")), MaxValueValidator(Decimal("0.2"))],
        help_text="How often variants that are alike may be taken for different: 0.05 is 1 in 20.",
    )
    status = models.CharField(
        max_length=20, choices=Status.choices, default=Status.DRAFT, editable=False
    )
    # As they stood at the start: the attribute that is bucketed, and {variant: hundredths of a %}.
    unit = models.CharField(max_length=100, blank=True, default="", db_default="", editable=False)
    split = models.JSONField(default=dict, db_default={}, blank=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    stopped_at = models.DateTimeField(null=True, editable=False)
    decision = models.TextField(blank=True, default="", db_default="", editable=False)
    shipped_variant = models.CharField(
        max_length=100, blank=True, default="", db_default="", editable=False
    )
    shipped_version = models.ForeignKey(
        FlagVersion, null=True, on_delete=models.PROTECT, related_name="+", editable=False
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
    )
    version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta:
        db_table = "flag_experiments"
        ordering: ClassVar[list[str]] = ["-created_at", "-id"]
        permissions: ClassVar[list[tuple[str, Any]]] = [
            ("run_experiment", "Can start and stop experiments and ship winners"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["flag", "rule"],
                condition=models.Q(status="running"),
                name="flag_experiments_running",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["draft", "running", "stopped", "shipped"]),
                name="flag_experiments_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(alpha__gte=Decimal("0.001"), alpha__lte=Decimal("0.2")),
                name="flag_experiments_alpha_range",
            ),
            models.CheckConstraint(
                condition=models.Q(status="draft", started_at__isnull=True)
                | (models.Q(started_at__isnull=False) & ~models.Q(status="draft")),
                name="flag_experiments_started",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ExperimentGoal(models.Model):
    """What an experiment counts of a unit, within a window after it met its variant."""

    class Kind(models.TextChoices):
        CONVERSION = "conversion", "Whether it happened"
        MEAN = "mean", "Sum of the values"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="goals")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    # A reported event's name, or `api:` and the name of a route.
    event = models.CharField(max_length=100)
    window_hours = models.PositiveIntegerField(help_text="After the unit met its variant.")
    is_primary = models.BooleanField(default=False, db_default=False)

    class Meta:
        db_table = "flag_experiment_goals"
        verbose_name = "goal"
        ordering: ClassVar[list[str]] = ["position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["experiment", "position"], name="flag_experiment_goals_position"
            ),
            models.UniqueConstraint(
                fields=["experiment"],
                condition=models.Q(is_primary=True),
                name="flag_experiment_goals_primary",
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=["conversion", "mean"]),
                name="flag_experiment_goals_kind_known",
            ),
            models.CheckConstraint(
                condition=models.Q(window_hours__range=(1, 2160)),
                name="flag_experiment_goals_window",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.event}"
