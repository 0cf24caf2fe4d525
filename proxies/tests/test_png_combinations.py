"""PNG: every colour type, depth and kind of transparency shows the right picture."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from media_files.errors import CorruptImage
from media_files.imaging.inspection import inspect
from proxies.tests.png_files import PngKind, chunk, png_kinds, png_shown, write_png
from proxies.tests.rendering import made
from proxies.tests.test_tiff_combinations import WHOLE, cells

LIMIT = 6


def difference(kind: PngKind, data: bytes) -> float:
    """Return the largest difference of a channel where the picture is not transparent."""
    seen, truth = cells(data), png_shown(kind).astype(float)
    colour = np.abs(seen - truth)[:, :, :3] * truth[:, :, 3:] / 255
    return float(max(colour.max(), np.abs(seen - truth)[:, :, 3].max()))


@pytest.mark.parametrize("kind", png_kinds(), ids=str)
def test_it_shows_the_picture(kind: PngKind) -> None:
    assert difference(kind, write_png(kind)) < LIMIT


@pytest.mark.parametrize("kind", [PngKind("grey", 16, keyed=True), PngKind("rgb", 16, keyed=True)], ids=str)
def test_a_transparent_colour_of_16_bits_is_exact(kind: PngKind) -> None:
    data = write_png(kind)
    start = data.index(b"tRNS") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big")
    key = bytearray(data[start : start + size])
    key[-1] ^= 1  # a colour that differs in the lowest bit only, and that no pixel has
    other = data[: start - 8] + chunk(b"tRNS", bytes(key)) + data[start + size + 4 :]
    assert Image.open(io.BytesIO(made(other, WHOLE).data)).format == "JPEG"


def _with(*chunks: bytes) -> bytes:
    data = write_png(PngKind("rgb", 8))
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def _damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


OPTIONAL = {
    "a text of 3 MB": chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(3 << 20))),
    "a plain text of 3 MB": chunk(b"tEXt", b"Comment\x00" + b"a" * (3 << 20)),
    "a text with a wrong checksum": _damaged(chunk(b"tEXt", b"Comment\x00hello")),
    "a gamma with a wrong checksum": _damaged(chunk(b"gAMA", (45_455).to_bytes(4, "big"))),
    "a profile with a wrong checksum": _damaged(chunk(b"iCCP", b"icc\x00\x00" + zlib.compress(b"nonsense"))),
    "a transparent colour with a wrong checksum": _damaged(chunk(b"tRNS", bytes(6))),
    "a text that is not text": chunk(b"iTXt", b"\x00\xff\x00"),
    "an unknown chunk": chunk(b"abCd", b"\x00" * 99),
}


@pytest.mark.parametrize("extra", OPTIONAL.values(), ids=OPTIONAL.keys())
def test_metadata_cannot_keep_pixels_from_being_read(extra: bytes) -> None:
    assert difference(PngKind("rgb", 8), _with(extra)) < LIMIT
    assert inspect(io.BytesIO(_with(extra))).has_metadata is True


@pytest.mark.parametrize("name", [b"IDAT", b"IHDR"])
def test_a_wrong_checksum_of_the_picture_itself_is_damage(name: bytes) -> None:
    data = write_png(PngKind("rgb", 8))
    end = data.index(name) + 4 + int.from_bytes(data[data.index(name) - 4 : data.index(name)], "big") + 4
    with pytest.raises(CorruptImage):
        made(_damaged(data[:end]) + data[end:], WHOLE)
