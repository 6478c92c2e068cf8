"""Whether a connection holds: the minimum that an airport asks for, and the delays it bears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from apps.layovers.delays import SOURCE, arrival_delays

# Where no airport says otherwise.
MINIMUM_MINUTES: Final = 45
MINIMUM_BORDER_MINUTES: Final = 90


@dataclass(frozen=True, slots=True)
class Connection:
    """What a layover leaves for a late arrival: minutes, and the share of flights within them."""

    minimum_minutes: int
    spare_minutes: int
    share: float
    is_pooled: bool

    @property
    def is_feasible(self) -> bool:
        return self.spare_minutes >= 0

    def document(self) -> dict[str, Any]:
        return {
            "minimum_minutes": self.minimum_minutes,
            "spare_minutes": self.spare_minutes,
            "share_on_time": round(self.share, 3) if self.is_feasible else None,
            "basis": "all_airports" if self.is_pooled else "airport",
            "source": SOURCE,
        }


def connection(*, airport: str, gap_minutes: int, crosses_border: bool) -> Connection:
    """Return how safe it is to change flights within the gap."""
    minimum = MINIMUM_BORDER_MINUTES if crosses_border else MINIMUM_MINUTES
    spare = gap_minutes - minimum
    delays = arrival_delays(airport)
    return Connection(minimum, spare, delays.share_within(spare), delays.pooled)
