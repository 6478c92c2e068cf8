"""Reads of the storefront's own tables."""

from __future__ import annotations

from apps.storefront.models import StorefrontImage
from layoverhq.tenancy import TenantRef, tenant_scope


def image_content(tenant: TenantRef, digest: str) -> bytes | None:
    """Return the tenant's image of that digest as PNG, None where it has none such."""
    with tenant_scope(tenant):
        content = (
            StorefrontImage.objects.filter(enterprise_id=tenant.id, digest=digest)
            .values_list("content", flat=True)
            .first()
        )
    return None if content is None else bytes(content)
