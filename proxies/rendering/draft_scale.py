"""JPEGs decoded at a half, a quarter or an eighth of their size: how far that may go, and what it costs them.

libjpeg's reduced pixels are close to the means of the areas that they stand for, without what the finest
detail of each block would add to them. Resized, they show fine detail with a little less contrast, which the
encoder can make up for, and show grain differently, which nothing can.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from PIL import JpegImagePlugin

from proxies.rendering.resize import Box

CALM: Final = 5.0
"""`grain` below which a picture has next to no fine detail to lose: skies, portraits, drawings."""

GRAINY: Final = 7.0
"""`grain` from which on there is noise of some 10 levels of 255; most photographs lie between."""

MARGINS: Final = (1.15, 1.5, 2.0)
"""How many times larger than the target calm, common and grainy pictures are decoded at the least.

None of the three costs more than 0.001 of luma SSIM; the first would cost a grainy picture 0.02, and the last
takes nearly twice the time at 12 megapixels (`python -m benchmarks.fidelity`)."""

_PUT_BACK: Final = 1.2
"""How much of what the aperture took is put back. The lowest frequencies get nothing, for their steps are too
small to be divided so finely; the others make up for them."""

_BITS_FOR_HALF_THE_STEP: Final = 1.15
"""What a pixel of grain costs more where it is quantized half as coarsely: a bit of luma, and some chroma."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a picture was decoded.

    Attributes:
        box: what it fills of the decoded picture, px: reduced sides are rounded up.
        luma_gains: how many times stronger the original shows each of the 64 frequencies of the proxy's
            blocks, row by row; None for no difference.
    """

    box: Box
    luma_gains: tuple[float, ...] | None = None


def reduce(image: JpegImagePlugin.JpegImageFile, file_bytes: int, target: tuple[int, int]) -> Reduction:
    """Have ``image`` decoded as small as a proxy of ``target`` px allows."""
    stored = image.size
    detail = grain(image, file_bytes)
    margin = MARGINS[bisect_right((CALM, GRAINY), detail)]
    width, height = (max(1, math.ceil(side * margin)) for side in target)
    box = draft(image, (width, height))
    unharmed = image.size == stored or detail < CALM
    return Reduction(box, None if unharmed else luma_gains(max(box) / max(target)))


def draft(image: JpegImagePlugin.JpegImageFile, smallest: tuple[int, int]) -> Box:
    """Have ``image`` decoded as small as it may be for ``smallest`` px, and tell what of that it fills."""
    drafted = image.draft(None, smallest)
    return (0, 0, *image.size) if drafted is None else drafted[1]


def grain(image: JpegImagePlugin.JpegImageFile, file_bytes: int) -> float:
    """How much fine detail the encoder had to write: bits a pixel, as if it had quantized in steps of one.

    What else is in the file, as a telephone's film behind its picture, counts as grain and costs time, never
    quality.
    """
    steps = image.quantization.get(0, [1])
    step = max(1.0, sum(steps) / len(steps))
    return 8 * file_bytes / (image.width * image.height) + _BITS_FOR_HALF_THE_STEP * math.log2(step)


def luma_gains(factor: float) -> tuple[float, ...]:
    """What makes up for the aperture of the decoded pixels in a picture ``factor`` times smaller.

    The mean over the width of a pixel dampens a frequency f, in cycles a pixel, by sin(pi f) / (pi f). The
    frequency u of a block, 0 to 7, has u / 16 cycles a pixel of the proxy's. Chroma, which most cameras store
    at half the size, is decoded less reduced and loses nothing.
    """
    kept = [_sinc(frequency / (16 * factor)) for frequency in range(8)]
    return tuple(1 + _PUT_BACK * (1 / (row * column) - 1) for row in kept for column in kept)


def _sinc(cycles: float) -> float:
    return math.sin(math.pi * cycles) / (math.pi * cycles) if cycles else 1.0
