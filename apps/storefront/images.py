"""Uploaded images: read by Pillow, drawn anew as PNG, so that nothing else comes along."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from layoverhq.errors import InvalidInput

# SVG can carry scripts, and animations distract: neither is taken.
FORMATS = ("PNG", "WEBP")
MAXIMUM_BYTES = 1_048_576
MAXIMUM_PIXELS = 4_000_000
TOO_MANY_PIXELS = f"At most {MAXIMUM_PIXELS:,} pixels."
# Twice what pages show of a logo, for dense screens.
SHOWN_SIZE = (480, 160)


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image as it is stored: PNG without metadata."""

    content: bytes
    width: int
    height: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def draw(uploaded: bytes, *, field: str) -> Drawn:
    """Return the uploaded picture, made smaller where it is larger than pages show.

    Raises InvalidInput that names the field.
    """
    if len(uploaded) > MAXIMUM_BYTES:
        raise InvalidInput.of(field, "At most 1 MB.", code="too_large")
    try:
        with warnings.catch_warnings():
            # Pillow warns of what could be a bomb before it refuses: we refuse sooner.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(uploaded), formats=FORMATS) as image:
                if image.width * image.height > MAXIMUM_PIXELS:
                    raise InvalidInput.of(field, TOO_MANY_PIXELS, code="too_large")
                if getattr(image, "n_frames", 1) > 1:
                    raise InvalidInput.of(field, "An animation is no logo.", code="animated")
                still = image.convert("RGBA")
    except InvalidInput:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InvalidInput.of(field, TOO_MANY_PIXELS, code="too_large") from error
    except (
        UnidentifiedImageError,
        # Pillow's decoders raise these for what is damaged or cut off.
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise InvalidInput.of(
            field, "Give a PNG or WebP image that can be read.", code="unreadable"
        ) from error
    still.thumbnail(SHOWN_SIZE)
    buffer = io.BytesIO()
    # A new image takes the pixels and nothing that the file said besides.
    bare = Image.new("RGBA", still.size)
    bare.paste(still)
    bare.save(buffer, "PNG", optimize=True)
    return Drawn(buffer.getvalue(), *still.size)
