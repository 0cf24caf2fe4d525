"""BMP pictures whose samples lie in any bits of a pixel.

Pillow reads a few of the layouts that a file can describe. Here every layout of 16 and 32 bits is read by its
bit masks. Source: Microsoft, BITMAPINFOHEADER and BITMAPV5HEADER (``BI_BITFIELDS``, ``BI_ALPHABITFIELDS``).
"""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass
from typing import Any, Final

from PIL import BmpImagePlugin, Image

from media_files.errors import CorruptImage, UnsupportedFormat

_HEADER_AT: Final = 14
_PLAIN_HEADER: Final = 40
_MASKS_AT: Final = _HEADER_AT + _PLAIN_HEADER
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_HEADER_WITH_ALPHA: Final = 56
_DEPTHS: Final = (16, 32)
_PIECE: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the pixels are, and which bits hold red, green, blue and alpha (0 for none)."""

    size: tuple[int, int]
    bottom_up: bool
    bits: int
    masks: tuple[int, int, int, int]
    offset: int


class BmpImage(BmpImagePlugin.BmpImageFile):
    """A BMP picture, opened."""

    def _open(self) -> None:
        assert self.fp is not None  # noqa: S101 - just given
        self.layout = _read_layout(self.fp.read(_MASKS_AT + 16))
        self.fp.seek(0)
        if self.layout is None:
            super()._open()
            return
        self.info["decoder"] = "NovaProxy"
        self._size = self.layout.size
        self._mode = "RGBA" if self.layout.masks[3] else "RGB"

    def load(self) -> Any:
        """Decode the picture.

        Raises:
            CorruptImage: rows are missing.
            UnsupportedFormat: numpy is not installed.
        """
        if self.layout is not None and self._im is None:
            self.im = self._decoded(self.layout).im
        return super().load()

    def _decoded(self, layout: _Layout) -> Image.Image:
        assert self.fp is not None  # noqa: S101 - open
        numpy = _numpy()
        width, height = layout.size
        row_bytes = (width * layout.bits + 31) // 32 * 4
        decoded = Image.new(self.mode, layout.size, None)
        self.fp.seek(layout.offset)
        step = max(1, _PIECE // row_bytes)
        for top in range(0, height, step):
            rows = min(step, height - top)
            data = self.fp.read(rows * row_bytes)
            if len(data) < rows * row_bytes:
                raise CorruptImage(
                    "The BMP picture is damaged or incomplete: it holds fewer rows than its header promises. "
                    "Send the original file again."
                )
            stored = numpy.frombuffer(data, f"<u{layout.bits // 8}").reshape(rows, -1)[:, :width]
            samples = [_scaled(stored, mask, numpy) for mask in layout.masks[: len(self.mode)]]
            pixels = numpy.stack(samples, axis=2)[:: -1 if layout.bottom_up else 1]
            piece = Image.fromarray(numpy.ascontiguousarray(pixels), self.mode)
            decoded.paste(piece, (0, height - top - rows if layout.bottom_up else top))
        if self.mode == "RGBA" and decoded.getchannel("A").getextrema()[1] == 0:
            # Many programs write an alpha of zero where they mean none; a picture of nothing is never meant.
            decoded.putalpha(255)
        return decoded


def _read_layout(head: bytes) -> _Layout | None:
    """Return the layout of a picture with bit masks; None for any other."""
    if len(head) < _MASKS_AT + 16:
        return None
    offset, header, width, height, bits, packing = struct.unpack_from("<IIii2xHI", head, 10)
    has_masks = packing in (_BITFIELDS, _ALPHA_BITFIELDS) and bits in _DEPTHS
    if header < _PLAIN_HEADER or not has_masks or width < 1 or height == 0:
        return None
    red, green, blue, alpha = struct.unpack_from("<4I", head, _MASKS_AT)
    if packing == _BITFIELDS and header < _HEADER_WITH_ALPHA:
        alpha = 0
    limit = (1 << bits) - 1
    masks = (red & limit, green & limit, blue & limit, alpha & limit)
    return _Layout((width, abs(height)), height > 0, bits, masks, offset)


def _scaled(stored: Any, mask: int, numpy: Any) -> Any:
    """Return the bits of a mask as levels of 255."""
    if not mask:
        return numpy.zeros(stored.shape, "u1")
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    values = ((stored & mask) >> shift).astype("u8")
    return ((values * 255 + top // 2) // top).astype("u1")


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise UnsupportedFormat(
            "A BMP picture with bit masks cannot be read on this installation: install numpy."
        ) from error
