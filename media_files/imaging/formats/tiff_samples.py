"""Unpack the samples of a TIFF page, band by band, without libtiff.

Each strip or tile is decompressed by imagecodecs into as many bytes as the layout promises: fewer mean
damage, and more are never produced. `unread_part` lists what is read here; the tests prove it for every
combination.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO, Final, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt

from media_files.errors import CorruptImage
from media_files.imaging.formats.tiff_layout import COLOURS, TiffLayout

Band = npt.NDArray[Any]
"""Rows x columns x samples, in the machine's byte order."""

_Unpack = Callable[[bytes | bytearray, int], bytes | bytearray]
_UNPACKERS: Final[Mapping[str, _Unpack]] = {
    "none": lambda data, _: data,
    "LZW": lambda data, size: imagecodecs.lzw_decode(data, out=size),
    "deflate": lambda data, size: imagecodecs.deflate_decode(data, out=size),
    "PackBits": lambda data, size: imagecodecs.packbits_decode(data, out=size),
    "Zstandard": lambda data, size: imagecodecs.zstd_decode(data, out=size),
    "LZMA": lambda data, size: imagecodecs.lzma_decode(data, out=size),
}
_Decode = Callable[[bytes | bytearray, Band], object]
_DECODERS: Final[Mapping[str, _Decode]] = {
    "WebP": lambda data, out: imagecodecs.webp_decode(data, hasalpha=out.shape[-1] == 4, out=out),
    "JPEG XL": lambda data, out: imagecodecs.jpegxl_decode(data, keeporientation=True, numthreads=1, out=out),
    "LERC": lambda data, out: imagecodecs.lerc_decode(data, out=out),
}
"""Compressions whose pieces are pictures of their own. Before it allocates anything, each decoder compares
the size in the piece's header with that of the array it gets, and raises `ValueError` if they differ."""
_LERC_UNPACKERS: Final[Mapping[int, str]] = {0: "none", 1: "deflate", 2: "Zstandard"}
_DEPTHS: Final[Mapping[str, frozenset[int]]] = {
    "uint": frozenset({1, 2, 4, 8, 10, 12, 14, 16, 32}),
    "int": frozenset({8, 16, 32}),
    "float": frozenset({16, 32, 64}),
}
_WHOLE_BYTES: Final = frozenset({8, 16, 32, 64})
_MEANINGS: Final[Mapping[str, frozenset[int]]] = {
    "palette": frozenset({1, 2, 4, 8, 16}),
    "YCbCr": frozenset({8}),
    "CIELab": frozenset({8, 16}),
    "ICCLab": frozenset({8, 16}),
}
"""The depths of meanings that are not read at all depths; these are read as unsigned integers only."""
_WITH_ALPHA: Final = frozenset({"white is zero", "black is zero", "RGB", "palette"})


def unread_part(layout: TiffLayout) -> str | None:
    """Return what makes a page unreadable here, such as ``compressed with JBIG``; None if it is readable."""
    return _unread_samples(layout) or _unread_compression(layout) or _unread_subsampling(layout)


def _unread_samples(layout: TiffLayout) -> str | None:
    colours = COLOURS.get(layout.meaning)
    if colours is None:
        return f"of {layout.meaning}"
    if layout.samples < colours:
        return f"of {layout.meaning} with {layout.samples} samples per pixel"
    if layout.bits not in _DEPTHS.get(layout.sample_format or "", ()) or not _has_usual_depth(layout):
        kind = layout.sample_format or "mixed formats"
        return f"of {layout.bits or 'mixed'} bits per sample ({kind}, {layout.meaning})"
    if layout.alpha in ("associated", "unassociated") and layout.meaning not in _WITH_ALPHA:
        return f"of {layout.meaning} with alpha"
    return None


def _has_usual_depth(layout: TiffLayout) -> bool:
    depths = _MEANINGS.get(layout.meaning)
    return depths is None or (layout.bits in depths and layout.sample_format == "uint")


def _unread_compression(layout: TiffLayout) -> str | None:
    if layout.compression in _DECODERS:
        if _is_decoded(layout):
            return None
        return f"of {layout.bits} bits ({layout.meaning}) compressed with {layout.compression}"
    if layout.compression not in _UNPACKERS:
        return f"compressed with {layout.compression}"
    if layout.predictor != 1 and not _has_predictor(layout):
        return f"with predictor {layout.predictor} for {layout.bits} bits ({layout.sample_format})"
    return None


def _unread_subsampling(layout: TiffLayout) -> str | None:
    across, down = _shared_colours(layout)
    if (across, down) == (1, 1):
        return None
    plain = layout.predictor == 1 and layout.samples == 3
    if plain and {across, down} <= {1, 2, 4}:
        return None
    return f"of YCbCr with subsampling {across} x {down}"


def _is_decoded(layout: TiffLayout) -> bool:
    """Return whether pieces that are pictures hold the samples as the tags describe them."""
    if layout.predictor != 1 or layout.bits not in _WHOLE_BYTES or _shared_colours(layout) != (1, 1):
        return False
    if layout.compression == "WebP":
        return layout.bits == 8 and layout.meaning == "RGB" and layout.samples in (3, 4) and not layout.planar
    if layout.compression == "LERC":
        return layout.packed_lerc in _LERC_UNPACKERS
    return layout.bits < 64


def _has_predictor(layout: TiffLayout) -> bool:
    if layout.predictor == 3:
        return layout.sample_format == "float"
    return layout.predictor == 2 and layout.bits in _WHOLE_BYTES


def bands(stream: BinaryIO, layout: TiffLayout) -> Iterator[Band]:
    """Yield the page from top to bottom, a row of strips or tiles at a time.

    Args:
        stream: the file.
        layout: one for which `unread_part` returns None.

    Raises:
        CorruptImage: a piece is missing or too short.
    """
    layout = _cut(layout)
    width, height = layout.size
    across, down = math.ceil(width / layout.piece[0]), math.ceil(height / layout.piece[1])
    planes = layout.samples if layout.planar else 1
    if min(len(layout.offsets), len(layout.counts)) < across * down * planes:
        raise CorruptImage(
            f"The TIFF picture is damaged: {across * down * planes} pieces are needed, and "
            f"{min(len(layout.offsets), len(layout.counts))} are listed. Send the original file again."
        )
    for row in range(down):
        rows = min(layout.piece[1], height - row * layout.piece[1])
        yield np.concatenate(
            [
                np.concatenate(
                    [
                        _piece(stream, layout, (plane * down + row) * across + column, rows)
                        for column in range(across)
                    ],
                    axis=1,
                )[:, :width]
                for plane in range(planes)
            ],
            axis=2,
        )


_CUT_BYTES: Final = 4 << 20
"""A page of one uncompressed strip is read in pieces of about this size."""


def _cut(layout: TiffLayout) -> TiffLayout:
    """Return a page of one uncompressed strip per plane as one of many strips."""
    planes = layout.samples if layout.planar else 1
    if (
        layout.compression != "none"
        or layout.tiled
        or not len(layout.offsets) == len(layout.counts) == planes
    ):
        return layout
    width, height = layout.size
    down = _shared_colours(layout)[1]
    line = _bytes_of(layout, width, down, 1 if layout.planar else layout.samples)
    lines = max(1, _CUT_BYTES // line)
    strips = math.ceil(height / (lines * down))
    if min(layout.counts) < line * math.ceil(height / down):
        return layout
    return replace(
        layout,
        piece=(width, lines * down),
        offsets=tuple(start + at * lines * line for start in layout.offsets for at in range(strips)),
        counts=(lines * line,) * (strips * planes),
    )


def _piece(stream: BinaryIO, layout: TiffLayout, index: int, rows: int) -> Band:
    """Return ``rows`` rows of a piece."""
    columns, piece_rows = layout.piece
    stored_rows = piece_rows if layout.tiled else rows
    stream.seek(layout.offsets[index])
    data: bytes | bytearray = stream.read(layout.counts[index])
    if layout.reversed_bits:
        data = imagecodecs.bitorder_decode(data)
    samples = 1 if layout.planar else layout.samples
    needed = _bytes_of(layout, columns, stored_rows, samples)
    # Some programs fill up the last strip to the height of the others.
    most = max(needed, _bytes_of(layout, columns, piece_rows, samples))
    if layout.compression in _DECODERS:
        return _decoded(data, layout, (stored_rows, columns, samples), needed)[:rows]
    data = _UNPACKERS[layout.compression](data, most)
    if len(data) < needed:
        raise CorruptImage(
            f"The TIFF picture is damaged or incomplete: piece {index} holds {len(data)} bytes of {needed}. "
            "Send the original file again."
        )
    return _samples(memoryview(data)[:needed], layout, columns, samples)[:rows]


def _decoded(data: bytes | bytearray, layout: TiffLayout, shape: tuple[int, int, int], needed: int) -> Band:
    if layout.compression == "LERC":
        # What cannot be compressed grows a little.
        data = _UNPACKERS[_LERC_UNPACKERS[layout.packed_lerc]](data, 2 * needed + 65_536)
    out = np.empty(shape, _native_type(layout))
    # A single sample has no axis of its own.
    _DECODERS[layout.compression](data, out[:, :, 0] if shape[2] == 1 else out)
    return out


def _native_type(layout: TiffLayout) -> np.dtype[Any]:
    letter = {"uint": "u", "int": "i", "float": "f"}[layout.sample_format or "uint"]
    return np.dtype(f"{letter}{layout.bits // 8}")


def _bytes_of(layout: TiffLayout, columns: int, rows: int, samples: int) -> int:
    across, down = _shared_colours(layout)
    if (across, down) != (1, 1):
        return math.ceil(columns / across) * math.ceil(rows / down) * (across * down + 2)
    return rows * math.ceil(columns * samples * layout.bits / 8)


def _shared_colours(layout: TiffLayout) -> tuple[int, int]:
    return layout.subsampling if layout.meaning == "YCbCr" and not layout.planar else (1, 1)


def _samples(data: memoryview, layout: TiffLayout, columns: int, samples: int) -> Band:
    if _shared_colours(layout) != (1, 1):
        return _spread_colours(np.frombuffer(data, np.uint8), layout.subsampling, columns)
    if layout.bits not in _WHOLE_BYTES:
        kind = np.dtype(np.uint8 if layout.bits <= 8 else np.uint16)
        values = imagecodecs.packints_decode(bytes(data), kind, layout.bits, runlen=columns * samples)
        return values.reshape(-1, columns, samples)
    kind = _native_type(layout)
    # The floating-point predictor stores bytes by significance, whatever the byte order.
    order: Literal["=", "<", ">"] = "=" if layout.predictor == 3 else layout.order
    stored = np.frombuffer(data, kind.newbyteorder(order)).reshape(-1, columns, samples)
    values = stored.astype(kind, copy=False)
    if layout.predictor == 2:
        # Differences are those of integers, also where the bits are those of a floating-point number.
        words = values.view(f"u{kind.itemsize}")
        return imagecodecs.delta_decode(words, axis=-2).view(kind)
    if layout.predictor == 3:
        return imagecodecs.floatpred_decode(values, axis=-2)
    return values


def _spread_colours(data: npt.NDArray[np.uint8], subsampling: tuple[int, int], columns: int) -> Band:
    """Return Y, Cb and Cr of each pixel from blocks that share Cb and Cr (TIFF 6.0, section 21)."""
    across, down = subsampling
    blocks = data.reshape(-1, math.ceil(columns / across), across * down + 2)
    lines, count, _ = blocks.shape
    luma = blocks[:, :, :-2].reshape(lines, count, down, across).transpose(0, 2, 1, 3)
    full = np.empty((lines * down, count * across, 3), np.uint8)
    full[:, :, 0] = luma.reshape(lines * down, count * across)
    full[:, :, 1:] = blocks[:, :, -2:].repeat(down, axis=0).repeat(across, axis=1)
    return full[:, :columns]
