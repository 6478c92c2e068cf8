"""Runtime configuration: keys are declared, their values are versions, versions change in sets."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Now

from apps.tenants.models import Enterprise
from layoverhq.identifiers import UUID7, uuid7

KEY_PATTERN = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$"
UNIT_KEYWORD = "x-unit"


class ValueType(models.TextChoices):
    STRING = "string", "Text"
    NUMBER = "number", "Number"
    BOOLEAN = "boolean", "Switch"
    JSON = "json", "JSON object"
    ARRAY = "array", "List"


class ConfigCategory(models.Model):
    """A kind of keys; values of a protected one need a second person."""

    name = models.CharField(primary_key=True, max_length=100)
    description = models.TextField(blank=True)
    is_protected = models.BooleanField(
        "protected",
        default=False,
        help_text="Every change needs the approval of somebody who did not take part in it.",
    )

    class Meta:
        db_table = "config_categories"
        verbose_name_plural = "config categories"
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name


class ConfigKey(models.Model):
    """The declaration of a key: what its values may be, and what holds until it has one."""

    key = models.CharField(
        primary_key=True,
        max_length=255,
        validators=[
            RegexValidator(
                KEY_PATTERN, "Use lower-case words with dots between, such as layover.min_duration."
            )
        ],
        help_text="Lower-case words with dots between; never changes.",
    )
    value_type = models.CharField(max_length=50, choices=ValueType.choices)
    schema = models.JSONField(
        default=dict,
        blank=True,
        help_text="JSON Schema (draft 2020-12) that every value satisfies; “x-unit” is shown.",
    )
    default_value = models.JSONField(
        "default", null=True, blank=True, help_text="What holds where nobody has set a value."
    )
    description = models.TextField(help_text="What it does, in a sentence for operators.")
    category = models.ForeignKey(
        ConfigCategory, on_delete=models.PROTECT, db_column="category", related_name="keys"
    )
    requires_restart = models.BooleanField(
        default=False, help_text="Processes keep the value that they started with."
    )
    is_secret = models.BooleanField(
        "secret", default=False, help_text="Stored sealed and shown to nobody without a reason."
    )
    tenant_visible = models.BooleanField(
        "visible to tenants", default=False, help_text="Tenants read it over the API."
    )
    tenant_overridable = models.BooleanField(
        "tenants may override", default=False, help_text="Tenants set it for themselves by the API."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "config_keys"
        verbose_name = "config key"
        ordering: ClassVar[list[str]] = ["key"]
        permissions: ClassVar[list[tuple[str, Any]]] = [
            ("reveal_secret", "Can reveal secret values"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(key__regex=KEY_PATTERN), name="config_keys_key_shape"
            ),
            models.CheckConstraint(
                condition=models.Q(value_type__in=ValueType.values), name="config_keys_type_known"
            ),
            models.CheckConstraint(
                condition=models.Q(is_secret=False) | models.Q(default_value__isnull=True),
                name="config_keys_secret_without_default",
                violation_error_message="A secret has no default: it would stand there unsealed.",
            ),
            models.CheckConstraint(
                condition=models.Q(tenant_overridable=False) | models.Q(tenant_visible=True),
                name="config_keys_overridable_is_visible",
                violation_error_message="What tenants may override they must be able to see.",
            ),
            models.CheckConstraint(
                condition=models.Q(requires_restart=False) | models.Q(tenant_overridable=False),
                name="config_keys_restart_is_global",
                violation_error_message="What needs a restart is the platform's alone.",
            ),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def unit(self) -> str:
        """What the values are counted in; empty where they are not."""
        return str(self.schema.get(UNIT_KEYWORD, "")) if isinstance(self.schema, dict) else ""


class ConfigChangeSet(models.Model):
    """Values that change together: drafted, reviewed, and published at once or not at all."""

    class Stage(models.TextChoices):
        DRAFT = "draft", "Draft"
        IN_REVIEW = "in_review", "In review"
        APPROVED = "approved", "Approved"
        SCHEDULED = "scheduled", "Scheduled"
        STAGED = "staged", "Released to some tenants"
        PUBLISHED = "published", "Published"
        ROLLED_BACK = "rolled_back", "Rolled back"
        REJECTED = "rejected", "Rejected"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    title = models.CharField(max_length=200)
    reason = models.TextField(help_text="Why; kept with every version and in the audit log.")
    stage = models.CharField(max_length=20, choices=Stage.choices, default=Stage.DRAFT)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    edited_by = ArrayField(
        models.UUIDField(),
        default=list,
        db_default=[],
        editable=False,
        help_text="Who changed it after it was drafted; none of them may approve it.",
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    approved_at = models.DateTimeField(null=True)
    activate_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    release_percentage = models.PositiveSmallIntegerField(
        null=True, validators=[MinValueValidator(0), MaxValueValidator(100)]
    )
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "config_change_sets"
        verbose_name = "change set"
        ordering: ClassVar[list[str]] = ["-created_at", "-id"]
        permissions: ClassVar[list[tuple[str, Any]]] = [
            ("approve_configchangeset", "Can approve change sets"),
            ("publish_configchangeset", "Can publish, schedule and roll back change sets"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(
                    stage__in=[
                        "draft",
                        "in_review",
                        "approved",
                        "scheduled",
                        "staged",
                        "published",
                        "rolled_back",
                        "rejected",
                    ]
                ),
                name="config_change_sets_stage_known",
            ),
            models.CheckConstraint(
                condition=models.Q(release_percentage__isnull=True)
                | models.Q(release_percentage__range=(0, 100)),
                name="config_change_sets_percentage",
            ),
            models.CheckConstraint(
                condition=models.Q(expires_at__isnull=True)
                | models.Q(activate_at__isnull=True)
                | models.Q(expires_at__gt=models.F("activate_at")),
                name="config_change_sets_times_in_order",
                violation_error_message="It would expire before it is activated.",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["stage", "activate_at"], name="config_change_sets_due")
        ]

    def __str__(self) -> str:
        return self.title


class SystemConfigQuerySet(models.QuerySet["SystemConfig"]):
    """Filters on versions."""

    def of(self, key: str, enterprise_id: Any) -> SystemConfigQuerySet:
        """Return the versions of one key at one level: a tenant's, or the platform's (None)."""
        if enterprise_id is None:
            return self.filter(config_key_id=key, enterprise__isnull=True)
        return self.filter(config_key_id=key, enterprise_id=enterprise_id)


class SystemConfig(models.Model):
    """One version of a key's value, for the platform or for one tenant; never rewritten.

    An `unset` version says that there is no value at this level from then on.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        SCHEDULED = "scheduled", "Scheduled"
        STAGED = "staged", "Released to some tenants"
        ACTIVE = "active", "Active"
        SUPERSEDED = "superseded", "Superseded"
        REJECTED = "rejected", "Rejected"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    # Every index of the table begins with the key: one of the key alone would be taken for its
    # being small, and numbering a version would read all of the key's.
    config_key = models.ForeignKey(
        ConfigKey,
        on_delete=models.PROTECT,
        db_column="key",
        db_index=False,
        related_name="versions",
    )
    value = models.JSONField()
    # As declared when the version came to be: the database fills these in, and its number.
    value_type = models.CharField(max_length=50, editable=False)
    description = models.TextField(null=True, editable=False)  # noqa: DJ001 - as the guide has it
    category = models.CharField(max_length=100, editable=False)
    requires_restart = models.BooleanField(default=False, editable=False)
    is_secret = models.BooleanField(default=False, editable=False)
    enterprise = models.ForeignKey(
        Enterprise,
        null=True,
        on_delete=models.CASCADE,
        db_column="tenant_id",
        related_name="configs",
    )
    unset = models.BooleanField(default=False, db_default=False)
    status = models.CharField(
        max_length=20, choices=Status.choices, default=Status.DRAFT, db_default=Status.ACTIVE
    )
    is_active = models.GeneratedField(
        expression=models.Q(status="active"),  # type: ignore[arg-type]  # the stubs lack Q
        output_field=models.BooleanField(),
        db_persist=True,
    )
    version = models.IntegerField(default=1, editable=False)
    base_version = models.IntegerField(
        default=0, db_default=0, help_text="The active version that the editor saw; 0 for none."
    )
    change_set = models.ForeignKey(
        ConfigChangeSet, null=True, on_delete=models.PROTECT, related_name="items"
    )
    release_percentage = models.PositiveSmallIntegerField(null=True)
    reason = models.TextField(blank=True, db_default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        db_column="created_by",
        related_name="+",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())
    activated_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    objects = SystemConfigQuerySet.as_manager()

    class Meta:
        db_table = "system_configs"
        verbose_name = "config version"
        ordering: ClassVar[list[str]] = ["config_key", "enterprise", "-version"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(
                    status__in=[
                        "draft",
                        "scheduled",
                        "staged",
                        "active",
                        "superseded",
                        "rejected",
                    ]
                ),
                name="system_configs_status_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.config_key_id} version {self.version}"


class ConfigReleaseTenant(models.Model):
    """A tenant that a staged release reaches by name."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    change_set = models.ForeignKey(
        ConfigChangeSet, on_delete=models.CASCADE, related_name="release_tenants"
    )

    class Meta:
        db_table = "config_release_tenants"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["change_set", "enterprise"], name="config_release_tenants_key"
            )
        ]

    def __str__(self) -> str:
        return str(self.enterprise_id)
