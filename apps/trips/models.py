"""Travellers: shared tables for pooled enterprises, an own schema for dedicated ones."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from apps.tenants.models import Enterprise
from layoverhq.identifiers import UUID7, uuid7


class Traveller(models.Model):
    """A person whom an enterprise books for."""

    id = models.UUIDField(primary_key=True, default=uuid7, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    reference = models.CharField(max_length=100, help_text="The enterprise's own identifier.")
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "travellers"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["enterprise", "reference"], name="travellers_reference_key"
            ),
            models.UniqueConstraint(fields=["enterprise", "id"], name="travellers_enterprise_key"),
        ]

    def __str__(self) -> str:
        return self.name
