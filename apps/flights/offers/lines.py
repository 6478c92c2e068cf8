"""Lines of a file that nobody has looked at: no line is held that is longer than it may be."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import IO, Final, cast

from msgspec import Struct

from apps.flights.offers.normalised import Refused

LONGEST_LINE: Final = 65_536
EXCERPT_BYTES: Final = 200
GZIP_MAGIC: Final = b"\x1f\x8b"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Unreadable(Exception):
    """The whole file cannot be read: a code for machines, a sentence for people."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(detail)


class Line(Struct, frozen=True, gc=False):
    """A line without its end, and its number from 1; what was too long has only its beginning."""

    number: int
    text: bytes
    refusal: Refused | None = None

    @property
    def excerpt(self) -> str:
        """How the line begins, as text that PostgreSQL takes."""
        start = self.text[:EXCERPT_BYTES].decode(errors="replace")
        return start.replace("\0", "\N{REPLACEMENT CHARACTER}")


def lines(file: IO[bytes], *, most_bytes: int) -> Iterator[Line]:
    """Yield the lines of a file, plain or gzip, that are not blank.

    Raises Unreadable: truncated_gzip, broken_gzip, and too_large where more than `most_bytes` are
    unpacked.
    """
    packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    stream = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file
    try:
        yield from _lines(stream, most_bytes)
    except EOFError as error:
        raise Unreadable("truncated_gzip", "The gzip ends before its end.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Unreadable("broken_gzip", f"The gzip cannot be unpacked: {error}.") from error


def _lines(stream: IO[bytes], most_bytes: int) -> Iterator[Line]:
    read = number = 0
    while piece := stream.readline(LONGEST_LINE + 1):
        number += 1
        line = piece.removesuffix(b"\n").removesuffix(b"\r")
        refusal = None
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if len(piece) > LONGEST_LINE and not piece.endswith(b"\n"):
            line = line[:EXCERPT_BYTES]
            refusal = Refused("line_too_long", "", f"At most {LONGEST_LINE:,} bytes a line.")
        read += len(piece)
        while piece and not piece.endswith(b"\n") and read <= most_bytes:
            piece = stream.readline(LONGEST_LINE + 1)
            read += len(piece)
        if read > most_bytes:
            raise Unreadable("too_large", f"At most {most_bytes:,} bytes when unpacked.")
        if line.strip():
            yield Line(number, line, refusal)
