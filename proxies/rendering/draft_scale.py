"""Decode JPEGs at a half, a quarter or an eighth of their size: how far to reduce, and how to compensate.

libjpeg's reduced pixels are close to the means of the areas that they represent, without the contribution of
each block's finest detail. After resizing, fine detail has slightly less contrast, which the encoder can
compensate for, and grain looks different, which cannot be compensated.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from PIL import JpegImagePlugin

from proxies.rendering.resize import Box

CALM: Final = 5.0
"""`grain` below which an image has almost no fine detail to lose: skies, portraits, drawings."""

GRAINY: Final = 7.0
"""`grain` above which an image has noise of some 10 levels of 255; most photographs are in between."""

MARGINS: Final = (1.15, 1.5, 2.0)
"""The minimum decoded size of calm, common and grainy images, as a multiple of the target.

None of the three costs more than 0.001 of luma SSIM; the first would cost a grainy image 0.02, and the last
takes nearly twice the time at 12 megapixels (`python -m benchmarks.fidelity`)."""

_PUT_BACK: Final = 1.2
"""How much of the aperture's loss is restored. The lowest frequencies cannot be restored, because their steps
are too small to be divided so finely; the others compensate for them."""

_BITS_FOR_HALF_THE_STEP: Final = 1.15
"""Extra bits per pixel of grain when it is quantized half as coarsely: one bit of luma, and some chroma."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a picture was decoded.

    Attributes:
        box: the part of the decoded image that it fills, px, because reduced sides are rounded up.
        luma_gains: how many times stronger each of the 64 frequencies of the proxy's blocks is in the
            original, row by row; None for no difference.
    """

    box: Box
    luma_gains: tuple[float, ...] | None = None


def reduce(image: JpegImagePlugin.JpegImageFile, file_bytes: int, target: tuple[int, int]) -> Reduction:
    """Set ``image`` to decode at the smallest size that a proxy of ``target`` px allows."""
    stored = image.size
    detail = grain(image, file_bytes)
    margin = MARGINS[bisect_right((CALM, GRAINY), detail)]
    width, height = (max(1, math.ceil(side * margin)) for side in target)
    box = draft(image, (width, height))
    unharmed = image.size == stored or detail < CALM
    return Reduction(box, None if unharmed else luma_gains(max(box) / max(target)))


def draft(image: JpegImagePlugin.JpegImageFile, smallest: tuple[int, int]) -> Box:
    """Set ``image`` to decode at the smallest scale that covers ``smallest`` px; return the box it fills."""
    drafted = image.draft(None, smallest)
    return (0, 0, *image.size) if drafted is None else drafted[1]


def grain(image: JpegImagePlugin.JpegImageFile, file_bytes: int) -> float:
    """Return the amount of fine detail in the file: bits per pixel, as if quantized in steps of one.

    Other content of the file, such as a phone's video appended to its image, counts as grain; this costs
    time, never quality.
    """
    steps = image.quantization.get(0, [1])
    step = max(1.0, sum(steps) / len(steps))
    return 8 * file_bytes / (image.width * image.height) + _BITS_FOR_HALF_THE_STEP * math.log2(step)


def luma_gains(factor: float) -> tuple[float, ...]:
    """Return the gains that compensate for the aperture of the decoded pixels in an image ``factor`` times
    smaller.

    The mean over the width of a pixel dampens a frequency f, in cycles per pixel, by sin(pi f) / (pi f). The
    frequency u of a block, 0 to 7, has u / 16 cycles per pixel of the proxy. Chroma, which most cameras store
    at half the size, is reduced less in decoding and loses nothing.
    """
    kept = [_sinc(frequency / (16 * factor)) for frequency in range(8)]
    return tuple(1 + _PUT_BACK * (1 / (row * column) - 1) for row in kept for column in kept)


def _sinc(cycles: float) -> float:
    return math.sin(math.pi * cycles) / (math.pi * cycles) if cycles else 1.0
