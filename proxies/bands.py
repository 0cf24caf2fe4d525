"""Large JPEGs, resized while they are decoded: of the decoded rows only those in use take memory.

libjpeg decodes row by row, and Pillow hands it the file piece by piece. Between two pieces the rows that are
there are resized, and their memory goes back to the system. What comes out is what `resize` makes of the
whole picture; it takes up to a fifth more time, for memory that is given back must be had anew.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from typing import Final, cast

from PIL import Image, JpegImagePlugin

from media_files.jpeg import JpegSource
from proxies.resizing import LANCZOS_SUPPORT, Box, Resizer, resize

BAND_BYTES: Final = 16 << 20
"""Decoded bytes that are resized at a time. Each band costs the rows that it shares with the next, and the
filter's weights anew."""

_HELD_AS: Final[Mapping[str, str]] = {"L": "L", "RGB": "CMYK", "CMYK": "CMYK"}
"""Modes whose pixels Pillow lays out alike and lets lie in memory of ours: RGB takes four bytes, too."""


def bytes_decoded(image: Image.Image) -> int:
    """How much memory the decoded picture takes."""
    return image.width * image.height * (1 if image.mode == "L" else 4)


def resize_while_decoding(
    image: JpegImagePlugin.JpegImageFile, size: tuple[int, int], box: Box, resizer: Resizer
) -> tuple[Image.Image, str]:
    """``image``'s ``box`` resampled to ``size``, and the name of the resizer that did it.

    Args:
        image: baseline, opened from a `JpegSource` and not decoded yet. Afterwards it counts as decoded,
            but only its last rows are there.
        size: px of the result.
        box: left, top, right and bottom in ``image``, px, fractions included.
        resizer: ``pillow`` to do without SIMD.

    Raises:
        MemoryError: there is none for the rows.
        OSError: the file is damaged, as Pillow's decoder finds.
    """
    source = cast("JpegSource", image.fp)
    rows = _Rows(image)
    bands = _Bands(rows, Image.new(image.mode, size, None), box, resizer)
    image.im = rows.strip(0, image.height).im
    source.before_read = bands.resize_decoded
    image.load()
    bands.resize_all()
    return bands.made, bands.resized_by


class _Rows:
    """The memory that a picture is decoded into."""

    def __init__(self, image: Image.Image) -> None:
        self.mode = _HELD_AS[image.mode]
        self.width, self.height = image.size
        self._row_bytes = bytes_decoded(image) // image.height
        self._zeros = bytes(self._row_bytes)
        self._forgotten = 0
        try:
            self._memory = mmap.mmap(-1, bytes_decoded(image))
        except OSError as error:
            raise MemoryError(str(error)) from error

    def strip(self, top: int, bottom: int) -> Image.Image:
        """The rows from ``top`` to before ``bottom``, without a copy."""
        start, end = top * self._row_bytes, bottom * self._row_bytes
        view = memoryview(self._memory)[start:end]
        size = self.width, bottom - top
        return Image.frombuffer(self.mode, size, view, "raw", self.mode, 0, 1)  # type: ignore[arg-type] # any buffer will do

    def is_decoded(self, row: int) -> bool:
        """Whether something has been written there; False also for a row all of zeros, black or white."""
        start = row * self._row_bytes
        return self._memory[start : start + self._row_bytes] != self._zeros

    def forget(self, bottom: int) -> None:
        """Gives back the memory of the rows before ``bottom``; where that cannot be done it is kept."""
        end = bottom * self._row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if end > self._forgotten and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, self._forgotten, end - self._forgotten)
            self._forgotten = end

    @property
    def in_a_band(self) -> int:
        return BAND_BYTES // self._row_bytes


class _Bands:
    """A picture that is made from the top down, out of rows that come in one by one."""

    def __init__(self, rows: _Rows, made: Image.Image, box: Box, resizer: Resizer) -> None:
        self.made = made
        self.resized_by = "none"
        self._rows, self._box, self._resizer = rows, box, resizer
        self._scale = (box[3] - box[1]) / made.height
        self._reach = math.ceil(LANCZOS_SUPPORT * max(1.0, self._scale)) + 1
        self._step = max(1, int(rows.in_a_band / self._scale))
        self._done = 0

    def resize_decoded(self) -> None:
        """Resizes the bands for which all that they need has been decoded."""
        while self._done < self.made.height and self._rows.is_decoded(self._needed()[1] - 1):
            self._resize_next()

    def resize_all(self) -> None:
        """Resizes the bands that are left, of a picture that has been decoded."""
        while self._done < self.made.height:
            self._resize_next()

    def _end(self) -> int:
        return min(self._done + self._step, self.made.height)

    def _needed(self) -> tuple[int, int]:
        """The first decoded row that the next band is made of, and the one behind the last."""
        first = math.floor(self._box[1] + self._done * self._scale) - self._reach
        last = math.ceil(self._box[1] + self._end() * self._scale) + self._reach
        return max(0, first), min(last, self._rows.height)

    def _resize_next(self) -> None:
        (top, bottom), end = self._needed(), self._end()
        left, above, right, _ = self._box
        upper, lower = (min(above + row * self._scale - top, bottom - top) for row in (self._done, end))
        band = (self.made.width, end - self._done)
        resized, self.resized_by = resize(
            self._rows.strip(top, bottom), band, (left, upper, right, lower), self._resizer
        )
        if resized.mode != self.made.mode:
            resized = Image.merge(self.made.mode, resized.split()[: len(self.made.getbands())])
        self.made.paste(resized, (0, self._done))
        self._done = end
        self._rows.forget(self._needed()[0])
