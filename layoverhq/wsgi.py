"""The WSGI application: API, admin and docs."""

import os
import sys

from django.core.wsgi import get_wsgi_application

from layoverhq.environment import EnvironmentProblem

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "layoverhq.settings")

try:
    application = get_wsgi_application()
    from layoverhq import processes, snapshot
    from layoverhq.startup import verify

    processes.be("web")
    verify()
    # What holds until a restart is what held at the start, and not at some first request.
    snapshot.load_all()
except EnvironmentProblem as problem:
    sys.exit(f"error: {problem}")
