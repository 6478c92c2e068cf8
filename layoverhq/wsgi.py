"""The WSGI application: API, admin and docs."""

import os
import sys

from django.core.wsgi import get_wsgi_application

from layoverhq.environment import EnvironmentProblem

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "layoverhq.settings")

try:
    application = get_wsgi_application()
    from layoverhq import processes
    from layoverhq.startup import verify

    processes.be("web")
    verify()
except EnvironmentProblem as problem:
    sys.exit(f"error: {problem}")
