"""The files of a run: small enough to be decoded in a millisecond, and all different."""

from __future__ import annotations

import io
import random
from functools import lru_cache
from typing import Any

from PIL import Image


@lru_cache(maxsize=64)
def scan(number: int, *, transparent: bool = False) -> bytes:
    """Return a TIFF, which models cannot read: its proxy is a JPEG, or a PNG if it is transparent."""
    picture = _picture(number)
    if transparent:
        picture.putalpha(128)
    return _saved(picture, "TIFF")


@lru_cache(maxsize=64)
def small_picture(number: int) -> bytes:
    """Return a PNG that needs no proxy."""
    return _saved(_picture(number), "PNG")


@lru_cache(maxsize=64)
def damaged_picture(number: int) -> bytes:
    """Return a rotated JPEG with a valid header and a truncated end."""
    picture = _picture(number)
    upright = picture.getexif()
    upright[0x0112] = 6
    return _saved(picture.resize((64, 48)), "JPEG", exif=upright)[:-200]


@lru_cache(maxsize=64)
def given_proxy(number: int) -> bytes:
    """Return a JPEG to use as an external proxy."""
    return _saved(_picture(number), "JPEG")


def _picture(number: int) -> Image.Image:
    return Image.frombytes("RGB", (4, 4), random.Random(number).randbytes(48)).resize((24, 18))


def _saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


CONTENTS = {
    **{f"scan-{number}.tif": scan(number) for number in range(5)},
    **{f"cut-out-{number}.tif": scan(number, transparent=True) for number in range(2)},
    **{f"small-{number}.png": small_picture(number) for number in range(2)},
    "damaged.jpg": damaged_picture(7),
}
"""Contents by upload name."""
