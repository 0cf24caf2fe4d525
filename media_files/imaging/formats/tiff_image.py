"""TIFF pictures: samples unpacked here where their combination is proven, else by libtiff through Pillow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from media_files.errors import CorruptImage, UnsupportedFormat
from media_files.imaging.formats.tiff import TiffError, TiffReader
from media_files.imaging.formats.tiff_layout import COLOURS, TiffLayout, read_layout
from media_files.imaging.formats.tiff_samples import Band, bands, unread_part

Bytes = npt.NDArray[np.uint8]

_MODES: Final = {
    "white is zero": "L",
    "black is zero": "L",
    "palette": "RGB",
    "RGB": "RGB",
    "YCbCr": "RGB",
    "CMYK": "CMYK",
    "CIELab": "LAB",
    "ICCLab": "LAB",
}
_LIBTIFF: Final = {
    ("JPEG", 8): frozenset({"black is zero", "white is zero", "RGB", "YCbCr", "CMYK"}),
    ("CCITT RLE", 1): frozenset({"white is zero", "black is zero"}),
    ("CCITT group 3", 1): frozenset({"white is zero", "black is zero"}),
    ("CCITT group 4", 1): frozenset({"white is zero", "black is zero"}),
}
"""Compression and bits: the meanings for which libtiff through Pillow is proven."""

_SHORT_TOP: Final = 65535
_WHITE: Final = 255


def open_tiff(stream: BinaryIO) -> ImageFile.ImageFile:
    """Open the first page of a TIFF file with the decoder that is proven for it.

    Raises:
        UnsupportedFormat: there is none. The message names what is not read.
        CorruptImage: the tags contradict each other.
    """
    try:
        reader = TiffReader(stream)
        layout = read_layout(reader, reader.directory(reader.first))
    except TiffError as error:
        raise CorruptImage(
            f"The TIFF file is damaged or incomplete: {error}. Send the original file again."
        ) from error
    stream.seek(0)
    unread = unread_part(layout)
    if unread is None:
        return TiffImage(stream, layout)
    if layout.meaning in _LIBTIFF.get((layout.compression, layout.bits), ()):
        image = TiffImagePlugin.TiffImageFile(stream)
        image.info["decoder"], image.info["combination"] = "libtiff", f"TIFF, {layout}"
        return image
    raise UnsupportedFormat(
        f"A TIFF picture {unread} cannot be read here. Save it as a TIFF with deflate, as PNG or as JPEG."
    )


class TiffImage(ImageFile.ImageFile):
    """A page whose samples are unpacked here. Its pixels have 8 bits; ``turn`` is not applied to them."""

    format = "TIFF"
    format_description = "TIFF"

    def __init__(self, stream: BinaryIO, layout: TiffLayout) -> None:
        self.layout = layout
        super().__init__(cast("Any", stream))

    def _open(self) -> None:
        mode = _MODES[self.layout.meaning]
        has_alpha = self.layout.alpha in ("associated", "unassociated")
        self._mode = "RGBA" if has_alpha else mode
        self._size = self.layout.size
        self.info["decoder"], self.info["combination"] = "NovaProxy", f"TIFF, {self.layout}"
        if self.layout.profile:
            self.info["icc_profile"] = self.layout.profile

    def load(self) -> Any:
        """Decode the page. Memory: four bytes per pixel, and one row of strips or tiles."""
        if self._im is None:
            try:
                self._load()
            except BaseException:
                self._im = None  # no half of a picture
                raise
        return super().load()

    def _load(self) -> None:
        self.load_prepare()
        top = 0
        for band in self.bands():
            self.im.paste(band.im, (0, top, band.width, top + band.height))
            top += band.height
        self.load_end()

    def bands(self) -> Iterator[Image.Image]:
        """Yield the picture from top to bottom in pieces of its full width.

        Raises:
            CorruptImage: a part of the picture is missing.
        """
        assert self.fp is not None  # noqa: S101 - open
        stream = cast("BinaryIO", self.fp)
        scale = _Scale(self.layout, stream)
        for band in bands(stream, self.layout):
            pixels = np.ascontiguousarray(scale.pixels(band))
            size = (pixels.shape[1], pixels.shape[0])
            yield Image.frombuffer(self.mode, size, pixels, "raw", self.mode, 0, 1)


class _Scale:
    """Turns the samples of a page into 8-bit pixels."""

    def __init__(self, layout: TiffLayout, stream: BinaryIO) -> None:
        self._layout = layout
        self._colours = COLOURS[layout.meaning]
        undefined = layout.sample_format != "uint" or layout.bits > 16
        self._low, self._high = _value_range(layout, stream) if undefined else (0.0, 2.0**layout.bits - 1)
        self._levels = None if undefined or layout.bits == 8 else _levels(layout.bits)
        self._map = _colour_map(layout) if layout.meaning == "palette" else None

    def pixels(self, band: Band) -> Bytes:
        """Return rows x columns x bytes of a pixel in the picture's mode."""
        colours = band[:, :, : self._colours]
        if self._layout.alpha in ("associated", "unassociated"):
            alpha = band[:, :, self._colours : self._colours + 1]
            return self._with_alpha(colours, alpha)
        return self._meant(colours)

    def _meant(self, colours: Band) -> Bytes:
        meaning = self._layout.meaning
        if self._map is not None:
            return np.take(self._map, colours[:, :, 0], axis=0)
        if meaning == "CIELab":
            return _lab(colours)
        if meaning == "ICCLab":
            return _icc_lab(colours)
        if meaning == "YCbCr":
            return _ycbcr_to_rgb(colours, self._layout)
        pixels = self._to_bytes(colours)
        return _WHITE - pixels if meaning == "white is zero" else pixels

    def _to_bytes(self, samples: Band) -> Bytes:
        if self._levels is not None:
            return self._levels[samples]
        if samples.dtype == np.uint8:
            return samples
        return _rounded(self._unit(samples) * _WHITE)

    def _unit(self, samples: Band) -> npt.NDArray[np.float64]:
        """Return samples as 0 for black to 1 for white. What is not a number is black."""
        span = self._high - self._low
        values = (samples.astype(np.float64) - self._low) / span if span > 0 else np.zeros(samples.shape)
        return np.nan_to_num(np.clip(values, 0.0, 1.0), nan=0.0)

    def _with_alpha(self, colours: Band, alpha: Band) -> Bytes:
        opacity = self._alpha_unit(alpha)
        if self._layout.alpha == "unassociated":
            shown = self._meant(colours)
        else:
            light = self._unit(colours)
            if self._layout.meaning == "white is zero":
                light = 1 - light
            shown = _rounded(np.divide(light, opacity, out=np.zeros_like(light), where=opacity > 0) * _WHITE)
        if shown.shape[2] == 1:
            shown = shown.repeat(3, axis=2)
        return np.concatenate([shown, _rounded(opacity * _WHITE)], axis=2)

    def _alpha_unit(self, alpha: Band) -> npt.NDArray[np.float64]:
        layout = self._layout
        if layout.sample_format == "float":
            return np.nan_to_num(np.clip(alpha.astype(np.float64), 0.0, 1.0), nan=0.0)
        top = 2.0 ** (layout.bits - (layout.sample_format == "int")) - 1
        return np.clip(alpha.astype(np.float64) / top, 0.0, 1.0)


def _rounded(values: npt.NDArray[Any]) -> Bytes:
    rounded: Bytes = np.clip(np.rint(values), 0, _WHITE).astype(np.uint8)
    return rounded


def _levels(bits: int) -> Bytes:
    """Return the 8-bit level of each value that an unsigned sample can have."""
    top = (1 << bits) - 1
    return _rounded(np.arange(top + 1) * (_WHITE / top))


def _colour_map(layout: TiffLayout) -> Bytes:
    """Return red, green and blue of each entry. Maps of some programs hold 8 bits instead of 16."""
    needed = 3 << layout.bits
    if len(layout.colour_map) < needed:
        raise CorruptImage(
            f"The TIFF picture is damaged: its palette has {len(layout.colour_map)} values of {needed}. "
            "Send the original file again."
        )
    values = np.array(layout.colour_map[:needed]).reshape(3, -1).T
    return _rounded(values if values.max() <= _WHITE else values * (_WHITE / _SHORT_TOP))


def _lab(colours: Band) -> Bytes:
    """Return L* from 0 to 255, and a* and b* as signed bytes, as Pillow unpacks them."""
    if colours.dtype == np.uint8:
        return colours
    lightness = _rounded(colours[:, :, :1] * (_WHITE / _SHORT_TOP))
    differences = np.rint(np.ascontiguousarray(colours[:, :, 1:]).view(np.int16) / 256)
    signed = np.clip(differences, -128, 127).astype(np.int8).view(np.uint8)
    return np.concatenate([lightness, signed], axis=2)


def _icc_lab(colours: Band) -> Bytes:
    """Return the same from values with 128 added. Of 16 bits, 0xFF00 is L* 100 (ICC.1:2001-04, annex A)."""
    levels: Bytes = colours if colours.dtype == np.uint8 else _rounded(colours / 256)
    return np.bitwise_xor(levels, np.array([0, 128, 128], np.uint8))


def _ycbcr_to_rgb(colours: Band, layout: TiffLayout) -> Bytes:
    """Convert by the file's coefficients and reference levels (TIFF 6.0, sections 20 and 21)."""
    red, green, blue = layout.coefficients
    black, white = layout.reference[::2], layout.reference[1::2]
    values = colours.astype(np.float32)
    y = (values[:, :, 0] - black[0]) * (_WHITE / ((white[0] - black[0]) or 1))
    cb = (values[:, :, 1] - black[1]) * (127 / ((white[1] - black[1]) or 1))
    cr = (values[:, :, 2] - black[2]) * (127 / ((white[2] - black[2]) or 1))
    r = y + cr * (2 - 2 * red)
    b = y + cb * (2 - 2 * blue)
    g = (y - red * r - blue * b) / (green or 1)
    return _rounded(np.stack([r, g, b], axis=2))


def _value_range(layout: TiffLayout, stream: BinaryIO) -> tuple[float, float]:
    """Return the values of black and white in a picture whose format does not define them.

    By convention they are 0 and 1 for floats, and 0 and the highest value of one or two bytes for integers.
    Floating-point colours above 1 are highlights, and are clipped. Other values (measurements, heights) are
    scaled from their lowest to their highest.
    """
    low, high = math.inf, -math.inf
    for band in bands(stream, layout):
        colours = band[:, :, : COLOURS[layout.meaning]]
        if layout.sample_format == "float":
            colours = colours[np.isfinite(colours)]
        if colours.size:
            low, high = min(low, float(colours.min())), max(high, float(colours.max()))
    if layout.sample_format == "float":
        return _float_range(low, high, is_colour=layout.meaning in ("RGB", "CMYK"))
    highest = 2.0 ** (layout.bits - (layout.sample_format == "int")) - 1
    tops = {min(top, highest) for top in (255.0, 65535.0)}
    white = min((top for top in tops if high <= top), default=None)
    return (low, high) if white is None or low < 0 else (0.0, white)


_BRIGHTEST: Final = 16.0
"""Floating-point colours up to this are light, with white at 1. Others are levels of one or two bytes."""


def _float_range(low: float, high: float, *, is_colour: bool) -> tuple[float, float]:
    if low > high or (is_colour and high <= _BRIGHTEST):
        return 0.0, 1.0
    for top in (1.0, 255.0, 65535.0):
        if low >= 0 and high <= top:
            return 0.0, top
    return low, high
