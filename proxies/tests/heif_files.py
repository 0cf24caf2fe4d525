"""HEIF files for tests: coded by heif-enc, their boxes written here byte by byte."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from media_files.tests.tools import run


def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", len(data) + 8) + kind + data


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def encode(folder: Path, image: Image.Image | Path, *options: str, name: str = "a.heic") -> bytes:
    """Return a file written by heif-enc, of an image or of a PNG file (of 16 bits, for deep pictures)."""
    source = image if isinstance(image, Path) else folder / "source.png"
    if not isinstance(image, Path):
        image.save(source)
    run("heif-enc", *options, source, "-o", folder / name)
    return (folder / name).read_bytes()


@dataclass(frozen=True)
class Coded:
    """A coded picture, taken from a file of heif-enc: its decoder's setup and its data."""

    setup: bytes
    data: bytes
    size: tuple[int, int]


def coded(data: bytes, size: tuple[int, int]) -> Coded:
    at = data.index(b"hvcC") - 4
    setup = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    start = data.index(b"mdat") + 4
    end = start + int.from_bytes(data[start - 8 : start - 4], "big") - 8
    return Coded(setup, data[start:end], size)


def ispe(size: tuple[int, int]) -> bytes:
    return full(b"ispe", struct.pack(">2I", *size))


def nclx(primaries: int, transfer: int, matrix: int, *, is_full: bool = True) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">3HB", primaries, transfer, matrix, is_full << 7))


def file(
    tiles: list[Coded],
    columns: int = 1,
    *properties: bytes,
    brands: tuple[bytes, ...] = (b"heic", b"mif1", b"heic"),
    exif: bytes = b"",
    kind: bytes = b"hvc1",
) -> bytes:
    """Return a file that shows one coded picture, or a grid of several of the same size.

    Args:
        tiles: row by row.
        columns: of the grid.
        properties: further boxes of the picture that is shown.
        brands: the major brand, then the compatible ones.
        exif: an EXIF block, from its byte order on.
        kind: of the coded items.
    """
    tile = tiles[0]
    rows = len(tiles) // columns
    width, height = tile.size[0] * columns, tile.size[1] * rows
    payloads = {number: tile.data for number, tile in enumerate(tiles, 2)}
    kinds = dict.fromkeys(payloads, kind)
    primary = 2
    if len(tiles) > 1:
        primary, kinds[1] = 1, b"grid"
        payloads[1] = struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, width, height)
    references = b""
    if primary == 1:
        members = struct.pack(f">2H{len(tiles)}H", 1, len(tiles), *range(2, len(tiles) + 2))
        references += box(b"dimg", members)
    if exif:
        number = len(tiles) + 2
        payloads[number], kinds[number] = bytes(4) + exif, b"Exif"
        references += box(b"cdsc", struct.pack(">3H", number, 1, primary))
    own = [tile.setup, ispe(tile.size), ispe((width, height)), *properties]
    extra = [*range(4, 4 + len(properties))]
    owned = {number: [1, 2] + (extra if number == primary else []) for number in range(2, len(tiles) + 2)}
    if primary == 1:
        owned[1] = [3, *extra]
    ipma = struct.pack(">I", len(owned)) + b"".join(
        struct.pack(">HB", number, len(indices)) + bytes(indices) for number, indices in sorted(owned.items())
    )
    infe = [
        full(b"infe", struct.pack(">2H", number, 0), letters, b"\x00", version=2)
        for number, letters in sorted(kinds.items())
    ]
    head = box(b"ftyp", brands[0], bytes(4), *brands[1:])

    def meta(start: int) -> bytes:
        places, at = [], start
        for number, payload in sorted(payloads.items()):
            places.append(struct.pack(">3H2I", number, 0, 1, at, len(payload)))
            at += len(payload)
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", primary)),
            full(b"iloc", b"\x44\x00", struct.pack(">H", len(places)), *places),
            full(b"iinf", struct.pack(">H", len(infe)), *infe),
            full(b"iref", references) if references else b"",
            box(b"iprp", box(b"ipco", *own), full(b"ipma", ipma)),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(payload for _, payload in sorted(payloads.items())))
