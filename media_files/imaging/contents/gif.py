"""The blocks of a GIF file, walked without decoding a pixel.

Sources: GIF89a specification, sections 17 to 27; XMP part 3, section 1.1.2.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from media_files.imaging.contents.found import MAX_KEPT, Contents
from media_files.imaging.formats.metered import PER_READ, spend

_HEADER_BYTES: Final = 13
_DESCRIPTOR_BYTES: Final = 9
_BLOCK: Final = 1 << 18

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_CONTROL, _APPLICATION = 0xF9, 0xFF
_CONTROL_BYTES: Final = 4
_LOOPS: Final = frozenset({b"\x0bNETSCAPE2.0", b"\x0bANIMEXTS1.0"})
_LOOP_BYTES: Final = 3
_XMP: Final = b"\x0bXMP DataXMP"
_XMP_END: Final = bytes((1, *range(0xFF, -1, -1)))
"""Trailer of an XMP packet, which lets readers without XMP support find the end of its blocks."""


def screen_size(stream: BinaryIO) -> tuple[int, int]:
    """Return width and height of the logical screen, px; zeros if the file ends too early."""
    stream.seek(6)
    data = stream.read(4).ljust(4, b"\x00")
    return int.from_bytes(data[:2], "little"), int.from_bytes(data[2:], "little")


def walk(stream: BinaryIO, most: int) -> tuple[Contents, int]:
    """Return what a GIF file contains and its number of frames. The walk stops at frame ``most``."""
    walking = _Walk(stream)
    frames = 0
    while frames < most:
        kind = walking.take(1)
        if kind == bytes((_IMAGE,)):
            walking.skip_image()
            frames += 1
        elif kind == bytes((_EXTENSION,)):
            walking.take_extension()
        else:
            walking.end(kind)
            break
    else:
        walking.contents.add_unknown()
    return walking.contents, max(frames, 1)


class _Walk:
    """A buffered position in a file, because a GIF's blocks have at most 255 bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._data = b""
        self._at = 0
        self.contents = Contents()
        stream.seek(0)
        self._skip_colours(self.take(_HEADER_BYTES)[10:11])

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end of the file."""
        if self._at + size > len(self._data):
            self._data = self._data[self._at :] + self._stream.read(max(_BLOCK, size))
            self._at = 0
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def skip_image(self) -> None:
        self._skip_colours(self.take(_DESCRIPTOR_BYTES)[8:9])
        self.take(1)
        self._sub_blocks(kept=0)

    def take_extension(self) -> None:
        """Process an extension. Graphic control and loop count are harmless; only XMP is read."""
        label = self.take(1)
        blocks = self._sub_blocks(kept=MAX_KEPT)
        if label == bytes((_CONTROL,)) and len(blocks) == 1 + _CONTROL_BYTES and blocks[0] == _CONTROL_BYTES:
            return
        name, rest = blocks[:12], blocks[12:]
        if label != bytes((_APPLICATION,)):
            self.contents.add_unknown()
        elif name == _XMP:
            self.contents.add_xmp(rest.removesuffix(_XMP_END[:-1]))
        elif name not in _LOOPS or len(rest) != 1 + _LOOP_BYTES or rest[:2] != b"\x03\x01":
            self.contents.add_unknown()

    def end(self, kind: bytes) -> None:
        """Check that the file ends with its trailer."""
        if kind == bytes((_TRAILER,)) and not self.take(1):
            self.contents.is_whole = True
        else:
            self.contents.add_unknown()

    def _skip_colours(self, flags: bytes) -> None:
        """Skip the colour table announced by a flags byte."""
        if flags and flags[0] & 0x80:
            self.take(3 << ((flags[0] & 7) + 1))

    def _sub_blocks(self, kept: int) -> bytes:
        """Skip a chain of sub-blocks and return its first ``kept`` bytes, sizes included."""
        pieces: list[bytes] = []
        length = 0
        while (size := self.take(1)) and size != b"\x00":
            spend(self._stream, PER_READ)
            piece = self.take(size[0])
            if kept:
                pieces += (size, piece)
                length += 1 + len(piece)
                if length > kept:
                    kept = 0
                    self.contents.add_unknown()
        if not size:
            self.contents.add_unknown()
        return b"".join(pieces)
