"""Minimum connection times as CSV: the lines that an import reads and an export writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

from apps.flights.models import MinimumConnectionTime

COLUMNS: Final = (
    "airport", "kind", "arriving_carrier", "departing_carrier", "arriving_terminal",
    "departing_terminal", "minutes", "source",
)  # fmt: skip
MAXIMUM_LINES: Final = 20_000

Rows = list[tuple[int, MinimumConnectionTime]]


def read_connection_times(text: str) -> tuple[Rows, list[str]]:
    """Return the rows of a CSV with their lines, and the faults of its form."""
    if "\x00" in text:
        return [], ["The file holds NUL bytes."]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: Rows = []
    faults: list[str] = []
    header = False
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row):
                continue
            if not header:
                header = True
                if tuple(row) != COLUMNS:
                    return [], [f"line 1: give the columns {','.join(COLUMNS)}."]
                continue
            if len(row) != len(COLUMNS):
                faults.append(
                    f"line {reader.line_num}: {len(row)} columns instead of {len(COLUMNS)}."
                )
            elif not (row[6].isascii() and row[6].isdigit() and len(row[6]) <= 5):
                faults.append(f"line {reader.line_num}: minutes: Give a whole number.")
            else:
                rows.append((reader.line_num, _row(row)))
            if len(rows) > MAXIMUM_LINES:
                return [], [f"The file has more than {MAXIMUM_LINES:,} lines."]
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: {error}.")
    if not rows and not faults:
        faults.append("The file is empty.")
    return rows, faults


def written_connection_times(rows: Iterable[MinimumConnectionTime]) -> str:
    """Return the rows as a CSV that an import takes."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            [
                row.airport_id or "", row.kind, row.arriving_carrier or "",
                row.departing_carrier or "", row.arriving_terminal or "",
                row.departing_terminal or "", row.minutes, row.source,
            ]
        )  # fmt: skip
    return file.getvalue()


def _row(cells: list[str]) -> MinimumConnectionTime:
    airport, kind, arriving, departing, lands, leaves, minutes, source = cells
    return MinimumConnectionTime(
        airport_id=airport.upper() or None,
        kind=kind.upper(),
        arriving_carrier=arriving.upper() or None,
        departing_carrier=departing.upper() or None,
        arriving_terminal=lands or None,
        departing_terminal=leaves or None,
        minutes=int(minutes),
        source=source,
    )
