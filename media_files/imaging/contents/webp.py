"""The chunks of a WebP file.

Source: RFC 9649, section 2.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from media_files.imaging.contents import profiles
from media_files.imaging.contents.found import MAX_BLOCKS, Contents

_HEADER: Final = 12
_CHUNK_HEAD: Final = 8
_PIXELS: Final = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_SIZES: Final = {b"VP8X": 10, b"ANIM": 6}
_FRAME: Final = b"ANMF"
_FRAME_HEAD: Final = 16


def walk(stream: BinaryIO, size: int) -> Contents:
    """Walk a WebP file of ``size`` bytes."""
    contents = Contents()
    stream.seek(4)
    announced = _HEADER - 4 + int.from_bytes(stream.read(4), "little")
    if _walk_chunks(stream, contents, _HEADER, size) and announced == size:
        contents.is_whole = True
    else:
        contents.add_unknown()
    return contents


def _walk_chunks(stream: BinaryIO, contents: Contents, at: int, end: int) -> bool:
    """Walk the chunks from ``at`` and return whether the last one ends at ``end``."""
    seen: set[bytes] = set()
    for _ in range(MAX_BLOCKS):
        if at == end:
            return True
        stream.seek(at)
        head = stream.read(_CHUNK_HEAD)
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        start, at = at + _CHUNK_HEAD, at + _CHUNK_HEAD + size + (size & 1)
        if len(head) < _CHUNK_HEAD or at > end:
            return False
        _take(stream, contents, kind, start, size, is_again=kind in seen)
        seen.add(kind)
    return False


def _take(
    stream: BinaryIO, contents: Contents, kind: bytes, start: int, size: int, *, is_again: bool
) -> None:
    if size & 1:
        stream.seek(start + size)
        contents.has_extra |= stream.read(1) != b"\x00"
    stream.seek(start)
    if kind == _FRAME:
        # A frame has the same chunks as a still picture.
        if size < _FRAME_HEAD or not _walk_chunks(stream, contents, start + _FRAME_HEAD, start + size):
            contents.add_unknown()
    elif is_again:
        contents.add_unknown()
    elif kind == b"ICCP":
        contents.has_extra |= not profiles.is_known(stream.read(size))
    elif kind == b"EXIF":
        contents.add_exif(stream.read(size))
    elif kind == b"XMP ":
        contents.add_xmp(stream.read(size))
    elif kind not in _PIXELS and _SIZES.get(kind) != size:
        contents.add_unknown()
