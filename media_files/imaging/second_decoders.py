"""Decode a picture again with another library, or another unpacker of its samples, to compare the two.

JPEG and WebP have no second decoder here: Pillow and imagecodecs use the same libraries for them. HEIC and
AVIF are checked by a second one whenever they are decoded (`hevc`, `av1`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, BinaryIO, Final

from PIL import Image, ImageFile

from media_files.imaging.formats.png import without_metadata

LARGEST: Final = 64_000_000
"""Pixels up to which a picture is decoded again: the second decoders hold all of it in memory."""

_BYTE: Final = 8
_UPRIGHT: Final = 1
_TIFF_MEANINGS: Final = frozenset({"black is zero", "RGB", "CMYK"})
_BANDS: Final[Mapping[int, str]] = {1: "L", 3: "RGB", 4: "RGBA"}


def decode_again(image: ImageFile.ImageFile, stream: BinaryIO, orientation: int) -> Image.Image | None:
    """Return the stored pixels of an opened picture as a second decoder sees them; None if there is none.

    Args:
        image: as the first decoder opened it.
        stream: the file; left at an unspecified position.
        orientation: of the stored pixels.

    Raises:
        Exception: whatever the second decoder raises.
    """
    decode = _SECOND.get(image.format or "")
    if decode is None or image.width * image.height > LARGEST:
        return None
    stream.seek(0)
    return decode(image, stream, orientation)


def _png(image: ImageFile.ImageFile, stream: BinaryIO, _orientation: int) -> Image.Image | None:
    """Pillow unpacks rows itself; libspng does the same with SIMD instructions."""
    if image.info.get("decoder") != "libspng":
        return None
    return _by_pillow("PngImagePlugin", "PngImageFile", without_metadata(stream))


def _tiff(image: ImageFile.ImageFile, stream: BinaryIO, orientation: int) -> Image.Image | None:
    """libtiff, for the plain layouts that Pillow unpacks rightly. It would turn the picture upright."""
    layout: Any = getattr(image, "layout", None)
    if layout is None or orientation != _UPRIGHT or layout.planar or layout.alpha != "none":
        return None
    plain = layout.bits == _BYTE and layout.sample_format == "uint" and layout.meaning in _TIFF_MEANINGS
    if not plain or layout.compression not in ("none", "LZW", "deflate", "PackBits"):
        return None
    return _by_pillow("TiffImagePlugin", "TiffImageFile", stream)


def _gif(image: ImageFile.ImageFile, stream: BinaryIO, _orientation: int) -> Image.Image | None:
    """giflib, for pictures that fill their screen."""
    library = _library()
    if library is None or getattr(image, "is_animated", False) or "transparency" in image.info:
        return None
    stream.seek(0)  # counting the frames has moved it
    return _from_samples(library.gif_decode(stream.read(), index=0), image.size)


def _bmp(image: ImageFile.ImageFile, stream: BinaryIO, _orientation: int) -> Image.Image | None:
    """The reader of imagecodecs, for plain 24 bits."""
    library = _library()
    if library is None or image.mode != "RGB" or getattr(image, "layout", None) is not None:
        return None
    data = stream.read()
    if int.from_bytes(data[28:30], "little") != 3 * _BYTE:
        return None
    return _from_samples(library.bmp_decode(data), image.size)


def _by_pillow(module: str, name: str, source: Any) -> Image.Image:
    """Decode with one of Pillow's classes, imported on first use."""
    factory = getattr(importlib.import_module(f"PIL.{module}"), name)
    with factory(source) as again:
        again.load()
        copy: Image.Image = again.copy()
        return copy


def _from_samples(samples: Any, size: tuple[int, int]) -> Image.Image | None:
    bands = samples.shape[2] if samples.ndim > 2 else 1
    mode = _BANDS.get(bands)
    if mode is None or samples.shape[:2] != size[::-1] or samples.itemsize != 1:
        return None
    return Image.frombytes(mode, size, samples.tobytes())


def _library() -> ModuleType | None:
    try:
        return importlib.import_module("imagecodecs")
    except ImportError:
        return None


_Decode = Callable[[ImageFile.ImageFile, BinaryIO, int], Image.Image | None]
_SECOND: Final[Mapping[str, _Decode]] = {"PNG": _png, "TIFF": _tiff, "GIF": _gif, "BMP": _bmp}
