"""The audit trail as Django reads it; only the database's triggers write it."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Filters on the trail, newest first."""

    def about(self, table_name: str, row_id: Any) -> AuditEventQuerySet:
        """Return the events of one row."""
        return self.filter(table_name=table_name, row_id=str(row_id))


class AuditEvent(models.Model):
    """One row of a table gained, changed or lost."""

    class Operation(models.TextChoices):
        INSERT = "INSERT", "added"
        UPDATE = "UPDATE", "changed"
        DELETE = "DELETE", "deleted"
        TRUNCATE = "TRUNCATE", "emptied"
        READ = "READ", "read"

    # The table's key is (id, at), as its partitions need; ids alone are unique by uuidv7.
    id = models.UUIDField(primary_key=True, editable=False)
    at = models.DateTimeField()
    table_name = models.TextField("table")
    operation = models.TextField(choices=Operation.choices)
    row_id = models.TextField("row", null=True)  # noqa: DJ001 - TRUNCATE has none
    changed_columns = ArrayField(models.TextField(), default=list)
    old_values = models.JSONField(null=True)
    new_values = models.JSONField(null=True)
    user_id = models.UUIDField(null=True)
    enterprise_id = models.UUIDField(null=True)
    ip_address = models.GenericIPAddressField("IP address", null=True)
    user_agent = models.TextField(null=True)  # noqa: DJ001 - unknown outside of requests
    request_id = models.TextField(null=True)  # noqa: DJ001 - likewise
    reason = models.TextField(null=True)  # noqa: DJ001 - likewise
    database_role = models.TextField()

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        db_table = "audit_log"
        verbose_name = "audit event"

    def __str__(self) -> str:
        return f"{self.table_name} {self.get_operation_display()} at {self.at:%Y-%m-%d %H:%M:%S}"
