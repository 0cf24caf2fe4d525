"""The readers of EXIF, TIFF, PNG and ICC blocks, also with damaged blocks."""

from __future__ import annotations

import io
import struct
import zlib

import pytest

from media_files.imaging.formats import icc, png
from media_files.imaging.formats.exif import Metadata, read_exif
from media_files.imaging.formats.tiff import TiffError, TiffReader
from media_files.tests.craft import EXIF_IFD, GPS_IFD, LONG, SHORT, chunk, exif, tiff_block
from media_files.tests.craft import png as craft_png
from media_files.tests.test_inspection import SRGB, facts


class TestExif:
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_both_byte_orders(self, order):
        assert read_exif(tiff_block({0x0112: (SHORT, 5)}, order=order)).orientation == 5

    @pytest.mark.parametrize(
        "block",
        [
            b"",
            b"Exif\x00\x00",
            b"XX*\x00\x08\x00\x00\x00",
            b"II\x07\x00\x08\x00\x00\x00",
            b"II*\x00\xff\xff\x00\x00",
            tiff_block({0x0112: (SHORT, (1, 2, 3, 4))})[:-8],
            tiff_block({0x0112: (2, b"six\x00")}),
            tiff_block({EXIF_IFD: (LONG, 0xFFFF), GPS_IFD: (LONG, 0xFFFF)}),
        ],
    )
    def test_damaged_blocks_count_as_absent(self, block):
        assert read_exif(block) == Metadata()

    def test_a_time_beyond_the_end_of_the_block(self):
        block = exif(taken="2024:05:06 07:08:09")
        assert read_exif(block[:-4]).captured_at is None

    def test_readable_values_of_a_damaged_block_are_used(self):
        block = tiff_block({0x0112: (SHORT, 6), EXIF_IFD: (LONG, 0xFFFF)})
        assert read_exif(block) == Metadata(orientation=6)

    @pytest.mark.parametrize("length", range(0, 120, 7))
    def test_a_block_truncated_at_any_byte(self, length):
        read_exif(exif(6, taken="2024:05:06 07:08:09", offset="Z", place=[(1, 1), (2, 1), (3, 1)])[:length])


class TestTiff:
    def test_values_of_every_integer_type(self):
        entries: dict[int, tuple[int, bytes]] = {
            1: (1, b"\xff\x00\x00\x00"),
            6: (6, b"\xff\x00\x00\x00"),
            8: (8, b""),
        }
        reader = TiffReader(io.BytesIO(tiff_block(dict(entries))))
        directory = reader.directory(reader.first)
        assert reader.integers(directory.entries[1])[0] == 255
        assert reader.integers(directory.entries[6])[0] == -1
        assert reader.integers(None) == ()
        assert reader.integer(None, 7) == 7

    def test_values_of_other_types_are_ignored(self):
        reader = TiffReader(io.BytesIO(tiff_block({1: (2, b"text"), 2: (SHORT, 5)})))
        entries = reader.directory(reader.first).entries
        assert reader.integers(entries[1]) == ()
        assert reader.rationals(entries[1]) == ()
        assert reader.raw(entries[2], 9) == b""

    def test_big_tiff(self):
        entry = struct.pack("<HHQ", 256, 3, 1) + struct.pack("<Q", 640)
        data = b"II+\x00\x08\x00\x00\x00" + struct.pack("<QQ", 16, 1) + entry + struct.pack("<Q", 0)
        reader = TiffReader(io.BytesIO(data))
        assert reader.integer(reader.directory(reader.first).entries[256], 0) == 640

    def test_the_chain_stops_at_the_given_length(self):
        block = tiff_block({1: (SHORT, 1)})
        assert len(list(TiffReader(io.BytesIO(block)).directories(5))) == 1
        assert list(TiffReader(io.BytesIO(block)).directories(0)) == []

    def test_a_structure_within_a_file(self):
        reader = TiffReader(io.BytesIO(b"before" + tiff_block({1: (SHORT, 9)})), base=6)
        assert reader.integer(reader.directory(reader.first).entries[1], 0) == 9

    def test_an_unknown_version(self):
        with pytest.raises(TiffError, match="version 7"):
            TiffReader(io.BytesIO(b"II\x07\x00\x08\x00\x00\x00"))


class TestPng:
    def test_text_that_cannot_be_decompressed_is_ignored(self):
        assert facts(craft_png(chunk(b"zTXt", b"Raw profile type exif\x00\x00nonsense"))).orientation == 1

    def test_irrelevant_text_is_ignored(self):
        assert facts(craft_png(chunk(b"tEXt", b"Comment\x00hello"))).orientation == 1

    def test_compressed_xmp(self):
        xmp = zlib.compress(b'<rdf exif:GPSLatitude="52,30.0N"/>')
        assert facts(craft_png(chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + xmp))).has_location

    def test_the_exif_chunk_takes_precedence(self):
        text = b"\nexif\n 9\n" + exif(3).hex().encode()
        data = craft_png(chunk(b"eXIf", exif(8)[6:]), chunk(b"tEXt", b"Raw profile type exif\x00" + text))
        assert facts(data).orientation == 8

    def test_the_number_of_chunks_is_limited(self, monkeypatch):
        monkeypatch.setattr(png, "MAX_CHUNKS", 3)
        data = craft_png(*[chunk(b"tEXt", b"a\x00b")] * 9)
        assert png.read_png(io.BytesIO(data)).idat == ()


class TestIcc:
    def test_the_colour_space_of_a_profile(self):
        assert icc.profile_space(SRGB) == b"RGB "
        assert icc.fits(SRGB, "RGB")
        assert not icc.fits(SRGB, "L")
        assert not icc.fits(SRGB, "HSV")

    def test_an_oversized_profile(self, monkeypatch):
        monkeypatch.setattr(icc, "MAX_PROFILE_BYTES", 100)
        assert not icc.fits(SRGB, "RGB")

    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    def test_nonsense_is_not_srgb(self, mode):
        assert not icc.is_srgb(b"nonsense", mode)
