"""Write PNG files of every colour type, depth and kind of transparency, chunk by chunk.

No imaging library is involved. The picture is that of `tiff_files`: 16 cells that reach black, white and the
saturated corners. Source: W3C, Portable Network Graphics (Third Edition), sections 7, 8 and 11.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from proxies.tests.tiff_files import CELL, COLOURS, OPACITIES

_TYPES: Final = {"grey": 0, "rgb": 2, "palette": 3, "grey alpha": 4, "rgb alpha": 6}
_DEPTHS: Final = {
    "grey": (1, 2, 4, 8, 16),
    "rgb": (8, 16),
    "palette": (1, 2, 4, 8),
    "grey alpha": (8, 16),
    "rgb alpha": (8, 16),
}
_PASSES: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_BANDS: Final = {
    "grey": [0],
    "rgb": [0, 1, 2],
    "palette": [0],
    "grey alpha": [0, 3],
    "rgb alpha": [0, 1, 2, 3],
}
KEY: Final = 9
"""The cell whose colour or entry in the palette is transparent, if one is."""


@dataclass(frozen=True)
class PngKind:
    """Colour type, depth, whether a colour or entry is transparent, and whether rows are interlaced."""

    colours: str
    depth: int
    keyed: bool = False
    interlaced: bool = False

    def __str__(self) -> str:
        return f"{self.colours} {self.depth}{' keyed' * self.keyed}{' interlaced' * self.interlaced}"


def png_kinds() -> list[PngKind]:
    """Return every combination that the specification allows."""
    return [
        PngKind(colours, depth, keyed, interlaced)
        for colours, depths in _DEPTHS.items()
        for depth in depths
        for keyed in ((False,) if "alpha" in colours else (False, True))
        for interlaced in (False, True)
    ]


def png_shown(kind: PngKind) -> npt.NDArray[np.uint8]:
    """Return the picture that the file shows, as RGBA of 4 x 4 cells."""
    colour = np.array(COLOURS, dtype=float)
    if kind.colours.startswith("grey") or kind.colours == "palette":
        grey = np.round(colour @ [0.299, 0.587, 0.114])
        levels = 2 ** min(kind.depth, 8) - 1
        colour = np.repeat(np.round(grey / 255 * levels)[:, None] / levels * 255, 3, axis=1)
    alpha = np.array(OPACITIES if "alpha" in kind.colours else [255] * 16, dtype=float)
    if kind.keyed:
        alpha[(colour == colour[KEY]).all(axis=1)] = 0
    return np.round(np.column_stack([colour, alpha])).astype(np.uint8).reshape(4, 4, 4)


def write_png(kind: PngKind) -> bytes:
    """Return the file: 64 x 64 px of 16 cells."""
    top = 2**kind.depth - 1
    picture = np.kron(png_shown(kind), np.ones((CELL, CELL, 1))) / 255
    values = np.round(picture[:, :, _BANDS[kind.colours]] * top).astype(np.int64)
    header = struct.pack(">2I5B", 64, 64, kind.depth, _TYPES[kind.colours], 0, 0, int(kind.interlaced))
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    if kind.colours == "palette":
        ramp = [round(level / top * 255) for level in range(top + 1)]
        parts.append(chunk(b"PLTE", bytes(level for level in ramp for _ in range(3))))
    if kind.keyed:
        key = values[CELL * (KEY // 4), CELL * (KEY % 4)]
        clear = (
            b"\xff" * int(key[0]) + b"\x00"
            if kind.colours == "palette"
            else struct.pack(f">{len(key)}H", *key)
        )
        parts.append(chunk(b"tRNS", clear))
    passes = _PASSES if kind.interlaced else ((0, 0, 1, 1),)
    rows = b"".join(_rows(values[y::down, x::across], kind.depth) for x, y, across, down in passes)
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def _rows(values: npt.NDArray[Any], depth: int) -> bytes:
    lines = []
    for line in values.reshape(values.shape[0], -1):
        if depth == 16:
            lines.append(b"\x00" + line.astype(">u2").tobytes())
        else:
            bits = (line[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            lines.append(b"\x00" + np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes())
    return b"".join(lines)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
