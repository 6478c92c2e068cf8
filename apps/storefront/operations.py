"""Every change to a storefront: its brand is configuration, published as one change set."""

from __future__ import annotations

from collections.abc import Mapping

from apps.configs.models import ConfigChangeSet, ConfigKey
from apps.configs.operations import (
    UNSET,
    Proposal,
    active_versions,
    draft_change_set,
    publish_change_set,
)
from apps.configs.values import Declaration, fault_of
from apps.storefront.branding import KEYS, LOGO
from apps.storefront.images import draw
from apps.storefront.models import StorefrontImage
from apps.tenants.models import Domain, Enterprise, User
from layoverhq.errors import Conflict, FieldError, InvalidInput
from layoverhq.hosts import is_platforms
from layoverhq.tenancy import atomic


def save_brand(
    *,
    enterprise: Enterprise,
    values: Mapping[str, str],
    logo: bytes | None = None,
    reason: str,
    actor: User | None,
) -> ConfigChangeSet | None:
    """Set the enterprise's own values of these keys, or clear them (an empty text), all at once.

    `logo` is an uploaded image: it is stored, and `storefront.logo` names it. Returns the change
    set that was published, None where nothing would change. Raises InvalidInput that names each
    faulty key, and NeedsApproval where an operator has protected the keys' category.
    """
    with atomic():
        wanted = dict(values)
        if logo is not None:
            wanted[LOGO] = store_image(enterprise=enterprise, uploaded=logo).digest
        _refuse_faulty(wanted)
        standing = active_versions((key, enterprise.pk) for key in wanted)
        proposals = []
        for key, value in wanted.items():
            version = standing.get((key, enterprise.pk))
            held = version.value if version and not version.unset else ""
            if value != held:
                proposals.append(Proposal(key, value or UNSET, enterprise))
        if not proposals:
            return None
        drafted = draft_change_set(
            title=f"Storefront of {enterprise}"[:200],
            reason=reason,
            proposals=proposals,
            actor=actor,
        )
        return publish_change_set(change_set=drafted)


def _refuse_faulty(values: Mapping[str, str]) -> None:
    declared = ConfigKey.objects.in_bulk(list(values))
    errors = []
    for key, value in values.items():
        if key not in KEYS:
            errors.append(FieldError(key, "unknown", "Is no key of a storefront's."))
        elif value and (fault := fault_of(Declaration.of(declared[key]), value)):
            errors.append(FieldError(key, fault.code, fault.detail))
    if errors:
        raise InvalidInput(errors)


def store_image(*, enterprise: Enterprise, uploaded: bytes) -> StorefrontImage:
    """Keep an uploaded picture, drawn anew; the same one is kept once.

    Raises InvalidInput that names `storefront.logo`.
    """
    drawn = draw(uploaded, field=LOGO)
    with atomic():
        StorefrontImage.objects.bulk_create(
            [
                StorefrontImage(
                    enterprise=enterprise,
                    digest=drawn.digest,
                    width=drawn.width,
                    height=drawn.height,
                    content=drawn.content,
                )
            ],
            ignore_conflicts=True,
        )
        return StorefrontImage.objects.defer("content").get(
            enterprise=enterprise, digest=drawn.digest
        )


def add_domain(*, enterprise: Enterprise, host: str) -> Domain:
    """Give the enterprise a host name; the first one is its primary.

    Raises InvalidInput for the platform's own host, and Conflict for one that is taken.
    """
    host = host.strip().lower().rstrip(".")
    if is_platforms(host):
        raise InvalidInput.of("domain", "This is the platform's own host.", code="reserved")
    with atomic():
        taken = Domain.objects.select_related("tenant").filter(domain=host).first()
        if taken is not None:
            raise Conflict(f"{host} belongs to {taken.tenant} already.")
        is_primary = not Domain.objects.filter(tenant=enterprise).exists()
        domain: Domain = Domain.objects.create(
            tenant=enterprise, domain=host, is_primary=is_primary
        )
        return domain
