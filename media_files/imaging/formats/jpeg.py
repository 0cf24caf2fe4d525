"""Distinguish truncated JPEG files from those that only look truncated.

libjpeg fills missing data with mid-grey and issues a warning that Pillow does not pass on. On the other hand,
Pillow rejects complete pictures that merely lack the marker at their end. So the marker is supplied here, and
a picture that looks unfinished is examined.
Source: ITU-T T.81, annex B (markers) and section F.1.2 (Huffman coding).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple, cast

from PIL import Image, JpegImagePlugin

from media_files.imaging.formats.spliced import Spliced

START_OF_IMAGE: Final = b"\xff\xd8"
END_OF_IMAGE: Final = b"\xff\xd9"
HOLE_BYTES: Final = 1024
"""A run of zero bytes that no encoder writes within a scan: 40 blocks of one impossible kind."""

_HOLE: Final = bytes(HOLE_BYTES)
_MARKER_IN_SCAN: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
_ARITHMETIC: Final = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_MAX_SEGMENTS: Final = 65_536
_SEGMENT_HEAD: Final = 4  # a marker and its length
_HUFFMAN_TABLES: Final = 0xC4
_SCAN: Final = 0xDA
_END: Final = 0xD9
_BARE_MARKERS: Final = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_PADDING: Final = 0xFF
_FILL_BLOCK: Final = 1 << 16
_COMMENT, _PHOTOSHOP = 0xFE, 0xED
_NEEDLESS: Final = frozenset({_COMMENT, _PHOTOSHOP})
_LEAST_BYTES: Final = {0xE0: (b"JFIF", 14), 0xE2: (b"ICC_PROFILE\x00", 14), 0xEE: (b"Adobe", 12)}
"""How the segments of some markers begin, and how many bytes they have at least."""

_CODE_LENGTHS: Final = 16
_RESTARTS: Final = 8
# Any bits will do that are not a run of one code. 0xff would begin a marker.
_FILLER: Final = bytes((0x5A, 0xC3, 0x17, 0x9E, 0x64, 0xB1, 0x2D, 0x88)) * 64
_GREY: Final = range(126, 131)
_MOST_JUDGED: Final = 3_000_000
"""Most pixels to decode for a check, so that it takes little time compared to the picture itself."""


def _nothing() -> None:
    """Default for `JpegSource.before_read`: do nothing."""


class JpegSource(io.RawIOBase):
    """A JPEG stream that always ends with the end-of-image marker, even if the file does not.

    Attributes:
        end_supplied: whether the decoder read beyond the end of the file.
        hole_seen: whether a run of at least `HOLE_BYTES` zero bytes was read anywhere in the file.
        before_read: called before the decoder gets the next piece of the file. By then it has decoded all
            rows of the earlier pieces.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = without_metadata(stream)
        self._last = b""
        self.end_supplied = False
        self.hole_seen = False
        self.before_read: Callable[[], None] = _nothing

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.before_read()
        data = self._stream.read(size)
        if not data and not self.end_supplied:
            self.end_supplied = True
            return END_OF_IMAGE.removeprefix(self._last)
        self._last = data[-1:]
        self.hole_seen = self.hole_seen or _HOLE in data
        return data

    def whole_file(self) -> bytes:
        """Return the file's bytes, as the decoder reads them."""
        self._stream.seek(0)
        return self._stream.read()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class HeaderSegment(NamedTuple):
    """A marker before the first scan, where it begins, and where its content begins and ends."""

    marker: int
    at: int
    start: int
    end: int


def header_segments(stream: BinaryIO) -> Iterator[HeaderSegment]:
    """Yield the segments up to the header of the first scan. The bytes 0xFF between them are not yielded."""
    at = len(START_OF_IMAGE)
    for _ in range(_MAX_SEGMENTS):
        stream.seek(at)
        head = stream.read(_SEGMENT_HEAD)
        if len(head) < _SEGMENT_HEAD or head[0] != _PADDING:
            return
        if head[1] == _PADDING:
            at += fill_bytes(stream, at)
            continue
        end = at + 2 + max(2, int.from_bytes(head[2:], "big"))
        yield HeaderSegment(head[1], at, at + _SEGMENT_HEAD, end)
        if head[1] == _SCAN:
            return
        at = end


def fill_bytes(stream: BinaryIO, at: int) -> int:
    """Return how many of the bytes 0xFF from ``at`` on precede the one that begins a marker, at least 1."""
    stream.seek(at)
    block = stream.read(_FILL_BLOCK)
    return max(1, len(block) - len(block.lstrip(b"\xff")) - 1)


def is_arithmetic(stream: BinaryIO) -> bool:
    """Return whether the frame header announces arithmetic coding."""
    return any(segment.marker in _ARITHMETIC for segment in header_segments(stream))


def without_metadata(stream: BinaryIO) -> BinaryIO:
    """Return the file without what Pillow would stop at or take long for, though its pixels do not need it.

    These are comments, Photoshop's resources, headers and profiles that are too short, and fill bytes.
    """
    stream.seek(0, os.SEEK_END)
    size = stream.tell()
    parts, at, end = [], 0, len(START_OF_IMAGE)
    for segment in header_segments(stream):
        is_needless = _is_needless(stream, segment)
        if is_needless or segment.at > end:
            parts.append((at, end))
            at = segment.end if is_needless else segment.at
        end = segment.end
    stream.seek(0)
    return cast("BinaryIO", Spliced(stream, [*parts, (at, size)])) if parts and at < size else stream


def _is_needless(stream: BinaryIO, segment: HeaderSegment) -> bool:
    if segment.marker in _NEEDLESS:
        return True
    needed = _LEAST_BYTES.get(segment.marker)
    if needed is None:
        return False
    name, least = needed
    stream.seek(segment.start)
    return segment.end - segment.start < least and stream.read(len(name)) == name


def find_damage(source: JpegSource, decoded: Image.Image) -> str | None:
    """Return what is missing in a picture that decoded from ``source`` without an error; None for nothing.

    For an unsuspicious picture this only looks at the last row.
    """
    if not (source.end_supplied or source.hole_seen or _ends_in_grey(decoded)):
        return None
    data = source.whole_file()
    if source.end_supplied and data.endswith(_HOLE):
        return "the end of the file is all zeros"
    if source.hole_seen and _has_hole(data):
        return "a part of the file is all zeros"
    if (source.end_supplied or _ends_in_grey(decoded)) and not _is_complete(data, _judged_at(decoded)):
        return "it holds fewer pixels than its header promises"
    return None


def _judged_at(decoded: Image.Image) -> tuple[int, int]:
    """Return the size at which to decode a picture for the check.

    In a sequential file the end of the scan holds whole blocks, which show at any size; in a progressive one
    it may hold only fine detail.
    """
    width, height = decoded.size
    while width * height > _MOST_JUDGED and "progressive" not in decoded.info:
        width, height = width // 2, height // 2
    return width, height


def _ends_in_grey(image: Image.Image) -> bool:
    """Return whether the last row is what libjpeg fills in for missing data: 128 in every component."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    # Decoded into the caller's memory, RGB pixels have a fourth byte, which must be ignored.
    components = last.split()[: len(image.getbands())]
    return all(level in _GREY for component in components for level in component.getextrema())


class _Segment(NamedTuple):
    """A marker, the start and end of its content, and the end of the coded data that follow a scan header."""

    marker: int
    start: int
    end: int
    data_end: int


def _segments(data: bytes) -> Iterator[_Segment]:
    at = len(START_OF_IMAGE)
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        at += 1 if marker == _PADDING else 2
        if marker == _END:
            return
        if marker == _PADDING or marker in _BARE_MARKERS:
            continue
        start, end = at + 2, at + int.from_bytes(data[at : at + 2], "big")
        found = _MARKER_IN_SCAN.search(data, end) if marker == _SCAN else None
        at = end if marker != _SCAN else found.start() if found else len(data)
        yield _Segment(marker, start, end, at)


def _is_complete(data: bytes, size: tuple[int, int]) -> bool:
    """Return whether the scans hold everything that the decoder needs.

    Bits appended to a complete scan are never read; appended to a truncated one, they become the missing
    pixels. So the picture is decoded twice, at the scale of ``size``, once with bits appended to every scan,
    and both results must be equal.
    """
    as_is: list[bytes | memoryview] = []
    filled: list[bytes | memoryview] = []
    view, at = memoryview(data), 0
    for segment in _segments(data):
        if segment.marker == _SCAN:
            piece = view[at : segment.data_end]
            as_is.append(piece)
            filled += [piece, _filler_after(piece)]
            at = segment.data_end
    rest = view[at:], END_OF_IMAGE
    return _decoded([*as_is, *rest], size) == _decoded([*filled, *rest], size)


def _filler_after(scan: memoryview) -> bytes:
    """Return the bits to append to a scan, with the restart markers that a decoder may expect, in order."""
    restarts = _RESTART.findall(scan)
    following = restarts[-1][1] + 1 if restarts else 0
    order = ((following + step) % _RESTARTS for step in range(_RESTARTS))
    return _FILLER + b"".join(bytes((0xFF, 0xD0 + number)) + _FILLER for number in order)


def _decoded(pieces: list[bytes | memoryview], size: tuple[int, int]) -> bytes:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(b"".join(pieces))) as image:
        image.draft(None, size)
        return image.tobytes()


def _has_hole(data: bytes) -> bool:
    """Return whether coded data contain a run of zeros that cannot encode a uniform area.

    Zero bits are the first code of each Huffman table. If that code means "the rest of the block is zero",
    which is common in tables made for one picture, a uniform area can be a long run of zeros. In progressive
    files runs of zeros can mean many things, so those are not checked.
    """
    sequential = False
    ends_block: dict[int, bool] = {}
    for segment in _segments(data):
        content = data[segment.start : segment.end]
        if segment.marker in _SEQUENTIAL:
            sequential = True
        elif segment.marker == _HUFFMAN_TABLES:
            ends_block |= _first_codes(content)
        elif segment.marker == _SCAN and sequential and data.find(_HOLE, segment.end, segment.data_end) >= 0:
            tables = (selector & 15 for selector in content[2 : 2 + 2 * content[0] : 2])
            if not all(ends_block.get(table, True) for table in tables):
                return True
    return False


def _first_codes(tables: bytes) -> dict[int, bool]:
    """Return for each AC table of a DHT segment, by number, whether its first code ends a block."""
    found: dict[int, bool] = {}
    at = 0
    while at + _CODE_LENGTHS < len(tables):
        symbols = at + 1 + _CODE_LENGTHS
        if tables[at] >> 4:
            found[tables[at] & 15] = tables[symbols : symbols + 1] == b"\x00"
        at = symbols + sum(tables[at + 1 : symbols])
    return found
