"""Resize large JPEGs while they are decoded, so that only the decoded rows in use take memory.

libjpeg decodes row by row, and Pillow feeds it the file chunk by chunk. Between two chunks the rows decoded
so far are resized, and their memory is returned to the system. The result is that of `resize` on the whole
image, except for single levels of rounding.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, cast

from PIL import Image, JpegImagePlugin

from media_files.imaging.formats.jpeg import JpegSource
from proxies.rendering.resize import LANCZOS_SUPPORT, Box, Resizer, resize

BAND_BYTES: Final = 16 << 20
"""Decoded bytes that are resized at a time. The overhead of each band is the rows that it shares with the
next, and computing the filter's weights again."""

_HELD_AS: Final[Mapping[str, str]] = {"L": "L", "RGB": "CMYK", "CMYK": "CMYK"}
"""For each mode, one with the same layout that Pillow can use in our memory. RGB takes four bytes, too."""

_MARK: Final = b"\xa5\x5a\x3c\xc3"
"""The start of a row before it is decoded. Afterwards the fourth byte of RGB is 255."""


def bytes_decoded(image: Image.Image) -> int:
    """Return how many bytes of memory the decoded image takes."""
    return image.width * image.height * (1 if image.mode == "L" else 4)


def resize_while_decoding(
    image: JpegImagePlugin.JpegImageFile, size: tuple[int, int], box: Box, resizer: Resizer
) -> tuple[Image.Image, str]:
    """Resample ``image``'s ``box`` to ``size``; return the result and the name of the resizer.

    Args:
        image: baseline, opened from a `JpegSource` and not decoded yet. Afterwards it counts as decoded,
            but holds only its last rows.
        size: px of the result.
        box: left, top, right and bottom in ``image``, px, fractions included.
        resizer: ``pillow`` to do without SIMD.

    Raises:
        MemoryError: not enough memory for the rows.
        OSError: Pillow's decoder finds the file damaged.
    """
    source = cast("JpegSource", image.fp)
    rows = _Rows(image)
    bands = _Bands(rows, Image.new(image.mode, size, None), box, resizer)
    rows.mark(bands.last_rows())
    image.im = rows.strip(0, image.height).im
    source.before_read = bands.resize_decoded
    image.load()
    bands.resize_all()
    return bands.made, bands.resized_by


class _Rows:
    """The memory that an image is decoded into; private, because shared memory would not be returned."""

    def __init__(self, image: Image.Image) -> None:
        self.mode = _HELD_AS[image.mode]
        self.width, self.height = image.size
        self._row_bytes = bytes_decoded(image) // image.height
        self._mark = _MARK[: self._row_bytes]
        self._forgotten = 0
        try:
            self._memory = mmap.mmap(-1, bytes_decoded(image), access=mmap.ACCESS_COPY)
        except OSError as error:
            raise MemoryError(str(error)) from error

    def strip(self, top: int, bottom: int) -> Image.Image:
        """Return the rows from ``top`` up to, but not including, ``bottom``, without copying."""
        start, end = top * self._row_bytes, bottom * self._row_bytes
        view = memoryview(self._memory)[start:end]
        size = self.width, bottom - top
        return Image.frombuffer(self.mode, size, view, "raw", self.mode, 0, 1)  # type: ignore[arg-type] # any buffer will do

    def mark(self, rows: Iterable[int]) -> None:
        """Mark rows so that `is_decoded` works for them. Call this once."""
        for row in rows:
            start = row * self._row_bytes
            self._memory[start : start + len(self._mark)] = self._mark
        # Huge pages take half the time of small ones. Not earlier: each mark would allocate one.
        self._advise("MADV_HUGEPAGE", 0, len(self._memory))

    def is_decoded(self, row: int) -> bool:
        """Return whether a marked row has been decoded; False also if its pixels look like the mark."""
        start = row * self._row_bytes
        return self._memory[start : start + len(self._mark)] != self._mark

    def forget(self, bottom: int) -> None:
        """Return the memory of the rows before ``bottom`` to the system."""
        end = bottom * self._row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if end > self._forgotten:
            self._advise("MADV_DONTNEED", self._forgotten, end - self._forgotten)
            self._forgotten = end

    def _advise(self, advice: str, start: int, length: int) -> None:
        # If a system does not know or refuses the advice, that costs only memory or time.
        if hasattr(mmap, advice):
            with suppress(OSError):
                self._memory.madvise(getattr(mmap, advice), start, length)

    @property
    def in_a_band(self) -> int:
        return BAND_BYTES // self._row_bytes


class _Bands:
    """An image that is resized from the top down while its rows are decoded."""

    def __init__(self, rows: _Rows, made: Image.Image, box: Box, resizer: Resizer) -> None:
        self.made = made
        self.resized_by = "none"
        self._rows, self._box, self._resizer = rows, box, resizer
        self._scale = (box[3] - box[1]) / made.height
        self._reach = math.ceil(LANCZOS_SUPPORT * max(1.0, self._scale)) + 1
        self._step = max(1, int(rows.in_a_band / self._scale))
        self._done = 0

    def last_rows(self) -> Iterator[int]:
        """Return the last row that each of the bands needs."""
        return (self._needed(start)[1] - 1 for start in range(0, self.made.height, self._step))

    def resize_decoded(self) -> None:
        """Resize the bands whose rows have all been decoded."""
        while self._done < self.made.height and self._rows.is_decoded(self._needed(self._done)[1] - 1):
            self._resize_next()

    def resize_all(self) -> None:
        """Resize the remaining bands of a decoded image."""
        while self._done < self.made.height:
            self._resize_next()

    def _end(self, start: int) -> int:
        return min(start + self._step, self.made.height)

    def _needed(self, start: int) -> tuple[int, int]:
        """Return the range of decoded rows that the band from ``start`` needs, as (first, last + 1)."""
        first = math.floor(self._box[1] + start * self._scale) - self._reach
        last = math.ceil(self._box[1] + self._end(start) * self._scale) + self._reach
        return max(0, first), min(last, self._rows.height)

    def _resize_next(self) -> None:
        (top, bottom), end = self._needed(self._done), self._end(self._done)
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
        self._rows.forget(self._needed(self._done)[0])
