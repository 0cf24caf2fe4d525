"""Thumbnails: a small JPEG of each picture, for lists."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from PIL import Image

from proxies.rendering.resize import Resizer, resize

VERSION: Final = 1
"""Increment this when originals must be decoded again, because more kinds of damage are found."""

LONGER_SIDE: Final = 256
"""Of a thumbnail, px. Fifty of them take less than 600 kB."""

_QUALITY: Final = 70
_BACKDROP: Final = (255, 255, 255, 255)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A JPEG, and its width and height in px."""

    data: bytes
    width: int
    height: int


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of the thumbnail of a picture of ``width`` x ``height`` px. Nothing is enlarged."""
    scale = min(1.0, LONGER_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def make_thumbnail(image: Image.Image, resizer: Resizer = "auto") -> Thumbnail:
    """Return the thumbnail of an upright sRGB image of mode L, RGB or RGBA; what is transparent is white."""
    small, _ = resize(image, thumbnail_size(*image.size), (0, 0, *image.size), resizer)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, _BACKDROP), small).convert("RGB")
    written = io.BytesIO()
    # A copy without the original's profile and comment, which Pillow would write again.
    plain = small.copy()
    plain.info = {}
    plain.save(written, "JPEG", quality=_QUALITY)
    return Thumbnail(written.getvalue(), *small.size)
