"""Enterprises (the tenants), their domains, users and API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower, Now
from django_tenants.models import DomainMixin, TenantMixin

from layoverhq.identifiers import UUID7, uuid7
from layoverhq.tenancy import TenantRef

SLUG_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
SCHEMA_PREFIX = "tenant_"


class Plan(models.TextChoices):
    FREE = "free", "Free"
    STARTER = "starter", "Starter"
    BUSINESS = "business", "Business"
    ENTERPRISE = "enterprise", "Enterprise"


class EnterpriseQuerySet(models.QuerySet["Enterprise"]):
    """Filters on enterprises."""

    def living(self) -> EnterpriseQuerySet:
        """Leave out the offboarded."""
        return self.filter(deleted_at__isnull=True)


class Enterprise(TenantMixin):  # type: ignore[misc]
    """A travel enterprise: the tenant."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        SUSPENDED = "suspended", "Suspended"
        OFFBOARDING = "offboarding", "Offboarding"
        OFFBOARDED = "offboarded", "Offboarded"

    class Isolation(models.TextChoices):
        POOLED = "pooled", "Pooled (shared tables)"
        DEDICATED = "dedicated", "Dedicated (own schema for travellers)"

    auto_create_schema = False

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    name = models.CharField(max_length=200)
    slug = models.CharField(
        max_length=50,
        validators=[
            RegexValidator(SLUG_PATTERN, "Use lower-case letters, digits and single hyphens.")
        ],
        help_text="Short name in addresses: lower-case letters, digits, hyphens. Never changes.",
    )
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.ACTIVE)
    subscription_plan = models.CharField(max_length=20, choices=Plan.choices, default=Plan.FREE)
    isolation = models.CharField(
        max_length=20, choices=Isolation.choices, default=Isolation.POOLED, editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = EnterpriseQuerySet.as_manager()

    class Meta:
        db_table = "enterprises"
        ordering: ClassVar[list[str]] = ["name", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["slug"],
                condition=models.Q(deleted_at__isnull=True),
                name="enterprises_slug_living",
                violation_error_message="An enterprise with this slug exists already.",
            ),
            models.CheckConstraint(
                condition=models.Q(slug__regex=SLUG_PATTERN), name="enterprises_slug_shape"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "suspended", "offboarding", "offboarded"]),
                name="enterprises_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(isolation__in=["pooled", "dedicated"]),
                name="enterprises_isolation_known",
            ),
            models.CheckConstraint(
                condition=models.Q(subscription_plan__in=Plan.values),
                name="enterprises_plan_known",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> TenantRef:
        """What a tenant scope needs to know."""
        return TenantRef(self.id, self.schema_name if self.is_dedicated else "")

    @property
    def is_dedicated(self) -> bool:
        return self.isolation == self.Isolation.DEDICATED


class Domain(DomainMixin):  # type: ignore[misc]
    """A host name that belongs to an enterprise."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    # django-tenants calls it tenant; the column has the name that every tenant table has.
    tenant = models.ForeignKey(
        Enterprise, on_delete=models.CASCADE, db_column="enterprise_id", related_name="domains"
    )

    class Meta:
        db_table = "domains"
        ordering: ClassVar[list[str]] = ["domain"]

    def __str__(self) -> str:
        return str(self.domain)


class UserQuerySet(models.QuerySet["User"]):
    """Filters on users."""

    def living(self) -> UserQuerySet:
        """Leave out the deleted."""
        return self.filter(deleted_at__isnull=True)

    def operators(self) -> UserQuerySet:
        """Only the platform's own people."""
        return self.filter(enterprise__isnull=True)


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]
    """Find users by email, in any letter case, among the living."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.living().get(email__iexact=username)  # type: ignore[no-any-return]

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user; without a password nobody can log in as it."""
        user = self.model(email=email.strip(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user  # type: ignore[no-any-return]

    def create_superuser(self, email: str, password: str, **fields: Any) -> User:
        """Create an operator who may do everything."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person: of an enterprise, or an operator, who has none."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    email = models.EmailField(max_length=255)
    name = models.CharField(max_length=200, blank=True)
    enterprise = models.ForeignKey(
        Enterprise,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="users",
        help_text="Leave empty for an operator of the platform.",
    )
    subscription_tier = models.CharField(max_length=50, choices=Plan.choices, default=Plan.FREE)
    api_limits = models.JSONField(default=dict, blank=True)
    preferences = models.JSONField(default=dict, blank=True)
    is_staff = models.BooleanField(
        "may enter the admin", default=False, help_text="Operators only."
    )
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()

    class Meta:
        db_table = "users"
        ordering: ClassVar[list[str]] = ["email", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                Lower("email"),
                condition=models.Q(deleted_at__isnull=True),
                name="users_email_living",
                violation_error_message="A user with this email exists already.",
            ),
            models.CheckConstraint(
                condition=models.Q(is_staff=False) | models.Q(enterprise__isnull=True),
                name="users_staff_are_operators",
                violation_error_message="Only operators, who have no enterprise, enter the admin.",
            ),
            models.CheckConstraint(
                condition=models.Q(is_superuser=False) | models.Q(enterprise__isnull=True),
                name="users_superusers_are_operators",
                violation_error_message="Only operators, who have no enterprise, are superusers.",
            ),
            models.UniqueConstraint(fields=["enterprise", "id"], name="users_enterprise_id_key"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["enterprise", "subscription_tier"],
                condition=models.Q(deleted_at__isnull=True),
                name="idx_users_enterprise_active",
            )
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_operator(self) -> bool:
        return self.enterprise_id is None


class Scope(models.TextChoices):
    """What a key may do."""

    FLIGHTS_READ = "flights:read", "Search flights"
    FLIGHTS_WRITE = "flights:write", "Import private offers"
    LAYOVERS_READ = "layovers:read", "Analyse layovers"
    ACCOUNT_READ = "account:read", "Read the account: enterprise and keys"
    CONFIGS_READ = "configs:read", "Read configuration"
    CONFIGS_WRITE = "configs:write", "Override configuration"
    FLAGS_READ = "flags:read", "Evaluate feature flags"
    EVENTS_WRITE = "events:write", "Report what travellers did, for experiments"
    TRIPS_READ = "trips:read", "Read travellers, saved searches, trips and alerts"
    TRIPS_WRITE = "trips:write", "Change travellers, saved searches, trips and alerts"
    WEBHOOKS_READ = "webhooks:read", "Read webhooks and their deliveries"
    WEBHOOKS_WRITE = "webhooks:write", "Change webhooks, replay deliveries"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Filters on keys."""

    def usable(self, now: datetime) -> ApiKeyQuerySet:
        """Leave out the revoked and the expired."""
        return self.filter(revoked_at__isnull=True).filter(
            models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now)
        )


class ApiKey(models.Model):
    """A key to the API; only the hash of its token is kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, help_text="What the key is for, in your words.")
    prefix = models.CharField(
        max_length=20, editable=False, help_text="How the token begins, to recognise it by."
    )
    key_hash = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=50, choices=Scope.choices))
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        ordering: ClassVar[list[str]] = ["-created_at", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["key_hash"], name="api_keys_key_hash_key"),
            models.UniqueConstraint(fields=["enterprise", "id"], name="api_keys_enterprise_id_key"),
            models.CheckConstraint(
                condition=models.Q(scopes__len__gt=0), name="api_keys_scopes_given"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Offboarding(models.Model):
    """The departure of an enterprise: its export to an archive, then its erasure."""

    class Stage(models.TextChoices):
        EXPORTING = "exporting", "Exporting"
        EXPORTED = "exported", "Exported, waiting for the confirmation to erase"
        ERASING = "erasing", "Erasing"
        ERASED = "erased", "Erased"

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(
        Enterprise, on_delete=models.CASCADE, related_name="offboardings"
    )
    stage = models.CharField(max_length=20, choices=Stage.choices, default=Stage.EXPORTING)
    rows_total = models.BigIntegerField(default=0)
    rows_done = models.BigIntegerField(default=0)
    table_now = models.CharField(max_length=100, blank=True)
    archive = models.CharField(max_length=300, blank=True)
    archive_sha256 = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "offboardings"
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["enterprise"], name="offboardings_one_each")
        ]

    def __str__(self) -> str:
        return f"Offboarding of {self.enterprise}"

    @property
    def percent(self) -> int:
        return round(100 * self.rows_done / self.rows_total) if self.rows_total else 0


class EnterpriseMove(models.Model):
    """A move of an enterprise's travellers between the shared tables and an own schema."""

    class Stage(models.TextChoices):
        QUEUED = "queued", "Queued"
        PREPARING = "preparing", "Making the schema"
        COPYING = "copying", "Copying"
        CLEARING = "clearing", "Moved, dropping the empty schema"
        DONE = "done", "Done"
        CALLED_OFF = "called_off", "Called off: everything stayed where it was"

    OPEN = (Stage.QUEUED, Stage.PREPARING, Stage.COPYING, Stage.CLEARING)

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="moves")
    target = models.CharField("moves to", max_length=20, choices=Enterprise.Isolation.choices)
    stage = models.CharField(max_length=20, choices=Stage.choices, default=Stage.QUEUED)
    reason = models.CharField(max_length=300)
    # Whoever asked for it; operators are nobody's rows, so that no key of a tenant leads to them.
    actor_id = models.UUIDField(null=True, editable=False)
    tables = models.JSONField(
        default=list, help_text="Of each table: its rows, and the checksum that both places had."
    )
    rows_total = models.BigIntegerField(default=0)
    rows_done = models.BigIntegerField(default=0)
    table_now = models.CharField(max_length=100, blank=True)
    attempts = models.IntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    finished_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "enterprise_moves"
        ordering: ClassVar[list[str]] = ["-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise"],
                condition=models.Q(finished_at__isnull=True),
                name="enterprise_moves_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(target__in=["pooled", "dedicated"]),
                name="enterprise_moves_target_known",
            ),
            models.CheckConstraint(
                condition=models.Q(stage__in=["done", "called_off"], finished_at__isnull=False)
                | models.Q(
                    stage__in=["queued", "preparing", "copying", "clearing"],
                    finished_at__isnull=True,
                ),
                name="enterprise_moves_stage_known",
            ),
        ]

    def __str__(self) -> str:
        where = (
            "an own schema" if self.target == Enterprise.Isolation.DEDICATED else "shared tables"
        )
        return f"{self.enterprise} to {where}"

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def percent(self) -> int:
        if self.stage == self.Stage.DONE:
            return 100
        return round(100 * self.rows_done / self.rows_total) if self.rows_total else 0
