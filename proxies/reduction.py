"""JPEGs decoded at a half, a quarter or an eighth of their size: how far that may go, and what it costs them.

libjpeg's reduced pixels are close to the means of the areas that they stand for, without what the finest
detail of each block would add to them. Resized, they show fine detail with a little less contrast, which can
be made up for, and show grain differently, which cannot.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from PIL import Image, JpegImagePlugin

from proxies.resizing import Box, Resizer, smooth

CALM: Final = 5.0
"""`grain` below which a picture has next to no fine detail to lose: skies, portraits, drawings."""

GRAINY: Final = 7.0
"""`grain` from which on there is noise of some 10 levels of 255; most photographs lie between."""

MARGINS: Final = (1.15, 1.5, 2.0)
"""How many times larger than the target calm, common and grainy pictures are decoded at the least.

None of the three costs more than 0.001 of luma SSIM; the first would cost a grainy picture 0.02, and the last
takes nearly twice the time at 12 megapixels (`python -m benchmarks.fidelity`)."""

CORRECTED_BELOW: Final = 2.0
"""The reduction from which on the contrast that is lost is next to none, as it is in calm pictures."""

APERTURE_GAIN: Final = 0.75
"""How much of the difference to its smoothed self a picture has lost, at a reduction of one.

The mean over the width of a pixel dampens a frequency f, in cycles a pixel, by 1 - sinc(f), about
(pi f)^2 / 6. Smoothing by 1/18, 16/18, 1/18 dampens it by about (2 pi f)^2 / 18. Their ratio is 18/24; after
a reduction by r the same frequency is r times as high, which makes the ratio 18 / (24 r^2)."""

_BITS_FOR_HALF_THE_STEP: Final = 1.15
"""What a pixel of grain costs more where it is quantized half as coarsely: a bit of luma, and some chroma."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a picture was decoded.

    Attributes:
        box: what it fills of the decoded picture, px: reduced sides are rounded up.
        lost_contrast: how much of the difference to its smoothed self the resized picture will have lost.
    """

    box: Box
    lost_contrast: float = 0.0


def reduce(image: JpegImagePlugin.JpegImageFile, file_bytes: int, target: tuple[int, int]) -> Reduction:
    """Have ``image`` decoded as small as a proxy of ``target`` px allows."""
    stored = image.size
    detail = grain(image, file_bytes)
    margin = MARGINS[bisect_right((CALM, GRAINY), detail)]
    width, height = (max(1, math.ceil(side * margin)) for side in target)
    drafted = image.draft(None, (width, height))
    box: Box = (0, 0, *image.size) if drafted is None else drafted[1]
    factor = max(box) / max(target)
    unharmed = image.size == stored or detail < CALM or factor >= CORRECTED_BELOW
    return Reduction(box, 0.0 if unharmed else APERTURE_GAIN / factor**2)


def grain(image: JpegImagePlugin.JpegImageFile, file_bytes: int) -> float:
    """How much fine detail the encoder had to write: bits a pixel, as if it had quantized in steps of one.

    What else is in the file, as a telephone's film behind its picture, counts as grain and costs time, never
    quality.
    """
    steps = image.quantization.get(0, [1])
    step = max(1.0, sum(steps) / len(steps))
    return 8 * file_bytes / (image.width * image.height) + _BITS_FOR_HALF_THE_STEP * math.log2(step)


def regain_contrast(image: Image.Image, lost: float, resizer: Resizer) -> Image.Image:
    """The resized picture, of mode ``L``, ``RGB`` or ``CMYK``, as it were without the reduction."""
    return Image.blend(image, smooth(image, resizer), -lost) if lost else image
