from __future__ import annotations

import json
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from apps.flags.models import FeatureFlag
from apps.flags.operations import amend_flag, set_override
from apps.flights.models import EnterpriseFlight
from apps.flights.operations import load_negotiated_demo_offers, roll_demo_horizon
from apps.storefront import branding
from apps.storefront.operations import add_domain, save_brand
from apps.storefront.sites import FLAG
from apps.tenants.directory import token_hash
from apps.tenants.models import ApiKey, Domain, Enterprise, Plan, Scope, User
from apps.tenants.operations import (
    create_operator,
    issue_api_key,
    onboard_enterprise,
    revoke_api_keys,
    set_password,
)
from layoverhq import environment
from layoverhq.stack.files import write_private_json
from layoverhq.startup import verify
from layoverhq.tenancy import atomic, operator_scope

SLUG = "acme"
KEY_NAME = "Demo"
HOST = f"{SLUG}.localhost"
REASON = "demo seed"
LOGO = Path(settings.BASE_DIR) / "apps" / "storefront" / "data" / "demo_logo.png"
BRAND = {
    branding.NAME: "Acme Travel",
    branding.PRIMARY: "#0f5c5c",
    branding.ACCENT: "#e86a46",
    branding.TAGLINE: "A city between two flights",
}


class Command(BaseCommand):
    help = "Seed an operator, a demo enterprise with a key, and the demo network; idempotent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000")
        parser.add_argument("--stream-url", default="http://127.0.0.1:8100")
        parser.add_argument(
            "--release", action="store_true", help="bring the database to this release first"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["release"]:
            call_command("release", verbosity=options["verbosity"])
        verify()
        path = Path(settings.VAR_DIR) / "access.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        email = environment.read("ADMIN_EMAIL") or "admin@layoverhq.localhost"
        with operator_scope(reason=REASON):
            password = self._operator(email, known.get("admin_password"))
            enterprise, token = self.demo_key(known.get("api_key"))
            self.demo_storefront(enterprise)
            roll_demo_horizon(progress=sys.stderr)
            # Rolling the horizon gives new days' offers to whoever has some.
            if not EnterpriseFlight.objects.filter(enterprise=enterprise).exists():
                load_negotiated_demo_offers(enterprise=enterprise)
        url = options["url"]
        events_url = f"{options['stream_url']}/api/v1/events"
        day = timezone.now().date() + timedelta(days=3)
        write_private_json(
            path,
            {
                "url": url,
                "events_url": events_url,
                "storefront_url": url.replace("127.0.0.1", HOST),
                "admin_url": f"{url}/admin/",
                "admin_email": email,
                "admin_password": password,
                "api_key": token,
                "curl": (
                    f"curl -sG {url}/api/v1/flights/search -H 'Authorization: Bearer {token}'"
                    f" -d origin=SFO -d destination=JFK -d departure_date={day}"
                    " -d layover=8h..20h -d limit=3"
                ),
                "curl_events": f"curl -N {events_url} -H 'Authorization: Bearer {token}'",
            },
        )

    def _operator(self, email: str, password: str | None) -> str:
        """Make the first operator; a lost password is replaced, one that works is kept."""
        user = User.objects.living().filter(email__iexact=email).first()
        if user is not None and password and user.check_password(password):
            return password
        password = secrets.token_urlsafe(15)
        if user is None:
            create_operator(email=email, password=password, superuser=True)
        else:
            set_password(user=user, password=password)
        return password

    def demo_storefront(self, enterprise: Enterprise) -> None:
        """Open the demo enterprise's pages, once: afterwards they are the operators'."""
        if Domain.objects.filter(domain=HOST).exists():
            return
        with atomic():
            add_domain(enterprise=enterprise, host=HOST)
            save_brand(
                enterprise=enterprise,
                values=BRAND,
                logo=LOGO.read_bytes(),
                reason=REASON,
                actor=None,
            )
            flag = FeatureFlag.objects.get(name=FLAG)
            if not flag.enabled:
                # On for nobody but those with an answer of their own.
                on = {"enabled": True, "rollout_percentage": 0}
                amend_flag(flag=flag, changes=on, reason=REASON, actor=None)
            set_override(
                flag=flag, kind="tenant", of=enterprise.pk, to=True, reason=REASON, actor=None
            )

    def demo_key(self, token: str | None) -> tuple[Enterprise, str]:
        """Return the demo enterprise and the token of a key of its that may do everything."""
        enterprise = Enterprise.objects.living().filter(slug=SLUG).first()
        if enterprise is None:
            enterprise = onboard_enterprise(
                name="Acme Travel", slug=SLUG, subscription_plan=Plan.BUSINESS
            )
        usable = ApiKey.objects.usable(timezone.now()).filter(enterprise=enterprise)
        # A key from before an update may lack a scope that it has brought.
        whole = usable.filter(scopes__contains=Scope.values)
        if token and whole.filter(key_hash=token_hash(token)).exists():
            return enterprise, token
        with atomic():
            revoke_api_keys(keys=usable.filter(name=KEY_NAME))
            return enterprise, issue_api_key(
                enterprise=enterprise, name=KEY_NAME, scopes=Scope.values
            ).token
