"""The parts of a BMP file. It has no room for metadata, but bytes can be hidden after its pixels.

Source: Microsoft, "Bitmap Storage" and BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from media_files.imaging.contents.found import Contents

_OFFSET_BYTES: Final = 26
_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})
_UNPACKED: Final = frozenset({0, 3, 6})
_OLD: Final = 12


def walk(stream: BinaryIO, size: int) -> Contents:
    """Check the parts of a BMP file of ``size`` bytes."""
    contents = Contents()
    stream.seek(0)
    head = stream.read(38).ljust(38, b"\x00")
    announced, offset, header = struct.unpack_from("<I4xII", head, 2)
    if header not in _HEADERS or announced != size or offset + _pixel_bytes(head, header) != size:
        contents.add_unknown()
    return contents


def _pixel_bytes(head: bytes, header: int) -> int:
    if header == _OLD:
        width, height, bits, packing, packed = *struct.unpack_from("<HH2xH", head, 18), 0, 0
    else:
        width, height, bits, packing, packed = struct.unpack_from("<ii2xHII", head, 18)
    return (width * bits + 31) // 32 * 4 * abs(height) if packing in _UNPACKED else packed
