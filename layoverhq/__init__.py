"""The kernel: what every app stands on, and what composes them."""

from layoverhq.celery import app as celery_app

__all__ = ["celery_app"]
