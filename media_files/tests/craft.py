"""Build files byte by byte, for tests that need what no encoder writes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

Value = bytes | int | tuple[int, ...] | list[tuple[int, int]]
ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5
EXIF_IFD, GPS_IFD = 0x8769, 0x8825


def picture(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a picture with a gradient."""
    slope = Image.linear_gradient("L").resize(size)
    if mode in ("P", "1"):
        return slope.convert(mode)
    return Image.merge(mode, [slope] * len(Image.new(mode, (1, 1)).getbands()))


def saved(format_name: str = "JPEG", *, image: Image.Image | None = None, **options: Any) -> bytes:
    """Return a picture encoded by Pillow."""
    output = io.BytesIO()
    (image or picture()).save(output, format_name, **options)
    return output.getvalue()


def jpeg_with(*segments: tuple[int, bytes], data: bytes | None = None) -> bytes:
    """Return a JPEG file with extra segments (marker and content) after its first two bytes."""
    data = data or saved()
    added = b"".join(
        bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content for marker, content in segments
    )
    return data[:2] + added + data[2:]


def tiff_block(
    entries: dict[int, tuple[int, Value]],
    sub: dict[int, dict[int, tuple[int, Value]]] | None = None,
    order: str = "<",
    base: int = 8,
) -> bytes:
    """Return a TIFF structure with one directory and the sub-directories that its entries point to.

    Args:
        entries: type and value by tag; text as bytes, numbers as an integer or a tuple, rationals as pairs.
        sub: sub-directories, by the tag that points to them.
        order: ``<`` or ``>``.
        base: where the first directory begins.
    """
    sub = sub or {}
    entries = entries | dict.fromkeys(sub, (LONG, 0))
    body, at = b"", base + _directory_size(entries)
    for tag, inner in sub.items():
        entries[tag] = (LONG, at)
        directory = _directory(inner, at, order)
        body += directory
        at += len(directory)
    magic = b"II" if order == "<" else b"MM"
    head = magic + struct.pack(order + "HI", 42, base)
    return head.ljust(base, b"\x00") + _directory(entries, base, order, gap=len(body), middle=body)


def _directory_size(entries: dict[int, tuple[int, Value]]) -> int:
    return 2 + 12 * len(entries) + 4


def _directory(
    entries: dict[int, tuple[int, Value]], offset: int, order: str, gap: int = 0, middle: bytes = b""
) -> bytes:
    rows, data = b"", b""
    start = offset + _directory_size(entries) + gap
    for tag, (kind, value) in sorted(entries.items()):
        packed, count = _packed(kind, value, order)
        if len(packed) > 4:
            rows += struct.pack(order + "HHII", tag, kind, count, start + len(data))
            data += packed
        else:
            rows += struct.pack(order + "HHI", tag, kind, count) + packed.ljust(4, b"\x00")
    return struct.pack(order + "H", len(entries)) + rows + struct.pack(order + "I", 0) + middle + data


def _packed(kind: int, value: Value, order: str) -> tuple[bytes, int]:
    if isinstance(value, bytes):
        return value, len(value)
    if isinstance(value, list):
        return b"".join(struct.pack(order + "II", *pair) for pair in value), len(value)
    values = value if isinstance(value, tuple) else (value,)
    code = {SHORT: "H", LONG: "I"}[kind]
    return struct.pack(order + f"{len(values)}{code}", *values), len(values)


def exif(orientation: int = 1, taken: str = "", offset: str = "", place: object = None) -> bytes:
    """Return an EXIF block. ``place`` has three pairs, or none for a GPS directory without position."""
    sub: dict[int, dict[int, tuple[int, Value]]] = {}
    if taken:
        sub[EXIF_IFD] = {0x9003: (ASCII, taken.encode() + b"\x00")}
        if offset:
            sub[EXIF_IFD][0x9011] = (ASCII, offset.encode() + b"\x00")
    if isinstance(place, list):
        sub[GPS_IFD] = {0: (1, b"\x02\x03\x00\x00")} | ({2: (RATIONAL, place)} if place else {})
    return b"Exif\x00\x00" + tiff_block({0x0112: (SHORT, orientation)}, sub)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    *extra: bytes,
    size: tuple[int, int] = (64, 48),
    depth: int = 8,
    colour_type: int = 2,
    pixels: bytes | None = None,
    behind: bytes = b"",
) -> bytes:
    """Return a PNG file with extra chunks before and after the pixels."""
    width, height = size
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour_type, 0, 0, 0))
    if pixels is None:
        pixels = zlib.compress(b"".join(b"\x00" + bytes(range(1, 193)) for _ in range(48)))
    body = b"".join(extra) + chunk(b"IDAT", pixels) + behind
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def gif(frames: int, size: tuple[int, int] = (1, 1)) -> bytes:
    """Return a GIF file with the given number of one-pixel frames."""
    head = b"GIF89a" + struct.pack("<2H", *size) + b"\x80\x00\x00" + bytes(6)
    control = b"\x21\xf9\x04\x00\x0a\x00\x00\x00"
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + (control + frame) * frames + b"\x3b"


def webp_header(width: int, height: int, kind: bytes = b"VP8X") -> bytes:
    """Return the start of a WebP file that announces a canvas size."""
    if kind == b"VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        body = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(5)
    else:
        body = b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<2H", width, height)
    chunk_bytes = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk_bytes)) + b"WEBP" + chunk_bytes


def tiff_page(width: int, height: int, **changes: tuple[int, Value]) -> bytes:
    """Return a TIFF file with one uncompressed grey page, whose pixels may be missing."""
    tags: dict[int, tuple[int, Value]] = {
        256: (LONG, width),
        257: (LONG, height),
        258: (SHORT, 8),
        259: (SHORT, 1),
        262: (SHORT, 1),
        273: (LONG, 8),
        277: (SHORT, 1),
        278: (LONG, height),
        279: (LONG, min(width * height, 2**32 - 1)),
    }
    tags |= {int(name.removeprefix("tag_")): value for name, value in changes.items()}
    return tiff_block(tags)
