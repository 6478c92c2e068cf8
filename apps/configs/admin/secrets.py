"""The page of the key ring: which key sealed how many secrets, and sealing them anew."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.decorators import action

from apps.configs.operations import seal_counts
from layoverhq.admin_site import go_to
from layoverhq.model_admin import enqueue
from layoverhq.sealing import CannotSeal, key_names, sealing_key

ROTATE = "apps.configs.tasks.rotate_secrets"


class SecretPages:
    """Pages for the admin of keys."""

    admin_site: Any
    opts: Any

    def has_rotate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("configs.reveal_secret")

    @action(description="Secrets", permissions=["rotate"], icon="encrypted", url_path="secret-keys")
    def secret_keys(self, request: HttpRequest) -> HttpResponse:
        """Show the ring and, after a POST, queue the re-sealing; the page follows by itself."""
        if not self.has_rotate_permission(request):
            raise PermissionDenied
        try:
            first, fault = sealing_key(), ""
        except CannotSeal as error:
            first, fault = "", str(error)
        counts = seal_counts()
        old = sum(number for name, number in counts.items() if name != first)
        if request.method == "POST" and first:
            enqueue(ROTATE)
            messages.success(request, f"Queued the re-sealing of {old:,} secrets.")
            return go_to(request, f"{request.path}?follow=1")
        known = key_names()
        return TemplateResponse(
            request,
            "admin/configs/secret_keys.html",
            {
                **self.admin_site.each_context(request),
                "title": "Secrets",
                "opts": self.opts,
                "fault": fault,
                "rows": [
                    {
                        "name": name,
                        "number": counts.get(name, 0),
                        "first": name == first,
                        "known": name in known,
                    }
                    for name in sorted({*known, *counts}, key=lambda name: (name != first, name))
                ],
                "old": old,
                "done": sum(counts.values()) - old,
                "total": sum(counts.values()),
                "follow": "follow" in request.GET and old > 0,
            },
        )
