"""Whether a proxy shows its original: the same picture, the same way up, in the same colours.

Both are brought to 64 x 64 averages in YCbCr. A picture that was turned, mirrored, shifted in brightness or
stripped of colour differs there by far more than resizing does, and luma alone would not see colours.
"""

from __future__ import annotations

import math
import struct
from typing import Final, Literal

from PIL import Image

GRID: Final = 64
FINE_GRID: Final = 4 * GRID
SMALLEST: Final = 4 * GRID
"""Px of the proxy's shorter side, below which a cell of the grid holds too few pixels to compare."""

LUMA_LIMIT: Final = 1.5
CHROMA_LIMIT: Final = 0.6
"""Root mean square differences, in levels of 255. Measured on photographs of 8 to 24 megapixels, right
proxies stay below both; a gamma that is off by a tenth, exchanged channels and grey do not."""

CONVERTED_FACTOR: Final = 4.0
"""How much wider the limits are where a profile was applied: the conversion of an average colour is not the
average of the converted colours. Saturated pictures in ProPhoto RGB need 3."""

DIFFERENT_FACTOR: Final = 8.0
"""Beyond the limits by so much is another picture. In between lie right proxies of hard-edged pictures, such
as pages of text (luma 4) and scattered dots (8), whose overshoots Lanczos clips and averages do not.
Photographs that are turned, mirrored or changed in colour measure 20 and more in luma, or 10 in chroma."""

Verdict = Literal["alike", "unsure", "different"]

_BACKDROP: Final = (128, 128, 128, 255)
_Signature = tuple[list[float], list[float], list[float]]


def fine_averages(image: Image.Image, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """The picture as averages over a grid of 256 x 256, four times as fine as the comparison's."""
    return image.resize((FINE_GRID, FINE_GRID), Image.Resampling.BOX, box)


def _signature(averages: Image.Image) -> _Signature:
    """Luma, and the two colour differences, of the 64 x 64 averages; over mid-grey where transparent."""
    if averages.mode == "RGBA":
        averages = Image.alpha_composite(Image.new("RGBA", averages.size, _BACKDROP), averages)
    red, green, blue = (
        # In floating point: rounding to whole levels would be as large as what is looked for.
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
    """How far two pictures' fine averages are apart: in luma, and in the worse of the two chroma channels."""
    luma, *chroma = map(_rms, _signature(one), _signature(other))
    return luma, max(chroma)


def compare(one: Image.Image, other: Image.Image, *, converted: bool) -> Verdict:
    """Whether the fine averages of two upright pictures in sRGB are those of one picture.

    Args:
        one: of mode L, RGB or RGBA.
        other: likewise.
        converted: whether a colour conversion lies between the two.
    """
    luma, chroma = differences(one, other)
    times_limit = max(luma / LUMA_LIMIT, chroma / CHROMA_LIMIT)
    if times_limit <= (CONVERTED_FACTOR if converted else 1.0):
        return "alike"
    return "different" if times_limit > DIFFERENT_FACTOR else "unsure"
