#!/usr/bin/env python
"""Run Django's and the project's commands."""

import os
import sys

from layoverhq.environment import EnvironmentProblem


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "layoverhq.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except EnvironmentProblem as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main()
