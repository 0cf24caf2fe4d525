"""The boxes of JPEG 2000, HEIF and AVIF files.

These files always get a proxy, so their pixel data are not searched: a file is never known to be free of
metadata, but it may be known to hold no GPS data.
Sources: ISO/IEC 14496-12, section 4.2; ISO/IEC 23008-12, section 6; ISO/IEC 15444-1, annexes A and I.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from media_files.imaging.contents.found import MAX_BLOCKS, Contents

_HEAD: Final = 8
_LONG_HEAD: Final = 16
_MAX_META: Final = 4 << 20
_MAX_BLOCK: Final = 16 << 20
_META_VERSION: Final = 4
_NOT_IN_HEIF: Final = frozenset({b"ftyp", b"mdat"})
_PLAIN_JP2: Final = frozenset({b"jP  ", b"ftyp", b"jp2h"})
_PICTURES: Final = frozenset({b"hvc1", b"av01", b"grid", b"iovl", b"iden"})
_BY_DECODER: Final = frozenset({b"Exif", b"mime"})
"""Items whose content the decoder returns with the header."""

_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF: Final = b"JpgTiffExif->JP2"
_IPTC: Final = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_COMMENT, _FIRST_TILE = b"\xff\x64", b"\xff\x90"
_CODESTREAM: Final = b"\xff\x4f"
_ENCODERS: Final = (b"Created by OpenJPEG version ", b"Kakadu-")
_MAX_ENCODER: Final = 64


@dataclass(frozen=True, slots=True)
class _Box:
    type: bytes
    start: int
    end: int


def walk_heif(stream: BinaryIO, size: int) -> Contents:
    """Walk a HEIF or AVIF file of ``size`` bytes."""
    contents = Contents()
    for box in _boxes(stream, contents, 0, size):
        if box.type == b"meta" and box.end - box.start <= _MAX_META:
            _walk_meta(stream, contents, box)
        elif box.type not in _NOT_IN_HEIF:
            contents.add_unknown()
    return contents


def code_points(stream: BinaryIO, size: int) -> tuple[int, int] | None:
    """Return primaries and transfer of a HEIF or AVIF file's first ``nclx`` property; None without one."""
    at: list[tuple[int, int, tuple[bytes, ...]]] = [(0, size, (b"meta", b"iprp", b"ipco"))]
    while at:
        start, end, path = at.pop()
        for box in _boxes(stream, Contents(), start, end):
            if path and box.type == path[0]:
                inner = box.start + (_META_VERSION if box.type == b"meta" else 0)
                at.append((inner, box.end, path[1:]))
            elif not path and box.type == b"colr":
                stream.seek(box.start)
                data = stream.read(8)
                if data[:4] == b"nclx" and len(data) == 8:
                    return int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big")
    return None


def walk_jpeg2000(stream: BinaryIO, size: int) -> Contents:
    """Walk a JPEG 2000 file of ``size`` bytes."""
    contents = Contents()
    stream.seek(0)
    if stream.read(2) == _CODESTREAM:
        contents.has_unread = True
        return contents
    for box in _boxes(stream, contents, 0, size):
        if box.type == b"uuid" and box.end - box.start <= _MAX_BLOCK:
            stream.seek(box.start)
            _take_uuid(contents, stream.read(16), stream.read(box.end - box.start - 16))
        elif box.type == b"jp2c":
            _walk_codestream(stream, contents, box)
        elif box.type not in _PLAIN_JP2:
            contents.add_unknown()
    return contents


def _boxes(stream: BinaryIO, contents: Contents, at: int, end: int) -> Iterator[_Box]:
    """Yield the boxes from ``at`` to ``end``. Anything that is not a box counts as unknown."""
    for _ in range(MAX_BLOCKS):
        if at == end:
            return
        stream.seek(at)
        head = stream.read(_LONG_HEAD)
        size, start = int.from_bytes(head[:4], "big"), at + _HEAD
        if size == 1:
            size, start = int.from_bytes(head[_HEAD:], "big"), at + _LONG_HEAD
        # A size of zero means up to the end of the file, so appended bytes would belong to that box.
        if size < start - at or at + size > end:
            break
        yield _Box(head[4:8], start, at + size)
        at += size
    contents.add_unknown()


def _walk_meta(stream: BinaryIO, contents: Contents, meta: _Box) -> None:
    for box in _boxes(stream, contents, meta.start + _META_VERSION, meta.end):
        if box.type != b"iinf":
            continue
        stream.seek(box.start)
        count_bytes = 4 if stream.read(1) != b"\x00" else 2
        for entry in _boxes(stream, contents, box.start + 4 + count_bytes, box.end):
            stream.seek(entry.start)
            data = stream.read(14)
            # Item ids have two bytes in version 2, four in version 3. A protection index follows in both.
            at = {2: 8, 3: 10}.get(data[0] if data else 0, len(data))
            kind = data[at : at + 4]
            if kind in _BY_DECODER:
                contents.has_extra = True
            elif kind not in _PICTURES:
                contents.add_unknown()


def _take_uuid(contents: Contents, kind: bytes, data: bytes) -> None:
    if kind == _XMP:
        contents.add_xmp(data)
    elif kind == _EXIF:
        contents.add_exif(data)
    elif kind == _IPTC:
        contents.add_iptc(data)
    else:
        contents.add_unknown()


def _walk_codestream(stream: BinaryIO, contents: Contents, box: _Box) -> None:
    """Search the main header for comments, where encoders write their name."""
    at = box.start + len(_CODESTREAM)
    for _ in range(MAX_BLOCKS):
        stream.seek(at)
        head = stream.read(4)
        size = int.from_bytes(head[2:], "big")
        if head[:2] == _FIRST_TILE:
            return
        if at + size > box.end or size < 2:
            break
        if head[:2] == _COMMENT:
            text = stream.read(size - 2)[2:]
            if len(text) > _MAX_ENCODER or not text.startswith(_ENCODERS):
                contents.add_unknown()
        at += 2 + size
    contents.add_unknown()
