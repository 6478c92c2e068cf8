"""Storefronts for tests: a host of the test's own, opened by the flag as operators do."""

from __future__ import annotations

import io
from typing import Any

from django.test import Client
from PIL import Image

from apps.flags.models import FeatureFlag
from apps.flags.operations import amend_flag, set_override
from apps.storefront.operations import add_domain
from apps.storefront.sites import FLAG, Site, sites
from apps.tenants.models import Enterprise
from layoverhq.tenancy import operator_scope
from tests.kernel.test_snapshot import until
from tests.tenants.factories import make_enterprise, unique

REASON = "as the test wants it"


def switch(enterprise: Enterprise, *, on: bool | None) -> None:
    """Give the enterprise its own answer of the flag, which is on for nobody else."""
    with operator_scope():
        flag = FeatureFlag.objects.get(name=FLAG)
        if not flag.enabled:
            changes = {"enabled": True, "rollout_percentage": 0}
            amend_flag(flag=flag, changes=changes, reason=REASON, actor=None)
        set_override(flag=flag, kind="tenant", of=enterprise.pk, to=on, reason=REASON, actor=None)


def give_host(enterprise: Enterprise) -> str:
    """Give the enterprise a host name that this process knows already."""
    host = f"{unique('travel')}.localhost"
    with operator_scope():
        add_domain(enterprise=enterprise, host=host)
    until(lambda: host in sites.get())
    return host


def site_at(host: str) -> Site:
    return sites.get()[host]


def open_site(enterprise: Enterprise | None = None) -> str:
    """Open a storefront, of an enterprise of its own if none is given; returns its host."""
    enterprise = enterprise or make_enterprise()
    host = give_host(enterprise)
    switch(enterprise, on=True)
    until(lambda: site_at(host).is_open)
    return host


def visitor(host: str, **headers: str) -> Client:
    """Return a client that asks this host."""
    return Client(headers={"Host": host, **headers})


def picture(size: tuple[int, int] = (120, 40), kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file holds it."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "#2266aa").save(buffer, kind, **options)
    return buffer.getvalue()
