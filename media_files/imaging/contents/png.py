"""The chunks of a PNG file that contain something besides the picture.

Source: W3C, Portable Network Graphics (Third Edition), section 11.
"""

from __future__ import annotations

import zlib
from collections.abc import Container
from typing import BinaryIO, Final

from media_files.imaging.contents import profiles
from media_files.imaging.contents.found import Contents
from media_files.imaging.formats.png import Chunk, chunks, raw_profile, text_of

_SIZES: Final[dict[bytes, Container[int]]] = {
    b"IHDR": (13,),
    b"PLTE": range(3, 769, 3),
    b"tRNS": range(1, 257),
    b"gAMA": (4,),
    b"cHRM": (32,),
    b"sRGB": (1,),
    b"sBIT": range(1, 5),
    b"bKGD": (1, 2, 6),
    b"pHYs": (9,),
    b"cICP": (4,),
    b"acTL": (8,),
    b"IEND": (0,),
}
"""Chunks that hold only numbers and occur once per file, with their possible sizes in bytes."""

_PIXELS: Final = frozenset({b"IDAT", b"fdAT"})
_FRAME: Final = b"fcTL"
_FRAME_BYTES: Final = 26
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_PROFILE_NAMES: Final = frozenset(
    {b"ICC Profile", b"ICC profile", b"icc", b"Photoshop ICC profile", b"sRGB", b"sRGB IEC61966-2.1"}
    | {b"kCGColorSpaceSRGB", b"kCGColorSpaceDisplayP3", b"Display P3", b"Skia"}
)
_XMP_NAMES: Final = frozenset({b"XML:com.adobe.xmp", b"Raw profile type xmp"})
_EXIF_NAMES: Final = frozenset({b"Raw profile type exif", b"Raw profile type APP1"})
_XMP_MARK: Final = b"http://ns.adobe.com/xap/1.0/"
_IPTC_NAME: Final = b"Raw profile type iptc"


def walk(stream: BinaryIO, size: int) -> Contents:
    """Walk a PNG file of ``size`` bytes."""
    contents = Contents()
    seen: set[bytes] = set()
    end, last = 0, b""
    for chunk in chunks(stream):
        if not _is_harmless(stream, chunk, seen):
            _take(contents, stream, chunk)
        seen.add(chunk.type)
        end, last = chunk.offset + chunk.size + 4, chunk.type
    # A file may be truncated within its pixels.
    if end == size or (end > size and last == b"IDAT"):
        contents.is_whole = True
    else:
        contents.add_unknown()
    return contents


def _is_harmless(stream: BinaryIO, chunk: Chunk, seen: set[bytes]) -> bool:
    if chunk.type in _PIXELS or (chunk.type == _FRAME and chunk.size == _FRAME_BYTES):
        return chunk.type == b"IDAT" or b"acTL" in seen
    if chunk.type in seen:
        return False
    if chunk.type == b"iCCP":
        return _has_known_profile(_data(stream, chunk))
    if chunk.size not in _SIZES.get(chunk.type, ()):
        return False
    checksum = zlib.crc32(chunk.type + _data(stream, chunk))
    return stream.read(4) == checksum.to_bytes(4, "big")


def _data(stream: BinaryIO, chunk: Chunk) -> bytes:
    stream.seek(chunk.offset)
    return stream.read(chunk.size)


def _has_known_profile(data: bytes) -> bool:
    name, _, packed = data.partition(b"\x00")
    if name not in _PROFILE_NAMES or packed[:1] != b"\x00":
        return False
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], profiles.MAX_BYTES)
    except zlib.error:
        return False
    return inflater.eof and not inflater.unused_data and profiles.is_known(profile)


def _take(contents: Contents, stream: BinaryIO, chunk: Chunk) -> None:
    if chunk.type == b"eXIf":
        contents.add_exif(_data(stream, chunk))
    elif chunk.type in _TEXTS:
        _take_text(contents, *text_of(stream, chunk))
    elif chunk.type == b"iCCP":
        contents.has_extra = True
    else:
        contents.add_unknown()


def _take_text(contents: Contents, keyword: bytes, text: bytes | None) -> None:
    if text is None:
        contents.add_unknown()
        return
    block = raw_profile(text) if keyword.startswith(b"Raw profile type ") else text
    if keyword in _XMP_NAMES or (keyword in _EXIF_NAMES and block.startswith(_XMP_MARK)):
        contents.add_xmp(block)
    elif keyword in _EXIF_NAMES:
        contents.add_exif(block)
    elif keyword == _IPTC_NAME and block.startswith(b"8BIM"):
        contents.add_photoshop(block)
    elif keyword == _IPTC_NAME:
        contents.add_iptc(block)
    else:
        contents.add_unknown()
