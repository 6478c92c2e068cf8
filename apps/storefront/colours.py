"""Colours that can be read: contrast as WCAG 2.2 computes it, and shades that have enough."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEX = re.compile(r"#[0-9a-fA-F]{6}")
TEXT_CONTRAST = 4.5
"""What level AA asks of text in usual sizes."""
GRAPHIC_CONTRAST = 3.0
"""What level AA asks of graphics and controls that carry meaning."""

BLACK, WHITE = "#000000", "#ffffff"
# Steps finer than this change no channel by more than one.
STEPS = 256

Channels = tuple[int, int, int]


def channels(colour: str) -> Channels:
    """Return red, green and blue of `#rrggbb`, each 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def luminance(colour: str) -> float:
    """Return the relative luminance, 0 for black to 1 for white (WCAG 2.2, 1.4.3)."""
    red, green, blue = (_linear(channel / 255) for channel in channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(share: float) -> float:
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def mixed(colour: str, other: str, share: float) -> str:
    """Return the colour with a share (0 to 1) of another, by channel."""
    pairs = zip(channels(colour), channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def text_on(background: str) -> str:
    """Return black or white, whichever can be read; one of them always has 4.5 or more."""
    return max(WHITE, BLACK, key=lambda ink: contrast(background, ink))


def readable(colour: str, background: str, wanted: float = TEXT_CONTRAST) -> str:
    """Return the colour, or the nearest shade of it that has the contrast on the background."""
    towards = text_on(background)
    for step in range(STEPS + 1):
        shade = mixed(colour, towards, step / STEPS)
        if contrast(shade, background) >= wanted:
            return shade
    return towards


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme, light or dark, made of a brand's two."""

    surface: str
    page: str
    ink: str
    muted: str
    line: str
    brand: str
    on_brand: str
    brand_mark: str
    brand_ink: str
    brand_soft: str
    accent: str
    on_accent: str
    accent_ink: str
    accent_soft: str

    @property
    def pairs(self) -> dict[str, tuple[str, str, float]]:
        """Return what stands on what in the pages, and the contrast that it needs."""
        text, graphic = TEXT_CONTRAST, GRAPHIC_CONTRAST
        return {
            "text on the page": (self.ink, self.page, text),
            "text on cards": (self.ink, self.surface, text),
            "quiet text on the page": (self.muted, self.page, text),
            "quiet text on cards": (self.muted, self.surface, text),
            "buttons' text": (self.on_brand, self.brand, text),
            "buttons' edges on cards": (self.brand_mark, self.surface, graphic),
            "flights in the timeline": (self.brand_mark, self.surface, graphic),
            "links on cards": (self.brand_ink, self.surface, text),
            "links on the page": (self.brand_ink, self.page, text),
            "links on the tinted ground": (self.brand_ink, self.brand_soft, text),
            "text on the tinted ground": (self.ink, self.brand_soft, text),
            "layovers in the timeline": (self.accent, self.surface, graphic),
            "labels on layovers": (self.on_accent, self.accent, text),
            "layovers' text": (self.accent_ink, self.surface, text),
            "layovers' text on their tint": (self.accent_ink, self.accent_soft, text),
            "text on layovers' tint": (self.ink, self.accent_soft, text),
        }


def light(primary: str, accent: str) -> Palette:
    """Return the palette of the light theme."""
    return _palette(primary, accent, surface=WHITE, page="#f5f6f8", ink="#10151f", tint=0.93)


def dark(primary: str, accent: str) -> Palette:
    """Return the palette of the dark theme."""
    return _palette(primary, accent, surface="#171c26", page="#0e121a", ink="#eef1f6", tint=0.84)


def _palette(
    primary: str, accent: str, *, surface: str, page: str, ink: str, tint: float
) -> Palette:
    mark = readable(accent, surface, GRAPHIC_CONTRAST)
    # A tint that takes too much of its colour would leave no ink to read on it.
    brand_soft, accent_soft = mixed(primary, surface, tint), mixed(accent, surface, tint)
    return Palette(
        surface=surface,
        page=page,
        ink=ink,
        muted=_ink(mixed(ink, surface, 0.38), page, surface),
        line=mixed(ink, surface, 0.86),
        brand=primary,
        on_brand=text_on(primary),
        brand_mark=readable(primary, surface, GRAPHIC_CONTRAST),
        brand_ink=_ink(primary, surface, page, brand_soft),
        brand_soft=brand_soft,
        accent=mark,
        on_accent=text_on(mark),
        accent_ink=_ink(accent, surface, accent_soft),
        accent_soft=accent_soft,
    )


def _ink(colour: str, *grounds: str) -> str:
    """Return the nearest shade of the colour that can be read on each of the grounds."""
    shade = colour
    # The grounds of one theme are all dark or all light: each step moves the same way.
    for ground in grounds:
        shade = readable(shade, ground)
    return shade
