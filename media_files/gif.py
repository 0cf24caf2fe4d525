"""The blocks of a GIF file, counted without unpacking a pixel.

Source: GIF89a specification, sections 17 to 27.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final

_HEADER_BYTES: Final = 13
_IMAGE: Final = b"\x2c"
_EXTENSION: Final = b"\x21"


def screen_size(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the logical screen, px; zeros where the file ends before."""
    stream.seek(6)
    data = stream.read(4).ljust(4, b"\x00")
    return int.from_bytes(data[:2], "little"), int.from_bytes(data[2:], "little")


def count_frames(stream: BinaryIO, most: int) -> int:
    """Frames in the file; counting ends at ``most``, and where the blocks end."""
    stream.seek(0)
    _skip_colours(stream, stream.read(_HEADER_BYTES)[10:11])
    frames = 0
    while frames < most:
        kind = stream.read(1)
        if kind == _IMAGE:
            _skip_colours(stream, stream.read(9)[8:9])
            stream.seek(1, os.SEEK_CUR)
            frames += 1
        elif kind == _EXTENSION:
            stream.seek(1, os.SEEK_CUR)
        else:
            break
        _skip_sub_blocks(stream)
    return max(frames, 1)


def _skip_colours(stream: BinaryIO, flags: bytes) -> None:
    """Skips the colour table that a flags byte announces."""
    if flags and flags[0] & 0x80:
        stream.seek(3 << ((flags[0] & 7) + 1), os.SEEK_CUR)


def _skip_sub_blocks(stream: BinaryIO) -> None:
    while size := stream.read(1):
        if size == b"\x00":
            return
        stream.seek(size[0], os.SEEK_CUR)
