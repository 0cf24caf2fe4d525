"""The work of reading a file's structure is bounded in sum, whatever the file consists of."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

import pytest

from media_files.errors import ImageTooLarge, MediaError
from media_files.imaging.formats.metered import BASE, PER_BYTE, Metered
from media_files.imaging.inspection import inspect
from media_files.tests.craft import chunk, png
from media_files.tests.pictures import jpeg


def _overlapping_directories() -> bytes:
    """Return a TIFF whose directories of 4,096 entries begin four bytes after each other."""
    entries, directories = 4096, 2000
    size = 8 + 4 * directories + 2 + 12 * entries + 4
    data = bytearray(struct.pack("<HHI", 0x4949, 42, 8) + bytes(size))
    for number in range(directories):
        at = 8 + number * 4
        struct.pack_into("<H", data, at, entries)
        struct.pack_into("<I", data, at + 2 + 12 * entries, at + 4)
    return bytes(data)


def _padded_jpeg() -> bytes:
    data = jpeg(100, 100)
    return data[:2] + b"\xff" * 5_000_000 + data[2:]


def _gif_of_tiny_blocks() -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0)
    return head + b"\x21\xfe" + b"\x01a" * 5_000_000 + b"\x00;"


HOSTILE = {
    "TIFF directories that overlap": _overlapping_directories,
    "PNG of 10,000 packed texts": lambda: png(
        chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(1 << 20), 9)) * 10_000
    ),
    "GIF of tiny blocks": _gif_of_tiny_blocks,
    "JPEG of padding": _padded_jpeg,
    "JPEG of empty scans": lambda: jpeg(100, 100)[:-2] + b"\xff\xda\x00\x02" * 500_000,
}


@pytest.mark.parametrize("build", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_takes_little_work(build, monkeypatch):
    data = build()
    spent = 0
    count = Metered.spend

    def spend(self: Metered, units: int) -> None:
        nonlocal spent
        spent += units
        count(self, units)

    monkeypatch.setattr(Metered, "spend", spend)
    with suppress(MediaError):
        inspect(io.BytesIO(data))
    # The last piece of work may exceed the limit by its own size.
    assert spent <= BASE + PER_BYTE * len(data) + (2 << 20)


def test_the_limit_names_what_to_do():
    with pytest.raises(ImageTooLarge, match="more work to read than is allowed"):
        inspect(io.BytesIO(_overlapping_directories()))
