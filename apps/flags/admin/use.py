"""What is made of a flag: its evaluations by variant, the code that asks for it, what is stale."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.decorators import action

from apps.flags.admin.verbs import flag_url
from apps.flags.counts import chart, evaluation_counts, evaluation_reasons
from apps.flags.models import FeatureFlag
from apps.flags.queries import readers
from apps.flags.staleness import stale_flags
from layoverhq.model_admin import PageTab

COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#64748b", "#4d7c0f")
SPANS: dict[str, tuple[str, timedelta, Any]] = {
    "day": ("24 hours", timedelta(hours=24), "hour"),
    "month": ("30 days", timedelta(days=30), "day"),
    "year": ("a year", timedelta(days=365), "day"),
}
OPTIONS = {
    "responsive": True,
    "maintainAspectRatio": False,
    "animation": False,
    "scales": {"x": {"stacked": True}, "y": {"stacked": True, "beginAtZero": True}},
    "plugins": {"legend": {"display": True, "position": "bottom"}},
}


class UseTab(PageTab):
    """How often it answered what, and who asks."""

    model = FeatureFlag
    model_name = "use"
    title = "Evaluations"
    template_name = "admin/flags/tab_use.html"

    def context(self) -> dict[str, Any]:
        flag = FeatureFlag.objects.get(pk=self.object_id)
        chosen = self.request.GET.get("span", "")
        chosen = chosen if chosen in SPANS else "day"
        words, span, step = SPANS[chosen]
        until = timezone.now()
        since = until - span
        counts = evaluation_counts(flag.name, since=since, until=until, step=step)
        drawn = chart(counts, since=since, until=until, step=step)
        places = {variant["key"]: number for number, variant in enumerate(flag.variants)}
        for dataset in drawn["datasets"]:
            place = places.get(dataset["label"], len(COLOURS) - 1)
            dataset["backgroundColor"] = COLOURS[place % len(COLOURS)]
        return {
            "flag": flag,
            "spans": [(name, SPANS[name][0], name == chosen) for name in SPANS],
            "words": words,
            "chart": json.dumps(drawn),
            "options": json.dumps(OPTIONS),
            "total": sum(count.hits for count in counts),
            "reasons": evaluation_reasons(flag.name, since=since, until=until),
            "readers": readers().get(flag.name, []),
        }


class StalePage:
    """The report of flags that the code may be rid of."""

    admin_site: Any
    opts: Any
    changelist_url: Any

    @action(
        description="Stale flags", permissions=["view"], icon="cleaning_services", url_path="stale"
    )
    def stale_report(self, request: HttpRequest) -> HttpResponse:
        """List them with what speaks for removing each."""
        found = [(stale, flag_url(stale.flag.pk)) for stale in stale_flags(timezone.now())]
        return TemplateResponse(
            request,
            "admin/flags/stale.html",
            {
                **self.admin_site.each_context(request),
                "title": "Stale flags",
                "opts": self.opts,
                "found": found,
                "changelist_url": self.changelist_url(),
            },
        )
