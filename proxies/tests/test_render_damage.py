"""Damaged files: either the right proxy or a named error, never half an image."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from media_files.errors import CorruptImage, MediaError
from media_files.imaging.formats import jpeg, png
from media_files.tests.craft import chunk, jpeg_with, picture, saved
from media_files.tests.craft import png as craft_png
from proxies.rendering.profiles import NOVA
from proxies.tests.rendering import made, photograph, pixels

PROFILE = replace(NOVA, shorter_side=120)
PHOTOGRAPH = photograph((480, 360))

Options = dict[str, Any]

JPEG_KINDS: dict[str, Options] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "own tables": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "full chroma": {"subsampling": 0},
}
MODES = ("RGB", "L", "CMYK")


def jpeg_of(mode: str = "RGB", **options) -> bytes:
    return saved("JPEG", image=PHOTOGRAPH.convert(mode), quality=90, **options)


def with_height(data: bytes, height: int) -> bytes:
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:at] + struct.pack(">H", height) + data[at + 2 :]


class TestJpeg:
    @pytest.fixture(autouse=True, params=[jpeg._MOST_JUDGED, 10_000], ids=["", "judged small"])
    def _judged(self, request, monkeypatch):
        monkeypatch.setattr(jpeg, "_MOST_JUDGED", request.param)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("kind", JPEG_KINDS)
    def test_it_is_complete_without_its_end_marker(self, kind, mode):
        data = jpeg_of(mode, **JPEG_KINDS[kind])
        assert made(data[:-2], PROFILE).data == made(data, PROFILE).data

    # Not detected: a progressive file whose later scans were replaced by an end marker.
    CUTS = [cut for cut in product(JPEG_KINDS, (b"", b"\xff\xd9")) if cut != ("progressive", b"\xff\xd9")]

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(("kind", "end"), CUTS)
    def test_half_of_it_is_refused(self, kind, end, mode):
        data = jpeg_of(mode, **JPEG_KINDS[kind])
        with pytest.raises(CorruptImage):
            made(data[: len(data) // 2] + end, PROFILE)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("kind", JPEG_KINDS)
    def test_a_false_height_is_refused(self, kind, mode):
        with pytest.raises(CorruptImage, match="fewer pixels"):
            made(with_height(jpeg_of(mode, **JPEG_KINDS[kind]), 1000), PROFILE)

    @pytest.mark.parametrize("kind", ["baseline", "restarts", "full chroma"])
    def test_a_hole_is_refused(self, kind):
        data = bytearray(jpeg_of(**JPEG_KINDS[kind]))
        middle = len(data) // 2
        data[middle : middle + 4096] = bytes(4096)
        with pytest.raises(CorruptImage, match=r"zeros|fewer"):
            made(bytes(data), PROFILE)

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    @pytest.mark.parametrize("kind", JPEG_KINDS)
    def test_a_last_part_of_zeros_is_refused(self, kind, mode):
        data = jpeg_of(mode, **JPEG_KINDS[kind])
        half = len(data) // 2
        with pytest.raises(CorruptImage, match="zeros"):
            made(data[:half] + bytes(len(data) - half), PROFILE)

    def test_a_uniform_area_may_be_a_run_of_zeros(self):
        """White, with tables in which zero bits mean "no change"."""
        data = saved("JPEG", image=Image.new("L", (2400, 2400), 255), optimize=True)
        assert jpeg.HOLE_BYTES * b"\x00" in data
        assert pixels(made(data, PROFILE)).min() == 255

    def test_zeros_outside_the_coded_data_are_no_hole(self):
        data = jpeg_with((0xEB, bytes(8000)), data=jpeg_of())
        assert made(data, PROFILE).data == made(jpeg_of(), PROFILE).data
        assert made(jpeg_of() + bytes(8000), PROFILE).data == made(jpeg_of(), PROFILE).data

    def test_zeros_in_a_progressive_file_are_not_judged(self):
        data = jpeg_with((0xEB, bytes(8000)), data=jpeg_of(progressive=True))
        assert made(data, PROFILE).format == "JPEG"

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    @pytest.mark.parametrize("kind", JPEG_KINDS)
    def test_an_image_that_is_grey_at_the_bottom_is_complete(self, kind, mode):
        image = PHOTOGRAPH.copy()
        image.paste((128, 128, 128), (0, 200, 480, 360))
        data = saved("JPEG", image=image.convert(mode), **JPEG_KINDS[kind])
        shown = pixels(made(data, PROFILE), "L")
        assert abs(shown[-1].mean() - 128) < 2

    def test_padding_between_segments(self):
        data = jpeg_of()
        padded = data[:2] + b"\xff\xff\xff" + data[3:-2]
        assert made(padded, PROFILE).data == made(data, PROFILE).data

    def test_garbage_after_the_end(self):
        assert made(jpeg_of() + b"garbage" * 999, PROFILE).data == made(jpeg_of(), PROFILE).data

    def test_a_cut_within_a_marker(self):
        with pytest.raises(CorruptImage):
            made(jpeg_of()[:-1], PROFILE)

    def test_a_source_can_be_read_as_a_stream(self):
        source = jpeg.JpegSource(io.BytesIO(b"\xff\xd8ab\xff"))
        assert source.readable()
        assert source.seekable()
        assert (source.read(), source.tell(), source.read(), source.read()) == (
            b"\xff\xd8ab\xff",
            5,
            b"\xd9",
            b"",
        )


class TestPng:
    def test_pixels_that_end_early_with_valid_checksums(self):
        rows = b"".join(b"\x00" + bytes(range(1, 193)) for _ in range(30))
        with pytest.raises(CorruptImage, match="fewer rows"):
            made(craft_png(pixels=zlib.compress(rows)), PROFILE)

    def test_no_pixels_at_all(self):
        with pytest.raises(CorruptImage):
            made(craft_png(pixels=zlib.compress(b"")), PROFILE)

    @pytest.mark.parametrize(
        ("depth", "colour_type", "row"),
        [(1, 0, 8), (8, 0, 64), (16, 0, 128), (8, 4, 128), (16, 4, 256), (8, 6, 256), (16, 2, 384)],
    )
    def test_every_depth(self, depth, colour_type, row):
        whole = [b"\x00" + bytes([7] * row)] * 48
        data = craft_png(depth=depth, colour_type=colour_type, pixels=zlib.compress(b"".join(whole)))
        assert made(data, PROFILE).width == 64
        cut = craft_png(depth=depth, colour_type=colour_type, pixels=zlib.compress(b"".join(whole[:40])))
        with pytest.raises(CorruptImage, match="fewer rows"):
            made(cut, PROFILE)

    def test_a_palette_that_ends_early(self):
        palette = chunk(b"PLTE", bytes(range(48)))
        rows = b"".join(b"\x00" + bytes(64) for _ in range(20))
        with pytest.raises(CorruptImage, match="fewer rows"):
            made(craft_png(palette, colour_type=3, pixels=zlib.compress(rows)), PROFILE)

    def test_interlaced_pixels_that_end_early(self):
        data = bytearray(saved("PNG", image=picture("L")))
        data[28] = 1  # declares interlacing, but the last passes are missing
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
        with pytest.raises(CorruptImage):
            made(bytes(data), PROFILE)

    def test_rows_that_look_untouched_may_be_there(self):
        """The image happens to equal the placeholder for missing rows."""
        image = Image.new("RGB", (64, 48), (1, 254, 3))
        assert made(saved("PNG", image=image), PROFILE).width == 64

    def test_a_wrong_checksum(self):
        data = bytearray(saved("PNG"))
        data[data.index(b"IDAT") + 40] ^= 1
        with pytest.raises(CorruptImage, match="checksum"):
            made(bytes(data), PROFILE)

    def test_a_cut(self):
        data = saved("PNG", image=PHOTOGRAPH)
        for end in range(60, len(data) - 12, len(data) // 40):
            with pytest.raises(CorruptImage):
                made(data[:end], PROFILE)

    def test_a_missing_end_is_forgiven(self):
        data = saved("PNG", image=PHOTOGRAPH)
        assert made(data[:-12], PROFILE).data == made(data, PROFILE).data

    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (8, 8), (64, 48), (13, 2)])
    @pytest.mark.parametrize("interlaced", [False, True])
    def test_the_unpacked_size_follows_the_standard(self, size, interlaced):
        width, height = size
        header = png.Header(width, height, depth=8, colour_type=2, interlaced=interlaced)
        samples = width * height * 3
        assert samples < header.inflated_bytes <= samples + height * (4 if interlaced else 1) + 7

    def test_a_file_that_ends_while_its_rows_are_counted(self):
        data = saved("PNG", image=PHOTOGRAPH)
        facts = png.read_png(io.BytesIO(data))
        assert png.has_all_rows(io.BytesIO(data), facts)
        assert not png.has_all_rows(io.BytesIO(data[: len(data) // 2]), facts)
        assert not png.checksums_hold(io.BytesIO(data[: len(data) // 2]), facts)

    def test_a_first_frame_that_does_not_cover_the_image(self):
        control = struct.pack(">5I2H2B", 0, 32, 48, 0, 0, 1, 10, 0, 0)
        frames = chunk(b"acTL", struct.pack(">2I", 2, 0)) + chunk(b"fcTL", control)
        rows = b"".join(b"\x00" + bytes(96) for _ in range(48))
        with pytest.raises(CorruptImage, match="does not cover"):
            made(craft_png(frames, pixels=zlib.compress(rows)), PROFILE)

    def test_pillow_alone_accepts_it(self):
        """The reason for all this. If it fails, Pillow has learnt to check."""
        data = craft_png(pixels=zlib.compress(b"\x00" + bytes(192)))
        PngImagePlugin.PngImageFile(io.BytesIO(data)).load()


OTHERS: dict[str, Options] = {
    "TIFF": {},
    "TIFF LZW": {"compression": "tiff_lzw"},
    "TIFF JPEG": {"compression": "jpeg"},
    "GIF": {},
    "BMP": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    "JPEG2000": {},
    "AVIF": {"speed": 10},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_cut_anywhere_is_refused_or_shown_complete(kind):
    data = saved(kind.split()[0], image=PHOTOGRAPH, **OTHERS[kind])
    whole = pixels(made(data, PROFILE))
    for end in range(1, len(data), max(1, len(data) // 25)):
        try:
            shown = pixels(made(data[:end], PROFILE))
        except MediaError:
            continue
        assert np.abs(shown - whole).mean() < 2, f"cut at {end} of {len(data)}"


@pytest.mark.parametrize("name", ["PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF"])
def test_garbage_after_a_file_changes_nothing(name):
    data = saved(name)
    assert made(data + b"\x00garbage" * 500, PROFILE).data == made(data, PROFILE).data


def test_a_file_of_two_formats_counts_as_that_of_its_first_bytes():
    data = saved("GIF") + saved("JPEG") + b"PK\x05\x06" + bytes(18)
    assert made(data, PROFILE).data == made(saved("GIF"), PROFILE).data
