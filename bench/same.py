"""The peers of answering many flags: the same bytes, read from a file once."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.tenants.models import Scope


@cache
def answer() -> bytes:
    """Return what the benchmark has left there."""
    return Path(os.environ["VAR_DIR"], "answer.json").read_bytes()


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    """Answer it to anybody, and read nothing."""
    return HttpResponse(answer(), content_type="application/json")


class KnownView(APIView):
    """Answer it to whoever has a key with the scope, with the body read."""

    required_scope = Scope.FLAGS_READ

    def post(self, request: Request) -> HttpResponse:
        assert request.data
        return HttpResponse(answer(), content_type="application/json")
