"""Transparency and colour on the way from a file to its proxy."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from media_files.tests.craft import chunk, picture, png, saved
from media_files.tests.test_inspection import LAB, SRGB, swapped_profile
from media_files.tests.tools import run
from proxies.rendering.profiles import NOVA
from proxies.tests.rendering import made, opened, photograph, pixels


class TestAlpha:
    def test_hidden_colours_make_no_fringe(self, resizer):
        """Transparent pixels of a bright colour beside opaque ones must not show."""
        image = Image.new("RGBA", (640, 480), (255, 0, 255, 0))
        image.paste((40, 90, 40, 255), (0, 0, 333, 480))
        rendered = made(saved("PNG", image=image), resizer=resizer)
        assert rendered.format == "PNG"
        shown = pixels(rendered, "RGBA")
        colours = shown[shown[..., 3] > 40][:, :3]
        assert np.abs(colours - (40, 90, 40)).max() <= 8
        assert 0 < len(colours) < shown[..., 0].size

    @pytest.mark.parametrize("size", [(64, 48), (63, 47), (640, 481), (101, 1999)])
    def test_an_opaque_alpha_gives_an_opaque_proxy(self, size, resizer):
        image = photograph(size)
        image.putalpha(255)
        rendered = made(saved("PNG", image=image), resizer=resizer)
        assert (rendered.format, rendered.provenance["alpha"]) == ("JPEG", "none")

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
    def test_every_kind_of_alpha_is_kept(self, mode, resizer):
        image = picture("RGBA") if mode == "PA" else picture(mode)
        data = saved("TIFF" if mode == "PA" else "PNG", image=image.convert(mode))
        rendered = made(data, resizer=resizer)
        assert (rendered.format, rendered.provenance["alpha"]) == ("PNG", "kept")
        assert pixels(rendered, "RGBA")[..., 3].min() < 20

    def test_a_colour_key_is_kept(self):
        key = b"\x00\x01\x00\x02\x00\x03"
        rows = zlib_rows([bytes((1, 2, 3)) * 32 + bytes((200, 100, 50)) * 32] * 48)
        rendered = made(png(chunk(b"tRNS", key), pixels=rows))
        assert rendered.format == "PNG"
        assert pixels(rendered, "RGBA")[16, 4, 3] == 0
        assert pixels(rendered, "RGBA")[16, 40, 3] == 255

    def test_a_palette_with_transparent_entries_is_kept(self):
        image = picture("P")
        rendered = made(saved("PNG", image=image, transparency=image.tobytes()[0]))
        assert rendered.format == "PNG"

    def test_a_profile_is_not_applied_to_alpha(self, resizer):
        image = Image.new("RGBA", (64, 48), (200, 30, 30, 128))
        rendered = made(saved("PNG", image=image, icc_profile=swapped_profile()), resizer=resizer)
        shown = pixels(rendered, "RGBA")[10, 10]
        assert shown[1] - shown[0] > 60
        assert abs(shown[3] - 128) <= 1


def zlib_rows(rows: list[bytes]) -> bytes:
    return zlib.compress(b"".join(b"\x00" + row for row in rows))


class TestColour:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_a_profile_with_swapped_primaries_is_applied(self, mode, resizer):
        image = Image.new(mode, (64, 48), (200, 30, 30, 255)[: len(mode)])
        rendered = made(saved("PNG", image=image, icc_profile=swapped_profile()), resizer=resizer)
        assert rendered.provenance["profile"] == "converted"
        red, green, _ = pixels(rendered)[10, 10]
        assert green - red > 60

    @pytest.mark.parametrize(
        ("mode", "profile", "outcome"),
        [
            ("RGB", SRGB, "srgb"),
            ("RGB", None, "none"),
            ("RGB", LAB, "ignored"),
            ("RGB", b"nonsense", "ignored"),
            ("RGB", SRGB[:200], "ignored"),
            ("L", swapped_profile(), "ignored"),
            ("CMYK", swapped_profile(), "ignored"),
        ],
    )
    def test_a_useless_profile_changes_nothing(self, mode, profile, outcome):
        image = picture(mode)
        rendered = made(saved("TIFF", image=image, icc_profile=profile))
        assert rendered.provenance["profile"] == outcome
        assert rendered.data == made(saved("TIFF", image=image)).data

    def test_a_transform_is_built_once(self, monkeypatch):
        built = []
        build = ImageCms.buildTransform

        def counted(*arguments, **options):
            built.append(arguments)
            return build(*arguments, **options)

        monkeypatch.setattr(ImageCms, "buildTransform", counted)
        other = swapped_profile().replace(b"c2", b"c7")
        for _ in range(3):
            made(saved(icc_profile=other + b" "))
        assert len(built) == 1

    def test_a_grey_profile_gives_grey(self):
        grey = Image.new("L", (64, 48), 128)
        rendered = made(saved("PNG", image=grey, icc_profile=grey_profile()))
        assert opened(rendered).mode == "L"
        assert rendered.provenance["profile"] == "converted"
        assert pixels(rendered, "L")[10, 10] > 180

    def test_cmyk_without_a_profile(self):
        rendered = made(saved(image=Image.new("CMYK", (64, 48), (255, 0, 0, 0))))
        assert np.abs(pixels(rendered)[10, 10] - (0, 255, 255)).max() < 6

    def test_lab(self):
        image = Image.new("LAB", (64, 48), (138, 208, 195))  # red in CIE L*a*b*
        shown = pixels(made(saved("TIFF", image=image)))[10, 10]
        assert shown[0] > 230
        assert shown[1:].max() < 60

    @pytest.mark.parametrize("order", ["<u2", ">u2"])
    @pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
    def test_sixteen_bits_of_grey(self, format_name, order):
        values = np.linspace(0, 65_535, 64).astype(order)
        mode = "I;16" if order == "<u2" else "I;16B"
        image = Image.frombytes(mode, (64, 48), np.tile(values, 48).tobytes())
        shown = pixels(made(saved(format_name, image=image), NOVA), "L")[10]
        assert np.abs(shown - np.linspace(0, 255, 64)).max() < 5

    @pytest.mark.parametrize(
        ("mode", "low", "high", "black", "white"),
        [
            ("F", 0.0, 1.0, 0, 255),
            ("F", 0.0, 0.5, 0, 128),
            ("F", 0.0, 255.0, 0, 255),
            ("F", 0.0, 60_000.0, 0, 233),
            ("F", -10.0, 10.0, 0, 255),
            ("F", 1e5, 1e6, 0, 255),
            ("I", 0, 255, 0, 255),
            ("I", 0, 65_535, 0, 255),
            ("I", -1000, 1_000_000, 0, 255),
        ],
    )
    def test_numbers_without_a_fixed_range(self, mode, low, high, black, white):
        values = np.linspace(low, high, 64).astype("f4" if mode == "F" else "i4")
        image = Image.frombytes(mode, (64, 48), np.tile(values, 48).tobytes())
        shown = pixels(made(saved("TIFF", image=image), NOVA), "L")[10]
        assert abs(shown[0] - black) < 5
        assert abs(shown[-1] - white) < 5
        assert (np.diff(shown) > -4).all()

    @pytest.mark.parametrize("value", [0.0, 7.5e5, float("nan"), float("inf")])
    def test_numbers_without_any_range(self, value):
        image = Image.new("F", (64, 48), value)
        assert made(saved("TIFF", image=image)).format == "JPEG"

    @pytest.mark.parametrize("mode", ["1", "P", "L"])
    def test_few_colours(self, mode):
        rendered = made(saved("PNG", image=picture(mode)))
        shown = pixels(rendered, "L")
        assert shown[-6:].mean() - shown[:6].mean() > 130


def grey_profile() -> bytes:
    """Return a grey profile of gamma 1.0, built by hand (ICC.1:2022, sections 7.2, 7.3 and 8.3.4)."""
    text = b"desc" + bytes(4) + (5).to_bytes(4, "big") + b"grey\x00" + bytes(78)
    white = b"XYZ " + bytes(4) + bytes.fromhex("0000f6d6000100000000d32d")
    curve = b"curv" + bytes(4) + (0).to_bytes(4, "big")
    table, data, at = b"", b"", 128 + 4 + 3 * 12
    for name, content in ((b"desc", text), (b"wtpt", white), (b"kTRC", curve)):
        padded = content.ljust((len(content) + 3) // 4 * 4, b"\x00")
        table += name + (at + len(data)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        data += padded
    size = at + len(data)
    head = size.to_bytes(4, "big") + bytes(4) + bytes.fromhex("02100000") + b"mntrGRAYXYZ "
    head = head.ljust(36, b"\x00") + b"acsp"
    head = head.ljust(68, b"\x00") + bytes.fromhex("0000f6d6000100000000d32d")
    return head.ljust(128, b"\x00") + (3).to_bytes(4, "big") + table + data


@pytest.mark.parametrize("tool", ["avifenc", "heif-enc"])
def test_a_grey_picture_with_a_grey_profile_is_not_too_dark(tool, tmp_path):
    """The profile has a gamma of 1: a stored 128 is 188 in sRGB."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(_linear_grey()))
    source, written = tmp_path / "a.png", tmp_path / ("a.avif" if tool == "avifenc" else "a.heic")
    Image.new("L", (400, 300), 128).save(source, icc_profile=profile.tobytes())
    if tool == "avifenc":
        run("avifenc", "-s", "8", "--yuv", "400", source, written)
    else:
        run("heif-enc", "-q", "90", source, "-o", written)
    rendered = made(written.read_bytes(), NOVA)
    assert rendered.provenance["profile"] == "converted"
    assert abs(pixels(rendered).mean() - 188) < 3


def _linear_grey() -> bytes:
    """Return a grey profile of gamma 1 (ICC.1:2022, sections 7.2 and 10)."""
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    white = b"XYZ " + bytes(4) + struct.pack(">3I", 63190, 65536, 54061)
    tags = [(b"wtpt", white), (b"kTRC", curve)]
    at, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags:
        table += name + struct.pack(">II", at + len(data), len(value))
        data += value
    size = at + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3I", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data
