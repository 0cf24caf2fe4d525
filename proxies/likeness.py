"""Whether a proxy shows its original: the same picture, the same way up, in the same colours.

Both are brought to 64 x 64 averages in YCbCr. A picture that was turned, mirrored, shifted in brightness or
stripped of colour differs there by far more than resizing does, and luma alone would not see colours.
"""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageChops, ImageStat

GRID: Final = 64
LUMA_LIMIT: Final = 1.5
CHROMA_LIMIT: Final = 0.6
"""Root mean square differences, in levels of 255. Measured on photographs of 8 to 24 megapixels, right
proxies stay below both; a gamma that is off by a tenth, exchanged channels and grey do not."""

_BACKDROP: Final = (128, 128, 128, 255)


def signature(image: Image.Image, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """The 64 x 64 averages of a picture of mode L, RGB or RGBA, in YCbCr, over mid-grey if transparent."""
    small = image.resize((GRID, GRID), Image.Resampling.BOX, box)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, _BACKDROP), small)
    return small.convert("RGB").convert("YCbCr")


def is_alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two signatures are of one picture."""
    luma, *chroma = ImageStat.Stat(ImageChops.difference(one, other)).rms
    return luma <= LUMA_LIMIT and max(chroma) <= CHROMA_LIMIT
