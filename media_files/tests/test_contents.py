"""Contents besides the pixels: only what is known to be harmless counts as harmless."""

from __future__ import annotations

import importlib
import io
import struct
import time
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from django.apps import apps
from PIL import Image, ImageCms

from media_files.errors import MediaError
from media_files.imaging.contents import jpeg as jpeg_contents
from media_files.imaging.contents import profiles
from media_files.imaging.inspection import ImageFacts, inspect
from media_files.models import MediaFile
from media_files.tests import planting
from media_files.tests.craft import chunk, exif, gif, jpeg_with, png, saved
from media_files.tests.pictures import encoded
from media_files.tests.tools import profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def facts(data: bytes) -> ImageFacts:
    return inspect(io.BytesIO(data))


def extension(label: int, *blocks: bytes) -> bytes:
    """Return an extension block of a GIF."""
    return bytes((0x21, label)) + b"".join(bytes((len(each),)) + each for each in blocks) + b"\x00"


def gif_with(block: bytes) -> bytes:
    data = gif(2)
    return data[:-1] + block + data[-1:]


def webp_with(kind: bytes, content: bytes, data: bytes | None = None) -> bytes:
    data = data or saved("WEBP")
    added = data[8:] + kind + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) & 1)
    return b"RIFF" + struct.pack("<I", len(added)) + added


class TestPlanted:
    """Every family of metadata, in every format that exiftool can write."""

    def test_is_found(self, tmp_path: Path) -> None:
        for (format_name, family), path in planting.planted(tmp_path).items():
            found = facts(path.read_bytes())
            if (format_name, family) == ("TIFF", "profile"):
                continue  # a colour profile in a format that is never sent
            assert found.has_metadata is True, (format_name, family)
            if family in planting.PLACES and not (family == "second picture" and format_name != "JPEG"):
                assert found.has_location is True, (format_name, family)
            elif family != "profile":
                assert found.has_location is None, (format_name, family)

    def test_is_found_in_a_gif_with_gps_data_in_its_xmp(self) -> None:
        found = facts((Path(__file__).parent / "cases" / "gps-in-xmp.gif").read_bytes())
        assert (found.has_metadata, found.has_location) == (True, True)


class TestHarmless:
    @pytest.mark.parametrize(
        ("format_name", "mode"),
        [("JPEG", "RGB"), ("JPEG", "L"), *product(("PNG", "GIF", "WEBP"), ("RGB", "L", "RGBA", "P"))],
    )
    def test_plain_pictures(self, format_name: str, mode: str) -> None:
        image = Image.linear_gradient("L").convert(mode if mode != "P" else "RGB")
        image = image.quantize(16) if mode == "P" else image
        found = facts(saved(format_name, image=image))
        assert (found.has_metadata, found.has_location) == (False, False)

    @pytest.mark.parametrize(
        "data",
        [
            saved(progressive=True),
            saved(optimize=True, subsampling=0, restart_marker_rows=1),
            saved(image=Image.new("CMYK", (64, 48))),
            saved(icc_profile=SRGB),
            saved("PNG", icc_profile=SRGB),
            saved("WEBP", icc_profile=SRGB),
            saved("WEBP", lossless=True),
            saved("PNG", dpi=(300, 300)),
            png(chunk(b"gAMA", b"\x00\x00\xb1\x8f"), chunk(b"sRGB", b"\x00")),
            gif(3),
            gif_with(extension(0xFF, b"NETSCAPE2.0", b"\x01\x00\x00")),
        ],
    )
    def test_colour_and_animation(self, data: bytes) -> None:
        assert facts(data).has_metadata is False

    @pytest.mark.parametrize("format_name", ["WEBP", "PNG", "GIF"])
    def test_frames(self, format_name: str) -> None:
        frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
        data = saved(format_name, image=frames[0], save_all=True, append_images=frames[1:], loop=0)
        assert facts(data).has_metadata is False

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_with_only_an_orientation(self, orientation: int) -> None:
        found = facts(saved(exif=exif(orientation)))
        assert (found.orientation, found.has_metadata, found.has_location) == (orientation, False, False)

    @pytest.mark.parametrize("data", [saved()[:-2], saved()[:-200], png()[:-12], png()[:-40]])
    def test_a_picture_truncated_within_its_pixels(self, data: bytes) -> None:
        assert (facts(data).has_metadata, facts(data).has_location) == (False, False)


class TestNotHarmless:
    @pytest.mark.parametrize(
        "data",
        [
            jpeg_with((0xFE, b"comment")),
            jpeg_with((0xE5, b"unknown")),
            jpeg_with((0xE0, b"JFXX\x00\x10")),
            jpeg_with((0xE0, b"JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x01\x01abc")),
            jpeg_with((0xE2, b"MPF\x00II*\x00\x08\x00\x00\x00\x00\x00")),
            jpeg_with((0xE2, b"ICC_PROFILE\x00\x01\x02" + SRGB)),
            jpeg_with((0xDB, bytes(65) * 5)),
            jpeg_with((0xE1, exif(1) + b"\x00")),
            jpeg_with((0xE1, exif(1)), (0xE1, exif(1))),
            saved()[:2] + b"\xff" + saved()[2:],
            saved() + b"\x00",
            saved() + saved(),
            png(chunk(b"tIME", bytes(7))),
            png(chunk(b"prVt", b"private")),
            png(chunk(b"gAMA", b"\x00\x00\xb1\x8f"), chunk(b"gAMA", b"text")),
            png(chunk(b"iCCP", b"Name of somebody\x00\x00")),
            png() + b"\x00",
            saved("PNG", icc_profile=planting.planted_profile()),
            gif_with(extension(0xFE, b"comment")),
            gif_with(extension(0x01, bytes(12), b"plain text")),
            gif_with(extension(0xFF, b"NETSCAPE2.0", b"\x01\x00\x00", b"more")),
            gif_with(extension(0xFF, b"SOMETHING11", b"\x01\x00\x00")),
            gif_with(extension(0xF9, b"\x00\x00\x00\x00", b"more")),
            gif(2) + b"\x00",
            gif(2)[:-1],
            webp_with(b"EXIF", b"anything"),
            webp_with(b"XMP ", b"<x/>"),
            webp_with(b"ABCD", b"anything"),
            webp_with(b"ICCP", planting.planted_profile()),
            saved("WEBP") + b"\x00",
        ],
    )
    def test_anything_else(self, data: bytes) -> None:
        assert facts(data).has_metadata is True

    @pytest.mark.parametrize("format_name", ["TIFF", "BMP", "JPEG2000", "AVIF"])
    def test_other_formats_are_always_unknown(self, format_name: str) -> None:
        assert facts(encoded(format_name, 64, 48)).has_metadata is None


class TestPlaces:
    @pytest.mark.parametrize(
        "xmp",
        [
            b'<x photoshop:City="Berlin"/>',
            b"<photoshop:State>Berlin</photoshop:State>",
            b"<Iptc4xmpExt:LocationName><rdf:Alt><rdf:li xml:lang='x-default'>Berlin</rdf:li></rdf:Alt>",
            b'<x drone-dji:GpsLatitude="52.5"/>',
            '<x exif:GPSLatitude="52,30.0N"/>'.encode("utf-16"),
            '<x exif:GPSLatitude="52,30.0N"/>'.encode("utf-32-be"),
        ],
    )
    def test_in_xmp(self, xmp: bytes) -> None:
        assert facts(saved(xmp=xmp)).has_location is True

    @pytest.mark.parametrize(
        "data",
        [
            jpeg_with((0xFE, b"52.5 N 13.4 E")),
            png(chunk(b"eXIf", b"II*\x00\xff\xff\x00\x00")),
            saved(xmp=b"<dc:description>At home</dc:description>"),
            saved(xmp=b"\xff\xfe\x00broken"),
            saved(exif=exif(1, taken="2024:05:06 07:08:09").replace(b"\x03\x90", b"\x7c\x92")),
            png(chunk(b"prVt", b"private")),
            saved() + b"trailing",
        ],
        ids=["comment", "broken EXIF", "text", "encoding", "maker note", "private", "trailing"],
    )
    def test_unreadable_blocks_are_unknown(self, data: bytes) -> None:
        assert facts(data).has_location is None

    def test_in_a_distant_second_picture(self) -> None:
        place = [(52, 1), (30, 1), (0, 1)]
        assert facts(saved() + bytes(70_000) + saved(exif=exif(place=place))).has_location is True


class TestProfiles:
    def test_only_listed_texts_are_known(self) -> None:
        assert profiles.is_known(SRGB)
        assert not profiles.is_known(planting.planted_profile())

    @pytest.mark.parametrize("at", [4, 12, 26, 40, 48, 52, 58, 70, 80, 90, 110])
    def test_no_byte_of_the_header_may_change(self, at: int) -> None:
        assert not profiles.is_known(SRGB[:at] + b"\xabcd\xef"[:4] + SRGB[at + 4 :])

    def test_appended_bytes_are_unknown(self) -> None:
        longer = (len(SRGB) + 8).to_bytes(4, "big") + SRGB[4:] + b"a secret"
        assert not profiles.is_known(longer)

    @pytest.mark.parametrize("length", range(0, len(SRGB), 37))
    def test_a_profile_truncated_at_any_byte(self, length: int) -> None:
        assert not profiles.is_known(SRGB[:length])

    @pytest.mark.parametrize("name", ["sRGB", "Adobe RGB", "grey", "press CMYK"])
    def test_published_profiles_are_known(self, name: str) -> None:
        assert profiles.is_known(profile(name).read_bytes())


class TestBounds:
    @pytest.mark.parametrize(
        "data",
        [
            saved()[:2] + b"\xff\xe5\x00\x02" * 200_000 + saved()[2:],
            saved()[:2] + b"\xff" * 200_000,
            saved(xmp=b":City" * 12_000),
            png(chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + b" City" * 2_000_000)),
            gif_with(extension(0xFE, *[b"x" * 255] * 40_000)),
            saved("WEBP")[:12] + b"ABCD\x00\x00\x00\x00" * 200_000,
        ],
        ids=["segments", "fill bytes", "XMP", "long XMP", "GIF blocks", "WebP chunks"],
    )
    def test_hostile_files_are_walked_in_bounded_time(self, data: bytes) -> None:
        began = time.process_time()
        with suppress(MediaError):  # the decoder rejects some
            assert facts(data).has_metadata is True
        assert time.process_time() - began < 5

    def test_the_walk_ends_for_a_file_truncated_at_any_byte(self) -> None:
        data = saved(xmp=b"<x/>", exif=exif(6), icc_profile=SRGB)
        for length in range(2, len(data), 11):
            jpeg_contents.walk(io.BytesIO(data[:length]), length)


@pytest.mark.django_db
def test_the_migration_marks_old_rows_as_unknown() -> None:
    for name, place in (("none", False), ("place", True)):
        MediaFile.objects.create(file=name, has_location=place)
    importlib.import_module("media_files.migrations.0003_metadata").forget(apps, None)
    rows = MediaFile.objects.order_by("pk").values_list("has_location", "has_metadata")
    assert list(rows) == [(None, None), (True, None)]
