"""`inspect` on ordinary pictures."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from PIL import Image, ImageCms

from media_files.errors import EmptyFile, FileTooLarge, NotAnImage, UnsupportedFormat
from media_files.imaging.formats.signatures import sniff_image
from media_files.imaging.inspection import CONTENT_TYPES, Limits, inspect, sniff_video
from media_files.tests.craft import (
    GPS_IFD,
    RATIONAL,
    SHORT,
    chunk,
    exif,
    gif,
    jpeg_with,
    picture,
    png,
    saved,
    tiff_block,
)

PLACE = [(52, 1), (30, 1), (0, 1)]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def facts(data: bytes, limits: Limits = Limits()):  # noqa: B008
    return inspect(io.BytesIO(data), limits)


def swapped_profile() -> bytes:
    """Return sRGB with swapped red and green primaries."""
    data = bytearray(SRGB)
    red, green = (data.index(tag, 128) for tag in (b"rXYZ", b"gXYZ"))
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


class TestFormats:
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF"])
    def test_every_format_is_detected_from_its_bytes(self, name):
        data = saved(name)
        found = facts(data)
        assert (found.format, found.width, found.height, found.bytes) == (name, 64, 48, len(data))
        assert (found.frames, found.orientation, found.has_location) == (1, 1, False)
        assert name in CONTENT_TYPES

    def test_heif_is_detected(self):
        pillow_heif = pytest.importorskip("pillow_heif")
        output = io.BytesIO()
        pillow_heif.from_pillow(picture()).save(output)
        assert facts(output.getvalue()).format == "HEIF"

    def test_a_camera_jpeg_with_further_pictures_is_a_jpeg(self):
        data = saved("MPO", save_all=True, append_images=[picture(), picture()])
        found = facts(data)
        assert (found.format, found.frames) == ("JPEG", 3)

    def test_a_broken_index_of_further_pictures_is_ignored(self):
        assert facts(jpeg_with((0xE2, b"MPF\x00II*\x00\xff\xff\xff\xff"))).frames == 1

    def test_a_bare_jpeg_2000_codestream(self):
        assert facts(saved("JPEG2000", no_jp2=True)).format == "JPEG2000"

    @pytest.mark.parametrize(
        ("brands", "expected"),
        [
            (b"avif\x00\x00\x00\x00mif1", "AVIF"),
            (b"mif1\x00\x00\x00\x00avifmiaf", "AVIF"),
            (b"heic\x00\x00\x00\x00mif1", "HEIF"),
            (b"mif1\x00\x00\x00\x00heic", "HEIF"),
            (b"isom\x00\x00\x00\x00mp41", None),
        ],
    )
    def test_iso_images_are_distinguished_by_their_brands(self, brands, expected):
        head = (len(brands) + 8).to_bytes(4, "big") + b"ftyp" + brands
        assert sniff_image(head) == expected


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", ("MP4", "video/mp4")),
            (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", ("MOV", "video/quicktime")),
            (b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", ("MOV", "video/quicktime")),
            (b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm", ("WEBM", "video/webm")),
            (b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska", ("MATROSKA", "video/x-matroska")),
            (b"RIFF\x00\x00\x00\x00AVI LIST", ("AVI", "video/x-msvideo")),
            (b"FLV\x01\x05", ("FLV", "video/x-flv")),
            ((b"G" + bytes(187)) * 3, ("MPEG-TS", "video/mp2t")),
        ],
    )
    def test_a_video_is_reported_with_its_format(self, head, expected):
        assert sniff_video(head) == expected
        with pytest.raises(NotAnImage, match=expected[1]) as caught:
            facts(head)
        assert (caught.value.format, caught.value.content_type) == expected

    @pytest.mark.parametrize(
        ("data", "named"),
        [
            (b"%PDF-1.7", "PDF"),
            (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
            (b"PK\x03\x04rest", "ZIP"),
            (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG"),
            (b"\xef\xbb\xbf  <svg/>", "SVG"),
            (b"<!DOCTYPE html><title>x", "HTML"),
            (b"<?xml version='1.0'?><note/>", "XML"),
            (b"8BPS\x00\x01", "Photoshop"),
            (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01", "Canon"),
            (b"hello, world", "68 65 6c 6c"),
        ],
    )
    def test_other_files_are_rejected_by_name(self, data, named):
        with pytest.raises(UnsupportedFormat, match=named):
            facts(data)

    def test_an_empty_file(self):
        with pytest.raises(EmptyFile):
            facts(b"")

    def test_too_many_bytes(self):
        with pytest.raises(FileTooLarge, match="1000 bytes; 999 are allowed"):
            facts(saved().ljust(1000, b"\x00")[:1000], Limits(max_bytes=999))

    @pytest.mark.parametrize("extra", [{50706: (SHORT, 1)}, {254: (SHORT, 1), 330: (SHORT, 1)}])
    def test_a_camera_raw_file_is_not_accepted_as_tiff(self, extra):
        with pytest.raises(UnsupportedFormat, match="camera raw"):
            facts(tiff_block({256: (SHORT, 160), 257: (SHORT, 120)} | extra))

    def test_a_canon_raw_file_is_not_accepted_as_tiff(self):
        data = tiff_block({256: (SHORT, 160), 257: (SHORT, 120)}, base=16)
        with pytest.raises(UnsupportedFormat, match="camera raw"):
            facts(data[:8] + b"CR\x02\x00" + data[12:])

    def test_an_arithmetic_jpeg_is_unsupported_not_corrupt(self):
        data = saved().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc9\x00\x11\x08")
        with pytest.raises(UnsupportedFormat, match="arithmetic"):
            facts(data)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_size_is_that_of_the_upright_picture(self, orientation):
        found = facts(saved(exif=exif(orientation)))
        assert found.orientation == orientation
        assert (found.width, found.height) == ((64, 48) if orientation < 5 else (48, 64))

    @pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
    def test_invalid_values_mean_as_stored(self, orientation):
        assert facts(saved(exif=exif(orientation))).orientation == 1

    @pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "AVIF"])
    def test_it_is_read_from_every_format_that_supports_it(self, name):
        found = facts(saved(name, exif=exif(6)))
        assert (found.orientation, found.width, found.height) == (6, 48, 64)

    def test_from_exif_after_the_pixels_of_a_png(self):
        data = png(behind=chunk(b"eXIf", exif(8)[6:]))
        assert facts(data).orientation == 8

    @pytest.mark.parametrize(
        "kind", [b"Raw profile type exif", b"Raw profile type APP1"], ids=["exif", "APP1"]
    )
    def test_from_a_raw_profile_of_image_magick(self, kind):
        block = exif(3)
        text = b"\nexif\n%8d\n" % len(block) + block.hex().encode()
        assert facts(png(chunk(b"tEXt", kind + b"\x00" + text))).orientation == 3

    def test_not_from_a_raw_profile_with_invalid_digits(self):
        assert facts(png(chunk(b"tEXt", b"Raw profile type exif\x00\nexif\n 3\nxyz"))).orientation == 1

    def test_heif_is_rotated_by_its_decoder(self):
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()  # needed only for Pillow to save it
        found = facts(saved("HEIF", exif=exif(6)))
        assert (found.orientation, found.width, found.height) == (1, 48, 64)


class TestTime:
    def test_naive_where_the_camera_wrote_no_offset(self):
        found = facts(saved(exif=exif(taken="2024:05:06 07:08:09")))
        assert found.captured_at == datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001

    @pytest.mark.parametrize(
        ("offset", "zone"), [("+02:00", timezone(timedelta(hours=2))), ("Z", UTC), ("+00:00", UTC)]
    )
    def test_aware_where_it_did(self, offset, zone):
        found = facts(saved(exif=exif(taken="2024:05:06 07:08:09", offset=offset)))
        assert found.captured_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=zone)

    @pytest.mark.parametrize(
        "taken", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "2024:13:01 00:00:00"]
    )
    def test_invalid_times_are_none(self, taken):
        assert facts(saved(exif=exif(taken=taken))).captured_at is None

    def test_an_invalid_offset_is_ignored(self):
        found = facts(saved(exif=exif(taken="2024:05:06 07:08:09", offset="+99:99")))
        assert found.captured_at == datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001


class TestPlace:
    def test_coordinates(self):
        assert facts(saved(exif=exif(place=PLACE))).has_location

    @pytest.mark.parametrize("place", [[], [(0, 0), (0, 0), (0, 0)]], ids=["no tags", "no fix"])
    def test_a_gps_directory_without_coordinates(self, place):
        assert not facts(saved(exif=exif(place=place))).has_location

    def test_unreadable_coordinates_count_as_gps_data(self):
        block = tiff_block({}, {GPS_IFD: {2: (RATIONAL, PLACE)}})
        assert facts(jpeg_with((0xE1, b"Exif\x00\x00" + block[:-8]))).has_location

    def test_null_island_counts_as_gps_data(self):
        assert facts(saved(exif=exif(place=[(0, 1), (0, 1), (0, 1)]))).has_location

    @pytest.mark.parametrize(
        ("xmp", "expected"),
        [
            (b'<rdf exif:GPSLatitude="52,30.0N"/>', True),
            (b"<exif:GPSLongitude>13,22.0E</exif:GPSLongitude>", True),
            (b'<rdf exif:GPSLatitude=""/>', False),
            (b"<exif:GPSVersionID>2.3.0.0</exif:GPSVersionID>", False),
        ],
    )
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_in_xmp(self, name, xmp, expected):
        options = {"xmp": xmp}
        if name == "PNG":
            data = png(chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + xmp))
        elif name == "TIFF":
            data = saved(name, tiffinfo={700: xmp})
        else:
            data = saved(name, **options)
        assert facts(data).has_location is expected

    def test_in_the_extended_xmp_of_a_jpeg(self):
        content = b"http://ns.adobe.com/xmp/extension/\x00" + bytes(40) + b'exif:GPSLatitude="1,2N"'
        assert facts(jpeg_with((0xE1, content))).has_location

    def test_in_a_raw_profile_of_a_png(self):
        xmp = b'<rdf exif:GPSLatitude="52,30.0N"/>'
        text = b"Raw profile type xmp\x00\x00" + __import__("zlib").compress(
            b"\nxmp\n 9\n" + xmp.hex().encode()
        )
        assert facts(png(chunk(b"zTXt", text))).has_location


class TestColour:
    @pytest.mark.parametrize(
        ("data", "standard"),
        [
            (saved(), True),
            (saved(image=picture("L")), True),
            (saved("PNG", image=picture("1")), True),
            (saved("PNG", image=picture("P")), True),
            (saved("PNG", image=picture("LA")), True),
            (saved("PNG", image=picture("RGBA")), True),
            (saved(image=picture("CMYK")), False),
            (saved("TIFF", image=picture("LAB")), False),
            (saved("PNG", image=picture("L").convert("I;16")), False),
            (saved("TIFF", image=picture("L").convert("F")), False),
            (png(depth=16), False),
            (png(chunk(b"cICP", b"\x09\x10\x00\x01")), False),
            (png(chunk(b"cICP", b"\x01\x0d\x00\x01")), True),
        ],
    )
    def test_by_depth_and_kind(self, data, standard):
        assert facts(data).standard_colour is standard

    @pytest.mark.parametrize(
        ("profile", "standard"),
        [
            (SRGB, True),
            (swapped_profile(), False),
            (LAB, True),
            (b"no profile at all", True),
            (SRGB[:200], True),
            (SRGB[:128] + bytes(len(SRGB) - 128), True),
        ],
        ids=["sRGB", "swapped primaries", "other space", "invalid", "truncated", "empty"],
    )
    def test_by_profile(self, profile, standard):
        assert facts(saved(icc_profile=profile)).standard_colour is standard

    def test_an_rgb_profile_is_ignored_for_grey_pictures(self):
        assert facts(saved(image=picture("L"), icc_profile=swapped_profile())).standard_colour

    def test_heif_with_ten_bits(self):
        pillow_heif = pytest.importorskip("pillow_heif")
        heif = pillow_heif.from_bytes("RGB;16", (64, 48), bytes(64 * 48 * 6))
        output = io.BytesIO()
        heif.save(output)
        assert not facts(output.getvalue()).standard_colour


class TestFrames:
    def test_of_a_gif(self):
        assert facts(gif(7)).frames == 7

    def test_of_a_gif_with_local_colour_tables(self):
        frames = [picture("RGB").quantize(8), picture("RGB").rotate(90).quantize(16)]
        assert facts(saved("GIF", image=frames[0], save_all=True, append_images=frames[1:])).frames == 2

    @pytest.mark.parametrize("name", ["WEBP", "AVIF", "PNG", "TIFF"])
    def test_of_the_others(self, name):
        other = picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        assert facts(saved(name, save_all=True, append_images=[other])).frames == 2


def test_the_stream_is_left_open():
    stream = io.BytesIO(saved())
    inspect(stream)
    assert not stream.closed


@pytest.mark.parametrize("name", ["GIF", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_a_real_file_is_left_open_and_usable(name, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(saved(name))
    with path.open("rb") as stream:
        assert inspect(stream) == inspect(stream)
        assert not stream.closed
