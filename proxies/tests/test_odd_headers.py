"""Headers that are legal but rare, or damaged where the pixels do not need them."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from media_files.errors import CorruptImage
from media_files.imaging.inspection import inspect
from proxies.tests.rendering import made, opened, photograph, pixels
from proxies.tests.test_tiff_combinations import WHOLE
from proxies.tests.tiff_files import CELL, COLOURS, OPACITIES


def _jpeg() -> bytes:
    written = io.BytesIO()
    photograph((96, 96)).save(written, "JPEG")
    return written.getvalue()


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


SEGMENTS = {
    "empty APP0": _segment(0xE0, b""),
    "JFIF without a version": _segment(0xE0, b"JFIF\x00"),
    "JFIF cut in its name": _segment(0xE0, b"JFIF"),
    "profile without a number": _segment(0xE2, b"ICC_PROFILE\x00"),
    "Photoshop's resources, cut": _segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
    "Adobe's marker, cut": _segment(0xEE, b"Adobe"),
    "EXIF that is empty": _segment(0xE1, b"Exif\x00\x00"),
    "EXIF that points nowhere": _segment(0xE1, b"Exif\x00\x00II*\x00\xff\xff\xff\xff"),
    "empty comment": _segment(0xFE, b""),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_a_damaged_segment_cannot_keep_a_jpeg_from_being_read(segment: bytes) -> None:
    plain = _jpeg()
    expected = pixels(made(plain, WHOLE))
    jfif_end = 4 + struct.unpack(">H", plain[4:6])[0]
    for data in (plain[:2] + segment + plain[2:], plain[:jfif_end] + segment + plain[jfif_end:]):
        assert np.array_equal(pixels(made(data, WHOLE)), expected)
        assert inspect(io.BytesIO(data)).has_metadata is not False


MASKS = {
    "BGRA": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "RGBA": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "ARGB": (32, (0xFF00, 0xFF0000, 0xFF000000, 0xFF)),
    "ABGR": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
    "10 bits, alpha of 2": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    "565": (16, (0xF800, 0x7E0, 0x1F, 0)),
    "555": (16, (0x7C00, 0x3E0, 0x1F, 0)),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
}
ALPHA_BITFIELDS = 6


def _levels(values: np.ndarray, mask: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits that hold ``values`` of 255, and the values that they hold."""
    if not mask:
        return np.zeros_like(values), np.full_like(values, 255)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    stored = np.round(values / 255 * top).astype(np.int64)
    return stored << shift, np.round(stored / top * 255).astype(np.int64)


def _bmp(
    bits: int, masks: tuple[int, ...], header: int, packing: int, *, top_down: bool
) -> tuple[bytes, np.ndarray]:
    """Return a file of 64 x 64 px, and the cells that it shows, as RGBA."""
    if header < 56 and packing != ALPHA_BITFIELDS:
        masks = (*masks[:3], 0)
    cells = np.column_stack([np.array(COLOURS), np.array(OPACITIES)]).astype(np.int64)
    parts = [_levels(cells[:, band], mask) for band, mask in enumerate(masks)]
    stored = np.kron(
        np.sum([part[0] for part in parts], axis=0).reshape(4, 4), np.ones((CELL, CELL), np.int64)
    )
    data = stored.astype(f"<u{bits // 8}")[:: 1 if top_down else -1].tobytes()
    height = -64 if top_down else 64
    info = struct.pack("<IiiHHIIiiII", header, 64, height, 1, bits, packing, len(data), 0, 0, 0, 0)
    packed = struct.pack("<4I", *masks)
    info += packed if header == 40 else (packed + bytes(200))[: header - 40]
    offset = 14 + len(info)
    shown = np.column_stack([part[1] for part in parts]).reshape(4, 4, 4)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + info + data, shown


@pytest.mark.parametrize("top_down", [False, True], ids=["bottom-up", "top-down"])
@pytest.mark.parametrize(("header", "packing"), [(124, 3), (108, 3), (56, 3), (52, 3), (40, 3), (40, 6)])
@pytest.mark.parametrize("kind", MASKS)
def test_every_layout_of_bit_masks_is_read(kind: str, header: int, packing: int, top_down: bool) -> None:
    data, shown = _bmp(*MASKS[kind], header, packing, top_down=top_down)
    seen = np.asarray(opened(made(data, WHOLE)).convert("RGBA"), dtype=float)
    seen = np.median(
        seen.reshape(4, CELL, 4, CELL, 4).transpose(0, 2, 1, 3, 4)[:, :, 5:11, 5:11].reshape(4, 4, -1, 4),
        axis=2,
    )
    assert np.abs((seen - shown)[:, :, :3] * shown[:, :, 3:] / 255).max() < 10
    assert np.abs(seen - shown)[:, :, 3].max() < 3


def test_rows_of_bit_masks_that_are_missing_are_damage() -> None:
    data, _ = _bmp(*MASKS["ARGB"], 124, 3, top_down=False)
    with pytest.raises(CorruptImage, match="fewer rows"):
        made(data[:-1], WHOLE)


def test_an_alpha_of_zero_everywhere_means_none() -> None:
    bits, masks = MASKS["4444"]
    data, _ = _bmp(bits, (*masks[:3], 0), 124, 3, top_down=False)
    at = 14 + 40 + 12
    clear = data[:at] + struct.pack("<I", 0xF000) + data[at + 4 :]
    assert Image.open(io.BytesIO(made(clear, WHOLE).data)).format == "JPEG"
