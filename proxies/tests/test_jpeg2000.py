"""JPEG 2000: depths, colour spaces, palettes and transparency show the right picture.

ImageMagick writes the codestreams; the boxes around them are written here, byte by byte.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from media_files.errors import CorruptImage, UnsupportedFormat
from media_files.tests.test_inspection import swapped_profile
from media_files.tests.tools import run
from proxies.tests.rendering import made
from proxies.tests.test_tiff_combinations import WHOLE, cells
from proxies.tests.tiff_files import CELL, COLOURS, OPACITIES

LIMIT = 8
TRUTH = np.column_stack([np.array(COLOURS), np.full(16, 255)]).reshape(4, 4, 4)
CLEAR = np.column_stack([np.array(COLOURS), np.array(OPACITIES)]).reshape(4, 4, 4)
GREY = np.round(np.array(COLOURS) @ [0.299, 0.587, 0.114]).astype(int).reshape(4, 4)
Samples = npt.NDArray[np.int64]


def codestream(folder: Path, samples: Samples, bits: int) -> bytes:
    """Return a lossless codestream of cells (4 x 4 x components) with ``bits`` per component."""
    top = 2**bits - 1
    big = np.kron(np.round(samples / 255 * top).astype(np.int64), np.ones((CELL, CELL, 1), np.int64))
    kinds = {1: ("GRAYSCALE", 1), 2: ("GRAYSCALE_ALPHA", 2), 3: ("RGB", 3), 4: ("RGB_ALPHA", 4)}
    name, depth = kinds[samples.shape[2]]
    head = f"P7\nWIDTH 64\nHEIGHT 64\nDEPTH {depth}\nMAXVAL {top}\nTUPLTYPE {name}\nENDHDR\n".encode()
    (folder / "a.pam").write_bytes(head + big.astype(">u2" if bits > 8 else "u1").tobytes())
    run("convert", folder / "a.pam", "-depth", str(bits), "-define", "jp2:rate=1", folder / "a.j2k")
    return (folder / "a.j2k").read_bytes()


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def jp2(stream: bytes, *boxes: bytes, space: int = 16, icc: bytes | None = None) -> bytes:
    """Return a file around a codestream, in a numbered colour space or with a profile."""
    count, depth = struct.unpack_from(">HB", stream, 40)
    ihdr = box(b"ihdr", struct.pack(">IIHBBBB", 64, 64, count, depth, 7, 0, 0))
    colr = box(b"colr", b"\x01\x00\x00" + struct.pack(">I", space) if icc is None else b"\x02\x00\x00" + icc)
    return b"".join(
        [
            box(b"jP  ", b"\r\n\x87\n"),
            box(b"ftyp", b"jp2 \x00\x00\x00\x00jp2 "),
            box(b"jp2h", ihdr + colr + b"".join(boxes)),
            box(b"jp2c", stream),
        ]
    )


def opacity(channel: int, kind: int = 1) -> bytes:
    """Return the box that says what a channel means."""
    described = [struct.pack(">3H", number, 0, number + 1) for number in range(channel)]
    described.append(struct.pack(">3H", channel, kind, 0))
    return box(b"cdef", struct.pack(">H", len(described)) + b"".join(described))


def difference(data: bytes, truth: Samples) -> float:
    seen = cells(data)
    colour = np.abs(seen - truth)[:, :, :3] * truth[:, :, 3:] / 255
    return float(max(colour.max(), np.abs(seen - truth)[:, :, 3].max()))


def grey_truth() -> Samples:
    return np.stack([GREY, GREY, GREY, np.full((4, 4), 255)], axis=2)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
class TestDepths:
    def test_colour(self, bits: int, tmp_path: Path) -> None:
        assert difference(jp2(codestream(tmp_path, TRUTH[:, :, :3], bits)), TRUTH) < LIMIT

    def test_grey(self, bits: int, tmp_path: Path) -> None:
        assert difference(jp2(codestream(tmp_path, GREY[:, :, None], bits), space=17), grey_truth()) < LIMIT

    def test_a_bare_codestream(self, bits: int, tmp_path: Path) -> None:
        assert difference(codestream(tmp_path, TRUTH[:, :, :3], bits), TRUTH) < LIMIT

    def test_signed_values(self, bits: int, tmp_path: Path) -> None:
        # Unsigned samples are stored less half of their range, which is what signed ones of that range are.
        stream = bytearray(codestream(tmp_path, TRUTH[:, :, :3], bits))
        for at in (42, 45, 48):
            stream[at] |= 0x80
        assert difference(jp2(bytes(stream)), TRUTH) < LIMIT


# ImageMagick writes a wrong alpha of 10 and 12 bits.
@pytest.mark.parametrize("bits", [8, 16])
class TestAlpha:
    def test_of_colour(self, bits: int, tmp_path: Path) -> None:
        assert difference(jp2(codestream(tmp_path, CLEAR, bits), opacity(3)), CLEAR) < LIMIT

    def test_of_grey(self, bits: int, tmp_path: Path) -> None:
        samples = np.stack([GREY, CLEAR[:, :, 3]], axis=2)
        truth = grey_truth()
        truth[:, :, 3] = CLEAR[:, :, 3]
        assert difference(jp2(codestream(tmp_path, samples, bits), opacity(1), space=17), truth) < LIMIT


def test_colours_multiplied_by_their_opacity(tmp_path: Path) -> None:
    samples = CLEAR.copy()
    samples[:, :, :3] = np.round(CLEAR[:, :, :3] * CLEAR[:, :, 3:] / 255)
    assert difference(jp2(codestream(tmp_path, samples, 8), opacity(3, 2)), CLEAR) < 12


def test_an_unknown_fourth_component_is_left_out(tmp_path: Path) -> None:
    assert difference(jp2(codestream(tmp_path, CLEAR, 8)), TRUTH) < LIMIT


def test_ycc(tmp_path: Path) -> None:
    r, g, b = (TRUTH[:, :, band] for band in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    samples = np.clip(np.round(np.stack([y, (b - y) / 1.772 + 128, (r - y) / 1.402 + 128], axis=2)), 0, 255)
    assert difference(jp2(codestream(tmp_path, samples.astype(np.int64), 8), space=18), TRUTH) < LIMIT


def test_a_profile_is_applied(tmp_path: Path) -> None:
    data = jp2(codestream(tmp_path, TRUTH[:, :, :3], 8), icc=swapped_profile())
    rendered = made(data, WHOLE)
    assert rendered.provenance["profile"] == "converted"
    assert difference(data, TRUTH[:, :, [1, 0, 2, 3]]) < 12


def test_a_palette(tmp_path: Path) -> None:
    index = np.arange(16).reshape(4, 4, 1)
    entries = struct.pack(">HB", 16, 3) + b"\x07\x07\x07" + bytes(np.array(COLOURS, np.uint8).tobytes())
    mapping = b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3))
    stream = codestream(tmp_path, index, 8)
    assert difference(jp2(stream, box(b"pclr", entries), box(b"cmap", mapping)), TRUTH) < LIMIT


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    stream = codestream(tmp_path, TRUTH[:, :, :3], 8)
    with pytest.raises(UnsupportedFormat, match="in colour space 14"):
        made(jp2(stream, space=14), WHOLE)
    with pytest.raises(UnsupportedFormat, match="of 3 components in CMYK"):
        made(jp2(stream, space=12), WHOLE)


def test_a_file_without_a_picture_is_damaged(tmp_path: Path) -> None:
    data = jp2(codestream(tmp_path, TRUTH[:, :, :3], 8))
    with pytest.raises(CorruptImage):
        made(data[: data.index(b"jp2c") - 4], WHOLE)


def test_the_known_case() -> None:
    cases = Path(__file__).parents[2] / "media_files" / "tests" / "cases"
    truth = np.asarray(Image.open(cases / "truth-rgb.png").convert("RGB"), dtype=float)
    proxy = made((cases / "rgb16.jp2").read_bytes(), WHOLE)
    seen = np.asarray(Image.open(io.BytesIO(proxy.data)).convert("RGB"), dtype=float)
    assert np.abs(seen - truth).mean() < 6
