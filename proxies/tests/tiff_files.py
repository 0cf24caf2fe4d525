"""Write TIFF files of every combination of depth, layout, photometric and alpha, byte by byte.

No imaging library is involved: a file is what the specification says (TIFF 6.0; Adobe's technical notes for
Lab and for floating-point predictors), and the picture that it shows is known as numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
"""Rows, columns, samples; 0 to 1 from the lowest to the highest value that the sample can have."""

CELL: Final = 16
COLOURS: Final = (
    (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0),
    (0, 0, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0),
    (40, 40, 40), (80, 80, 80), (128, 128, 128), (200, 200, 200),
    (180, 60, 20), (20, 90, 160), (90, 150, 40), (250, 245, 235),
)  # fmt: skip
"""The cells of the picture, row by row: it reaches black, white and all saturated corners."""

OPACITIES: Final = (255, 255, 255, 255, 128, 255, 64, 255, 255, 200, 255, 255, 0, 255, 255, 30)
"""The opacity of each cell, where there is alpha."""

_TO_XYZ: Final = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
"""Linear sRGB to XYZ at D50, by Bradford."""
Tags = dict[int, tuple[str, list[int]]]
"""Values of each tag, and the letter of `struct` for them."""

_TYPES: Final = {"B": 1, "H": 3, "I": 4}


@dataclass(frozen=True)
class Combination:
    """One kind of TIFF file.

    Attributes:
        photometric: a key of `_PHOTOMETRIC`; the map of ``palette8`` has 8 bits.
        bits: per sample.
        sample_format: ``uint``, ``int`` or ``float``.
        planar: whether each sample has its own plane.
        tiled: whether the picture is cut into tiles, else into strips.
        order: ``<`` or ``>``.
        compression: a key of `PACKERS`.
        alpha: ``none``, ``associated``, ``unassociated`` or ``extra`` (a sample of no stated meaning).
        predictor: whether differences are stored.
    """

    photometric: str = "rgb"
    bits: int = 8
    sample_format: str = "uint"
    planar: bool = False
    tiled: bool = False
    order: str = "<"
    compression: str = "none"
    alpha: str = "none"
    predictor: bool = False

    def __str__(self) -> str:
        return " ".join(
            (
                f"{self.photometric} {self.bits}{self.sample_format}",
                "planar" if self.planar else "chunky",
                "tiles" if self.tiled else "strips",
                self.order,
                self.compression + ("+predictor" if self.predictor else ""),
                f"alpha={self.alpha}",
            )
        )


def shown(combination: Combination) -> npt.NDArray[np.uint8]:
    """Return the picture that the file shows, as RGBA of 4 x 4 cells."""
    colours = np.array(COLOURS, dtype=float)
    if combination.photometric in ("white", "black", "palette", "palette8"):
        colours = np.repeat(_grey(colours)[:, None], 3, axis=1)
        if combination.sample_format != "float":
            levels = 2 ** min(combination.bits, 8) - 1
            colours = np.round(colours / 255 * levels) / levels * 255
    alpha = np.array(OPACITIES if combination.alpha in ("associated", "unassociated") else [255] * 16)
    return np.round(np.column_stack([colours, alpha])).astype(np.uint8).reshape(4, 4, 4)


def _packbits(data: bytes) -> bytes:
    """Pack as PackBits does: literal runs only, which every reader must take."""
    return b"".join(
        bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128)
    )


def _lzw(data: bytes) -> bytes:
    """Pack as LZW does, in nine bits a code: the table is cleared before it grows (TIFF 6.0, section 13)."""
    codes = [256]
    for at, byte in enumerate(data):
        if at and at % 200 == 0:
            codes.append(256)
        codes.append(byte)
    codes.append(257)
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


PACKERS: Final[Mapping[str, tuple[int, Callable[[bytes], bytes]]]] = {
    "none": (1, bytes),
    "lzw": (5, _lzw),
    "deflate": (8, zlib.compress),
    "deflate, old tag": (32946, zlib.compress),
    "packbits": (32773, _packbits),
}
"""The value of the tag Compression, and the function, by name."""

_DEPTHS: Final = (
    *(("white", bits, "uint") for bits in (1, 2, 4, 8, 12, 16)),
    *(("black", bits, "uint") for bits in (1, 2, 4, 8, 10, 12, 14, 16, 32)),
    *(("rgb", bits, "uint") for bits in (8, 10, 12, 14, 16, 32)),
    *((kind, bits, "int") for kind in ("black", "rgb") for bits in (8, 16, 32)),
    *((kind, bits, "float") for kind in ("white", "black", "rgb") for bits in (16, 32, 64)),
    *(("palette", bits, "uint") for bits in (1, 2, 4, 8)),
    *(("palette8", bits, "uint") for bits in (2, 4, 8)),
    *((kind, bits, "uint") for kind in ("cmyk", "lab", "icclab") for bits in (8, 16)),
    ("ycbcr", 8, "uint"),
)
_ALPHAS: Final = ("none", "associated", "unassociated", "extra")
_PACKED: Final = tuple((packer, predictor) for packer in PACKERS for predictor in (False, True))


def kinds() -> list[tuple[str, int, str, str]]:
    """Return photometric, bits, sample format and alpha of everything that is proven."""
    return [
        (kind, bits, sample_format, alpha)
        for kind, bits, sample_format in _DEPTHS
        for alpha in _ALPHAS
        if alpha == "none" or (kind in ("white", "black", "rgb") and bits >= 8)
    ]


def layouts(kind: tuple[str, int, str, str]) -> Iterator[Combination]:
    """Yield one kind in every layout, byte order and compression."""
    photometric, bits, sample_format, alpha = kind
    for planar, tiled, order, (packer, predictor) in product((False, True), (False, True), "<>", _PACKED):
        one_sample = photometric in ("white", "black", "palette", "palette8") and alpha == "none"
        if (planar and one_sample) or (
            predictor and (bits not in (8, 16, 32, 64) or photometric == "palette")
        ):
            continue
        yield Combination(photometric, bits, sample_format, planar, tiled, order, packer, alpha, predictor)


def _grey(colours: Samples) -> Samples:
    return np.round(colours @ [0.299, 0.587, 0.114])


def write(combination: Combination) -> bytes:
    """Return the file: 64 x 64 px of 16 cells."""
    samples = np.kron(_samples(combination), np.ones((CELL, CELL, 1)))
    values = _quantized(samples, combination)
    planes = [values[:, :, [band]] for band in range(values.shape[2])] if combination.planar else [values]
    pieces = [_packed(piece, combination) for plane in planes for piece in _pieces(plane, combination)]
    return _file(pieces, values.shape[2], combination)


def _samples(combination: Combination) -> Samples:
    """Return the cells as samples: 4 x 4 x samples."""
    picture = shown(combination).astype(float) / 255
    colour, alpha = picture[:, :, :3], picture[:, :, 3:]
    match combination.photometric:
        case "black":
            bands = colour[:, :, :1]
        case "white":
            bands = 1 - colour[:, :, :1]
        case "palette" | "palette8":
            bands = colour[:, :, :1]
        case "cmyk":
            bands = np.concatenate([1 - colour, np.zeros((4, 4, 1))], axis=2)
        case "ycbcr":
            y = colour @ [0.299, 0.587, 0.114]
            cb, cr = (colour[:, :, 2] - y) / 1.772, (colour[:, :, 0] - y) / 1.402
            bands = np.stack([y, cb + 128 / 255, cr + 128 / 255], axis=2)
        case "lab" | "icclab":
            bands = _lab(colour)
        case _:
            bands = colour
    if combination.alpha == "associated":
        # What is stored is the light that the pixel adds; white-is-zero stores its complement.
        bands = 1 - (1 - bands) * alpha if combination.photometric == "white" else bands * alpha
    if combination.alpha != "none":
        extra = np.full((4, 4, 1), 0.3) if combination.alpha == "extra" else alpha
        bands = np.concatenate([bands, extra], axis=2)
    return bands


def _lab(colour: Samples) -> Samples:
    """Return L*, a* and b* at D50: 0 to 1 for L*, and -1 to 1 for a* and b* of -128 to 128."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [
            [0.4360747, 0.3850649, 0.1430804],
            [0.2225045, 0.7168786, 0.0606169],
            [0.0139322, 0.0971045, 0.7141733],
        ]
    )
    xyz = linear @ matrix.T / [0.96422, 1.0, 0.82521]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, 2, 0)
    return np.stack([(116 * y - 16) / 100, 500 * (x - y) / 128, 200 * (y - z) / 128], axis=2)


def _quantized(samples: Samples, combination: Combination) -> Samples:
    """Return samples as the numbers that are stored."""
    bits = combination.bits
    size = next(size for size in (8, 16, 32, 64) if size >= bits) // 8
    half = 2.0 ** (bits - 1)
    unit, floor, top = [1.0], [0.0], [2 * half - 1]
    offset = [0.0]
    if combination.sample_format == "float":
        return np.asarray(samples, f"{combination.order}f{size}")
    if combination.sample_format == "int":
        unit, top = [half - 1], [half - 1]
    elif combination.photometric == "lab":
        unit, floor, top = [2 * half - 1, half, half], [0, -half, -half], [2 * half - 1, half - 1, half - 1]
    elif combination.photometric == "icclab":
        step = 2.0 ** (bits - 8)
        unit, offset = [255 * step, 128 * step, 128 * step], [0, 128 * step, 128 * step]
    else:
        unit = [2 * half - 1]
    numbers = np.clip(np.round(samples * unit + offset), floor, top).astype(np.int64) % 2**bits
    return np.asarray(numbers, f"{combination.order}u{size}")


def _pieces(plane: Samples, combination: Combination) -> Iterator[Samples]:
    if not combination.tiled:
        yield from (plane[top : top + 20] for top in range(0, plane.shape[0], 20))
        return
    for top in range(0, 64, 48):
        for left in range(0, 64, 48):
            tile = np.zeros((48, 48, plane.shape[2]), plane.dtype)
            part = plane[top : top + 48, left : left + 48]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def _packed(piece: Samples, combination: Combination) -> bytes:
    if combination.predictor:
        piece = _differences(piece, combination)
    if combination.bits in (8, 16, 32, 64):
        data = piece.tobytes()
    else:
        rows = piece.reshape(piece.shape[0], -1).astype(np.uint32)
        bits = (rows[:, :, None] >> np.arange(combination.bits - 1, -1, -1)) & 1
        data = np.packbits(bits.reshape(piece.shape[0], -1).astype(np.uint8), axis=1).tobytes()
    return PACKERS[combination.compression][1](data)


def _differences(piece: Samples, combination: Combination) -> Samples:
    rows, columns, bands = piece.shape
    if combination.sample_format != "float":
        out = piece.copy()
        out[:, 1:] = piece[:, 1:] - piece[:, :-1]
        return out
    # Adobe's floating-point predictor: the bytes of a row by significance, then differences of bytes.
    size = combination.bits // 8
    big = piece.astype(f">f{size}").reshape(rows, columns * bands)
    bytes_by_significance = big.view(np.uint8).reshape(rows, -1, size).transpose(0, 2, 1).reshape(rows, -1)
    out = bytes_by_significance.copy()
    out[:, bands:] = bytes_by_significance[:, bands:] - bytes_by_significance[:, :-bands]
    return out.reshape(rows, columns, -1)


_PHOTOMETRIC: Final = {
    "white": 0,
    "black": 1,
    "rgb": 2,
    "palette": 3,
    "palette8": 3,
    "cmyk": 5,
    "ycbcr": 6,
    "lab": 8,
    "icclab": 9,
}


def _file(pieces: list[bytes], bands: int, combination: Combination) -> bytes:
    order, tiled = combination.order, combination.tiled
    formats = {"uint": 1, "int": 2, "float": 3}
    predictor = (3 if combination.sample_format == "float" else 2) if combination.predictor else 1
    tags: Tags = {
        256: ("I", [64]),
        257: ("I", [64]),
        258: ("H", [combination.bits] * bands),
        259: ("H", [PACKERS[combination.compression][0]]),
        262: ("H", [_PHOTOMETRIC[combination.photometric]]),
        277: ("H", [bands]),
        284: ("H", [2 if combination.planar else 1]),
        317: ("H", [predictor]),
        339: ("H", [formats[combination.sample_format]] * bands),
    }
    if tiled:
        tags |= {322: ("I", [48]), 323: ("I", [48])}
    else:
        tags[278] = ("I", [20])
    if combination.alpha != "none":
        tags[338] = ("H", [{"extra": 0, "associated": 1, "unassociated": 2}[combination.alpha]])
    if combination.photometric.startswith("palette"):
        levels = 2**combination.bits
        top = 255 if combination.photometric == "palette8" else 65535
        ramp = [round(level / (levels - 1) * top) for level in range(levels)]
        tags[320] = ("H", ramp * 3)
    if combination.photometric == "ycbcr":
        tags[530] = ("H", [1, 1])
    return _assembled(order, tags, pieces, tiled=tiled)


def _assembled(
    order: str, tags: dict[int, tuple[str, list[int]]], pieces: list[bytes], *, tiled: bool
) -> bytes:
    body = b"".join(pieces)
    starts = np.cumsum([8, *map(len, pieces)])[:-1].tolist()
    tags = dict(tags) | {
        (324 if tiled else 273): ("I", starts),
        (325 if tiled else 279): ("I", list(map(len, pieces))),
    }
    at = 8 + len(body) + len(body) % 2
    entries, extra = b"", b""
    after = at + 2 + 12 * len(tags) + 4
    for tag, (code, values) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}{code}", *values)
        field = data.ljust(4, b"\0")
        if len(data) > 4:
            field = struct.pack(f"{order}I", after + len(extra))
            extra += data + b"\0" * (len(data) % 2)
        entries += struct.pack(f"{order}HHI", tag, _TYPES[code], len(values)) + field
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    return head + body.ljust(at - 8, b"\0") + directory + extra


def with_tags(data: bytes, order: str, values: Mapping[int, int]) -> bytes:
    """Return a file whose short tags have other values."""
    out = bytearray(data)
    for at, tag, _ in _entries(data, order):
        if tag in values:
            struct.pack_into(f"{order}H", out, at + 8, values[tag])
    return bytes(out)


def with_short_pieces(data: bytes, order: str) -> bytes:
    """Return a file whose first strip or tile has half of its bytes."""
    out = bytearray(data)
    for at, tag, count in _entries(data, order):
        if tag in (279, 325):
            where = at + 8 if count == 1 else struct.unpack_from(f"{order}I", data, at + 8)[0]
            struct.pack_into(f"{order}I", out, where, struct.unpack_from(f"{order}I", data, where)[0] // 2)
    return bytes(out)


def _entries(data: bytes, order: str) -> Iterator[tuple[int, int, int]]:
    """Yield the offset, the tag and the number of values of each entry of the directory."""
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    for index in range(struct.unpack_from(f"{order}H", data, start)[0]):
        at = start + 2 + 12 * index
        tag, _, count = struct.unpack_from(f"{order}HHI", data, at)
        yield at, tag, count
