"""The admin composed: what no app of ours owns, and what spans all of them."""

from layoverhq.admin.access import GroupAdmin
from layoverhq.admin.schedules import PeriodicTaskAdmin

__all__ = ["GroupAdmin", "PeriodicTaskAdmin"]
