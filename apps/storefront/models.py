"""Storefronts: an enterprise as travellers meet it, and the images that it shows."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from apps.tenants.models import Enterprise
from layoverhq.identifiers import UUID7


class Storefront(Enterprise):
    """An enterprise by its public pages; what they show is configuration."""

    class Meta:
        proxy = True
        verbose_name = "storefront"
        default_permissions = ("view", "change")


class StorefrontImage(models.Model):
    """An image of an enterprise's; it never changes, and the configuration names it by digest."""

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.CASCADE, related_name="+")
    digest = models.TextField(help_text="SHA-256 of the content.")
    width = models.IntegerField(help_text="In pixels.")
    height = models.IntegerField(help_text="In pixels.")
    content = models.BinaryField(help_text="PNG.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "storefront_images"
        default_permissions = ()
        ordering: ClassVar[list[str]] = ["-id"]

    def __str__(self) -> str:
        return f"{self.width} × {self.height}, {self.digest[:12]}"
