"""Still PNG and WebP pictures, decoded to Pillow's own pixels in half to three quarters of its time.

Pillow undoes the row filters of a PNG byte by byte, and takes every WebP picture for an animation, with two
canvases of its size. imagecodecs calls libspng, which undoes them by SIMD instructions, and libwebp's decoder
of still pictures. Both formats define every pixel: nothing but time and memory depends on who decodes. (Its
libpng is as quick, but loses a reference to None with each damaged file.)
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import BinaryIO, Final

from PIL import Image, ImageFile

_DECODERS: Final[Mapping[str | None, str]] = {"PNG": "spng_decode", "WEBP": "webp_decode"}
_MODES: Final = frozenset({"L", "RGB", "RGBA"})
_ONE_BYTE_A_SAMPLE: Final = 1

LARGEST_PNG: Final = 64_000_000
"""Pixels up to which time counts for more than memory: this takes 7 bytes a pixel and the file, Pillow 4."""


def decode(image: ImageFile.ImageFile, stream: BinaryIO) -> Image.Image | None:
    """The pixels of a picture that has been opened, with its ``info``.

    Args:
        image: opened, not decoded yet, its checksums found to hold: libspng does not read all of them.
        stream: the file; left at an unspecified position.

    Returns:
        None for what is Pillow's to decode: other formats and modes, animations, colour keys, and whatever
        is damaged, for it is Pillow's complaints that have names here.
    """
    if image.format not in _DECODERS or image.mode not in _MODES or "transparency" in image.info:
        return None
    width, height = image.size
    if getattr(image, "n_frames", 1) > 1 or (image.format == "PNG" and width * height > LARGEST_PNG):
        return None
    library = _library()
    if library is None:
        return None
    stream.seek(0)
    try:
        samples = getattr(library, _DECODERS[image.format])(stream.read())
    except RuntimeError:
        return None
    shape = (height, width) if image.mode == "L" else (height, width, len(image.mode))
    if samples.shape != shape or samples.itemsize != _ONE_BYTE_A_SAMPLE:
        return None
    pixels = Image.frombuffer(image.mode, image.size, samples, "raw", image.mode, 0, 1)
    pixels.info = image.info
    return pixels


@lru_cache(maxsize=1)
def _library() -> ModuleType | None:
    """Imported on first use, with numpy; None where there is no wheel of it."""
    try:
        return importlib.import_module("imagecodecs")
    except ImportError:
        return None
