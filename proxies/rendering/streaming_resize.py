"""Large JPEGs, resized while they are decoded: of the decoded rows only those in use take memory.

libjpeg decodes row by row, and Pillow hands it the file piece by piece. Between two pieces the rows that are
there are resized, and their memory goes back to the system. What comes out is what `resize` makes of the
whole picture, but for single levels of rounding.
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
"""Decoded bytes that are resized at a time. Each band costs the rows that it shares with the next, and the
filter's weights anew."""

_HELD_AS: Final[Mapping[str, str]] = {"L": "L", "RGB": "CMYK", "CMYK": "CMYK"}
"""Modes whose pixels Pillow lays out alike and lets lie in memory of ours: RGB takes four bytes, too."""

_MARK: Final = b"\xa5\x5a\x3c\xc3"
"""What a row holds before it is decoded. The fourth byte of RGB is 255 once it is."""


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
    rows.mark(bands.last_rows())
    image.im = rows.strip(0, image.height).im
    source.before_read = bands.resize_decoded
    image.load()
    bands.resize_all()
    return bands.made, bands.resized_by


class _Rows:
    """The memory that a picture is decoded into; of its own, for shared memory would not be given back."""

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
        """The rows from ``top`` to before ``bottom``, without a copy."""
        start, end = top * self._row_bytes, bottom * self._row_bytes
        view = memoryview(self._memory)[start:end]
        size = self.width, bottom - top
        return Image.frombuffer(self.mode, size, view, "raw", self.mode, 0, 1)  # type: ignore[arg-type] # any buffer will do

    def mark(self, rows: Iterable[int]) -> None:
        """Makes `is_decoded` tell of these rows; to be called once."""
        for row in rows:
            start = row * self._row_bytes
            self._memory[start : start + len(self._mark)] = self._mark
        # Large pages take half the time that small ones do. Not before: each mark would take one.
        self._advise("MADV_HUGEPAGE", 0, len(self._memory))

    def is_decoded(self, row: int) -> bool:
        """Whether a row that was marked has been written; False also where what was written looks like it."""
        start = row * self._row_bytes
        return self._memory[start : start + len(self._mark)] != self._mark

    def forget(self, bottom: int) -> None:
        """Gives back the memory of the rows before ``bottom``."""
        end = bottom * self._row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if end > self._forgotten:
            self._advise("MADV_DONTNEED", self._forgotten, end - self._forgotten)
            self._forgotten = end

    def _advise(self, advice: str, start: int, length: int) -> None:
        # What a system does not know, or refuses, costs memory or time and nothing else.
        if hasattr(mmap, advice):
            with suppress(OSError):
                self._memory.madvise(getattr(mmap, advice), start, length)

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

    def last_rows(self) -> Iterator[int]:
        """The last row that each of the bands needs."""
        return (self._needed(start)[1] - 1 for start in range(0, self.made.height, self._step))

    def resize_decoded(self) -> None:
        """Resizes the bands for which all that they need has been decoded."""
        while self._done < self.made.height and self._rows.is_decoded(self._needed(self._done)[1] - 1):
            self._resize_next()

    def resize_all(self) -> None:
        """Resizes the bands that are left, of a picture that has been decoded."""
        while self._done < self.made.height:
            self._resize_next()

    def _end(self, start: int) -> int:
        return min(start + self._step, self.made.height)

    def _needed(self, start: int) -> tuple[int, int]:
        """The first decoded row that the band from ``start`` on is made of, and the one behind the last."""
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
