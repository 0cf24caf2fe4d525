"""Check that a proxy shows its original: the same image, the same way up, in the same colours.

Both are reduced to 64 x 64 averages in YCbCr. An image that was turned, mirrored, shifted in brightness or
stripped of colour differs there by far more than resizing causes. Luma alone would not detect colours.
"""

from __future__ import annotations

import math
import struct
from typing import Final, Literal

from PIL import Image

GRID: Final = 64
FINE_GRID: Final = 4 * GRID
SMALLEST: Final = 4 * GRID
"""Shorter side of the proxy, px, below which a grid cell holds too few pixels to compare."""

LUMA_LIMIT: Final = 1.5
CHROMA_LIMIT: Final = 0.6
"""Root mean square differences, in levels of 255. Measured on photographs of 8 to 24 megapixels, correct
proxies stay below both; a gamma that is off by a tenth, swapped channels and greyscale do not."""

CONVERTED_FACTOR: Final = 4.0
"""Factor on the limits if a profile was applied, because converting an average colour is not the same as
averaging converted colours. Saturated images in ProPhoto RGB need 3."""

DIFFERENT_FACTOR: Final = 8.0
"""An image that exceeds the limits by this factor is a different one. In between are correct proxies of
hard-edged images, such as pages of text (luma 4) and scattered dots (8), whose overshoots Lanczos clips and
averages do not. Turned, mirrored or recoloured photographs measure 20 and more in luma, or 10 in chroma."""

Verdict = Literal["alike", "unsure", "different"]

_BACKDROP: Final = (128, 128, 128, 255)
_Signature = tuple[list[float], list[float], list[float]]


def fine_averages(image: Image.Image, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """Return the image's averages on a 256 x 256 grid, four times as fine as that of the comparison."""
    return image.resize((FINE_GRID, FINE_GRID), Image.Resampling.BOX, box)


def _signature(averages: Image.Image) -> _Signature:
    """Return luma and the two colour differences of the 64 x 64 averages, composited over mid-grey."""
    if averages.mode == "RGBA":
        averages = Image.alpha_composite(Image.new("RGBA", averages.size, _BACKDROP), averages)
    red, green, blue = (
        # In floating point: rounding to whole levels would be as large as the differences to detect.
        list(
            struct.unpack(
                f"{GRID * GRID}f", band.convert("F").resize((GRID, GRID), Image.Resampling.BOX).tobytes()
            )
        )
        for band in averages.convert("RGB").split()
    )
    luma = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in zip(red, green, blue, strict=True)]
    return (
        luma,
        [(b - y) * 0.564 for b, y in zip(blue, luma, strict=True)],
        [(r - y) * 0.713 for r, y in zip(red, luma, strict=True)],
    )


def _rms(one: list[float], other: list[float]) -> float:
    return math.dist(one, other) / math.sqrt(len(one))


def differences(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Return the differences between two images' fine averages: in luma, and in the worse chroma channel."""
    luma, *chroma = map(_rms, _signature(one), _signature(other))
    return luma, max(chroma)


def compare(one: Image.Image, other: Image.Image, *, converted: bool) -> Verdict:
    """Compare the fine averages of two upright sRGB images: do they show the same image?

    Args:
        one: of mode L, RGB or RGBA.
        other: likewise.
        converted: whether a colour conversion was applied between the two.
    """
    luma, chroma = differences(one, other)
    times_limit = max(luma / LUMA_LIMIT, chroma / CHROMA_LIMIT)
    if times_limit <= (CONVERTED_FACTOR if converted else 1.0):
        return "alike"
    return "different" if times_limit > DIFFERENT_FACTOR else "unsure"
