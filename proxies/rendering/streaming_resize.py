"""Resize large images while they are decoded, so that only the decoded rows in use take memory.

Some decoders yield an image from top to bottom. libjpeg decodes row by row, and Pillow feeds it the file
chunk by chunk: between two chunks the rows decoded so far are resized, and their memory is returned to the
system. The result is that of `resize` on the whole image, except for single levels of rounding.
"""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, cast

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
    bands = _Bands(rows, Image.new(image.mode, size, None), box, partial(resize, resizer=resizer))
    rows.mark(bands.last_rows())
    image.im = rows.strip(0, image.height).im
    source.before_read = bands.resize_decoded
    image.load()
    bands.resize_all()
    return bands.made, bands.resized_by


def resize_bands(
    bands: Iterable[Image.Image], mode: str, stored: tuple[int, int], size: tuple[int, int], resizer: Resizer
) -> tuple[Image.Image, str]:
    """Resample an image that arrives from top to bottom; return the result and the name of the resizer.

    Args:
        bands: pieces of the image's full width, of ``mode``.
        mode: as for `resize`.
        stored: width and height of the image, px.
        size: px of the result.
        resizer: ``pillow`` to do without SIMD.
    """
    return _scale_bands(bands, mode, stored, size, partial(resize, resizer=resizer))


def average_bands(
    bands: Iterable[Image.Image], mode: str, stored: tuple[int, int], size: tuple[int, int]
) -> Image.Image:
    """Return the averages of ``size`` areas of an image that arrives from top to bottom."""
    return _scale_bands(bands, mode, stored, size, _average)[0]


_Scaling = Callable[[Image.Image, tuple[int, int], Box], tuple[Image.Image, str]]


def _average(image: Image.Image, size: tuple[int, int], box: Box) -> tuple[Image.Image, str]:
    return image.resize(size, Image.Resampling.BOX, box), "box"


def _scale_bands(
    arriving: Iterable[Image.Image],
    mode: str,
    stored: tuple[int, int],
    size: tuple[int, int],
    scaling: _Scaling,
) -> tuple[Image.Image, str]:
    rows = _ArrivingRows(mode, stored)
    bands = _Bands(rows, Image.new(mode, size, None), (0, 0, *stored), scaling)
    for band in arriving:
        rows.append(band)
        bands.resize_decoded()
    bands.resize_all()
    return bands.made, bands.resized_by


class _DecodedRows(Protocol):
    """The rows of an image, as far as they have been decoded and not forgotten."""

    @property
    def height(self) -> int: ...

    @property
    def in_a_band(self) -> int:
        """How many rows are resized at a time."""

    def is_decoded(self, row: int) -> bool: ...

    def strip(self, top: int, bottom: int) -> Image.Image:
        """Return the rows from ``top`` up to, but not including, ``bottom``."""

    def forget(self, bottom: int) -> None:
        """Free the memory of the rows before ``bottom``."""


class _ArrivingRows:
    """Rows that a decoder yields in bands."""

    def __init__(self, mode: str, size: tuple[int, int]) -> None:
        self.mode = mode
        self.width, self.height = size
        self._pieces: deque[tuple[int, Image.Image]] = deque()
        self._end = 0

    def append(self, band: Image.Image) -> None:
        self._pieces.append((self._end, band))
        self._end += band.height

    @property
    def in_a_band(self) -> int:
        return max(1, BAND_BYTES // (self.width * (1 if self.mode == "L" else 4)))

    def is_decoded(self, row: int) -> bool:
        return row < self._end

    def strip(self, top: int, bottom: int) -> Image.Image:
        rows = Image.new(self.mode, (self.width, bottom - top), None)
        for start, piece in self._pieces:
            rows.paste(piece, (0, start - top))
        return rows

    def forget(self, bottom: int) -> None:
        while self._pieces and self._pieces[0][0] + self._pieces[0][1].height <= bottom:
            self._pieces.popleft()


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

    def __init__(self, rows: _DecodedRows, made: Image.Image, box: Box, scaling: _Scaling) -> None:
        self.made = made
        self.resized_by = "none"
        self._rows, self._box, self._scaling = rows, box, scaling
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
        resized, self.resized_by = self._scaling(
            self._rows.strip(top, bottom), band, (left, upper, right, lower)
        )
        if resized.mode != self.made.mode:
            resized = Image.merge(self.made.mode, resized.split()[: len(self.made.getbands())])
        self.made.paste(resized, (0, self._done))
        self._done = end
        self._rows.forget(self._needed(self._done)[0])
