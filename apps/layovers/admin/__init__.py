"""Layovers as operators see them."""

from apps.layovers.admin import analyses, experiences, weather

__all__ = ["analyses", "experiences", "weather"]
