"""Whether a connection holds: the minimum that an airport asks for, and the delays it bears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from apps.flights.connection_times import connection_times
from apps.flights.delays import on_time_share

SOURCE: Final = "US Bureau of Transportation Statistics, on-time sample"


@dataclass(frozen=True, slots=True)
class Connection:
    """What a layover leaves for a late arrival: minutes, and the share of flights within them.

    `is_nationwide` means that the delays are the nation's, as the airport has none of its own.
    """

    minimum_minutes: int
    spare_minutes: int
    share: float
    is_nationwide: bool

    @property
    def is_feasible(self) -> bool:
        return self.spare_minutes >= 0

    def document(self) -> dict[str, Any]:
        return {
            "minimum_minutes": self.minimum_minutes,
            "spare_minutes": self.spare_minutes,
            "share_on_time": round(self.share, 3) if self.is_feasible else None,
            "basis": "nation" if self.is_nationwide else "airport",
            "source": SOURCE,
        }


def connection(*, airport: str, gap_minutes: int, enters: bool, leaves: bool) -> Connection:
    """Return how safe it is to change flights within the gap.

    `enters` and `leaves` say whether the flight before, and the next one, cross a border.
    """
    (minimum,) = connection_times.get().minutes(
        airport=[airport],
        kind=["DI"[enters] + "DI"[leaves]],
        arriving_carrier=[None],
        departing_carrier=[None],
        terminals=[None],
    )
    spare = gap_minutes - int(minimum)
    on_time = on_time_share(airport, spare)
    return Connection(int(minimum), spare, on_time.share, on_time.is_nationwide)
