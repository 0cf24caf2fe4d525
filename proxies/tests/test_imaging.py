"""The pixel path: from a file to its proxy."""

from __future__ import annotations

import hashlib
import io
import sys
import zlib
from dataclasses import replace
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from media_files.errors import CorruptImage, FileTooLarge, ImageTooLarge
from media_files.inspection import Limits, inspect
from media_files.tests.craft import chunk, exif, jpeg_with, picture, png, saved
from media_files.tests.test_inspection import LAB, SRGB, swapped_profile
from proxies import imaging, resizing, sources
from proxies.imaging import (
    Reason,
    Rendered,
    calculate_target_dimensions,
    get_optimal_format,
    proxy_reasons,
    render,
)
from proxies.profiles import NOVA, ProxyProfile
from proxies.resizing import Resizer

SMALL = replace(NOVA, shorter_side=32)
RESIZERS = get_args(Resizer)
# Some machines have no wheel of the SIMD resizer: Linux on Arm, musl.
FAST = "pillow" if sys.modules.get("cykooz_resizer") is None else "simd"
needs_simd = pytest.mark.skipif(FAST == "pillow", reason="cykooz.resizer is not installed")


@pytest.fixture(params=RESIZERS)
def resizer(request):
    return request.param


def made(data: bytes, profile: ProxyProfile = SMALL, resizer: Resizer = "auto", **options) -> Rendered:
    stream = io.BytesIO(data)
    return render(stream, inspect(stream), profile, resizer=resizer, **options)


def opened(rendered: Rendered) -> Image.Image:
    return Image.open(io.BytesIO(rendered.data))


def pixels(rendered: Rendered, mode: str = "RGB") -> np.ndarray:
    return np.asarray(opened(rendered).convert(mode), dtype=float)


def photograph(size: tuple[int, int] = (640, 480), seed: int = 7) -> Image.Image:
    """A picture with the detail of a photograph: chance at several scales, the finer the fainter."""
    chance = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for scale, weight in ((4, 0.08), (12, 0.16), (40, 0.32), (120, 0.44)):
        coarse = chance.integers(
            0, 256, (max(2, size[1] // scale), max(2, size[0] // scale), 3), dtype=np.uint8
        )
        layer = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        total += weight * np.asarray(layer, dtype=float)
    return Image.fromarray(total.astype("u1"))


class TestTargetDimensions:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((20_000, 900), (8000, 360)),
            ((900, 20_000), (360, 8000)),
            ((60_000, 10), (8000, 1)),
            ((10, 60_000), (1, 8000)),
            ((65_535, 1), (8000, 1)),
            ((897, 897), (896, 896)),
            ((896, 896), (896, 896)),
            ((800, 9000), (711, 8000)),
            ((1, 1), (1, 1)),
            ((500, 700), (500, 700)),
            ((6000, 4000), (1344, 896)),
            ((4000, 6000), (896, 1344)),
            ((8000, 896), (8000, 896)),
            ((8001, 896), (8000, 896)),
        ],
    )
    def test_sizes_that_people_have(self, size, expected):
        width, height = size
        assert calculate_target_dimensions(width, height, NOVA) == expected

    @settings(deadline=None)
    @given(
        width=st.integers(1, 65_535),
        height=st.integers(1, 65_535),
        shorter=st.none() | st.integers(1, 10_000),
        longest=st.integers(1, 20_000),
    )
    def test_all_sizes_and_caps(self, width, height, shorter, longest):
        profile = replace(NOVA, shorter_side=shorter, longest_side=longest)
        new_width, new_height = calculate_target_dimensions(width, height, profile)
        low, high = sorted((new_width, new_height))
        assert low >= 1
        assert high <= max(1, longest)
        assert new_width <= width
        assert new_height <= height
        assert shorter is None or low <= max(1, shorter)
        # One of the caps is used up, unless the picture is below both.
        scale = min(1, longest / max(width, height), (shorter or 65_535) / min(width, height))
        assert abs(new_width - max(1, width * scale)) <= 0.5 + 1e-9 * width
        assert abs(new_height - max(1, height * scale)) <= 0.5 + 1e-9 * height

    @settings(deadline=None)
    @given(width=st.integers(1, 65_535), height=st.integers(1, 65_535))
    def test_turning_a_picture_turns_its_proxy(self, width, height):
        one = calculate_target_dimensions(width, height, NOVA)
        assert calculate_target_dimensions(height, width, NOVA) == one[::-1]

    @settings(deadline=None)
    @given(width=st.integers(1, 65_535), height=st.integers(1, 65_535))
    def test_to_the_pixel_against_another_calculation(self, width, height):
        """The shorter side first, then the cap, as the contract words it."""
        low, high = sorted((width, height))
        target = Fraction(min(low, 896))
        longer = high * target / low
        if longer > 8000:
            target, longer = target * 8000 / longer, Fraction(8000)
        expected = (max(1, round(target)), max(1, round(longer)))
        assert tuple(sorted(calculate_target_dimensions(width, height, NOVA))) == expected


class TestReasons:
    FACTS = inspect(io.BytesIO(saved()))

    @pytest.mark.parametrize(
        ("changes", "reasons"),
        [
            ({}, []),
            ({"width": 896, "height": 8000}, []),
            ({"width": 897, "height": 900}, [Reason.SHORTER_SIDE]),
            ({"width": 100, "height": 8001}, [Reason.LONGER_SIDE]),
            ({"format": "TIFF"}, [Reason.FORMAT]),
            ({"bytes": 18_000_001}, [Reason.BYTES]),
            ({"orientation": 3}, [Reason.ORIENTATION]),
            ({"standard_colour": False}, [Reason.COLOUR]),
            ({"has_location": True}, [Reason.LOCATION]),
            (
                {"has_location": True, "orientation": 6, "format": "HEIF", "width": 9000, "height": 9000},
                [Reason.SHORTER_SIDE, Reason.LONGER_SIDE, Reason.FORMAT, Reason.ORIENTATION, Reason.LOCATION],
            ),
        ],
    )
    def test_each(self, changes, reasons):
        assert proxy_reasons(replace(self.FACTS, **changes), NOVA) == reasons

    def test_without_a_cap_of_the_shorter_side(self):
        facts = replace(self.FACTS, width=5000, height=5000)
        assert proxy_reasons(facts, replace(NOVA, shorter_side=None)) == []


class TestOptimalFormat:
    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "LAB", "YCbCr"])
    def test_what_has_no_alpha_is_jpeg(self, mode):
        image = picture("RGB").convert(mode) if mode == "YCbCr" else picture(mode)
        assert get_optimal_format(image) == "JPEG"

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    @pytest.mark.parametrize("size", [(64, 48), (9, 9)])
    def test_an_alpha_that_hides_nothing_is_jpeg(self, mode, size):
        image = picture(mode, size)
        image.putalpha(255)
        assert get_optimal_format(image) == "JPEG"

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    @pytest.mark.parametrize("place", [(0, 0), (33, 21), (63, 47)])
    def test_one_pixel_is_enough_for_png(self, mode, place):
        image = picture(mode)
        image.putalpha(255)
        alpha = image.getchannel("A")
        alpha.putpixel(place, 254)
        image.putalpha(alpha)
        assert get_optimal_format(image) == "PNG"

    @pytest.mark.parametrize(
        ("transparency", "expected"),
        [(3, "PNG"), (200, "JPEG"), (b"\xff\xff\x00", "PNG"), (b"\xff\xff\xff", "JPEG"), (999, "JPEG")],
    )
    def test_a_palette_counts_by_the_entries_in_use(self, transparency, expected):
        image = Image.new("P", (20, 20), 2)
        image.putpixel((4, 4), 3)
        image.putpalette(bytes(range(12)))
        image.info["transparency"] = transparency
        assert get_optimal_format(image) == expected

    @pytest.mark.parametrize(("key", "expected"), [((9, 9, 9), "PNG"), ((1, 2, 3), "JPEG")])
    def test_a_colour_key_counts_if_a_pixel_has_it(self, key, expected):
        image = Image.new("RGB", (20, 20), (9, 9, 9))
        image.info["transparency"] = key
        assert get_optimal_format(image) == expected


class TestRender:
    def test_says_what_it_made(self, resizer):
        rendered = made(saved(), resizer=resizer)
        assert (rendered.width, rendered.height, rendered.format) == (43, 32, "JPEG")
        assert opened(rendered).size == (43, 32)
        assert rendered.sha256 == hashlib.sha256(rendered.data).hexdigest()
        assert rendered.provenance == {
            "decode_scale": 1,
            "orientation": 1,
            "profile": "none",
            "frames_dropped": 0,
            "alpha": "none",
            "resizer": FAST if resizer == "auto" else "pillow",
            "quality": 85,
            "facts_changed": False,
        }

    def test_the_same_file_gives_the_same_bytes(self, resizer):
        assert made(saved(), resizer=resizer) == made(saved(), resizer=resizer)

    def test_nothing_is_enlarged(self):
        rendered = made(saved("TIFF"), NOVA)
        assert (rendered.width, rendered.height) == (64, 48)
        assert rendered.provenance["resizer"] == "none"

    def test_no_metadata_is_passed_on(self):
        data = jpeg_with(
            (0xE1, exif(1, place=[(1, 1), (2, 1), (3, 1)])),
            (0xFE, b"a comment"),
            data=saved(icc_profile=swapped_profile(), dpi=(300, 300)),
        )
        assert set(opened(made(data)).info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert b"comment" not in made(data).data

    def test_a_png_passes_nothing_on_either(self):
        image = picture("RGBA")
        data = saved("PNG", image=image, exif=exif(6), icc_profile=swapped_profile(), dpi=(300, 300))
        assert opened(made(data)).info == {}

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_it_stands_upright(self, name, orientation, resizer):
        upright = Image.new("RGB", (96, 64), "white")
        upright.paste("red", (0, 0, 48, 32))
        upright.paste("blue", (48, 32, 96, 64))
        back = {6: 8, 8: 6}.get(orientation, orientation)
        method = imaging._TRANSPOSE.get(back)
        stored = upright if method is None else upright.transpose(method)
        rendered = made(saved(name, image=stored, exif=exif(orientation)), resizer=resizer)
        assert (rendered.width, rendered.height) == (48, 32)
        shown = pixels(rendered)
        assert np.abs(shown[8, 8] - (255, 0, 0)).max() < 60
        assert np.abs(shown[8, 40] - (255, 255, 255)).max() < 60
        assert np.abs(shown[24, 40] - (0, 0, 255)).max() < 60

    def test_heif_is_turned_once(self, resizer):
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()  # only so that Pillow can save it
        image = Image.new("RGB", (96, 64), "white")
        image.paste("red", (0, 0, 48, 32))
        rendered = made(saved("HEIF", image=image, exif=exif(6)), resizer=resizer)
        assert (rendered.width, rendered.height) == (32, 48)
        assert pixels(rendered)[4, 28, 1] < 80

    @pytest.mark.parametrize(("width", "scale"), [(95, 1), (96, 2), (192, 4), (384, 8), (2000, 8)])
    def test_a_jpeg_is_decoded_at_the_smallest_scale_that_leaves_room(self, width, scale):
        data = saved(image=picture("RGB", (width, width)))
        assert made(data).provenance["decode_scale"] == scale

    def test_a_picture_is_decoded_once_and_resized_from_its_exact_box(self, monkeypatch):
        decoded = []
        load = ImageFile.ImageFile.load

        def counted(image):
            if image.tile:
                decoded.append(image.size)
            return load(image)

        monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
        made(saved(image=picture("RGB", (1001, 601))))
        assert decoded == [(126, 76)]

    def test_it_looks_like_the_original_resized_in_float(self, resizer):
        image = photograph().convert("L")
        rendered = made(saved("PNG", image=image), replace(SMALL, shorter_side=160, quality=95), resizer)
        expected = np.asarray(image.convert("F").resize((213, 160), Image.Resampling.LANCZOS))
        assert np.abs(pixels(rendered, "L") - expected).mean() < 1

    def test_facts_of_an_older_file_are_noticed(self):
        other = inspect(io.BytesIO(saved("PNG")))
        assert render(io.BytesIO(saved()), other, SMALL).provenance["facts_changed"] is True

    def test_the_limits_are_checked_anew(self):
        facts = inspect(io.BytesIO(saved()))
        with pytest.raises(ImageTooLarge):
            render(io.BytesIO(saved()), facts, SMALL, limits=Limits(max_pixels=100))

    def test_from_a_real_file(self, tmp_path, resizer):
        for name in ("JPEG", "TIFF", "JPEG2000"):
            path = tmp_path / name
            path.write_bytes(saved(name))
            with path.open("rb") as stream:
                assert render(stream, inspect(stream), SMALL, resizer=resizer).width == 43
                assert not stream.closed

    def test_further_frames_are_dropped(self):
        data = saved("TIFF", save_all=True, append_images=[picture(), picture()])
        assert made(data).provenance["frames_dropped"] == 2


class TestAlpha:
    def test_hidden_colours_make_no_fringe(self, resizer):
        """Clear pixels of a loud colour beside opaque ones must not show."""
        image = Image.new("RGBA", (640, 480), (255, 0, 255, 0))
        image.paste((40, 90, 40, 255), (0, 0, 333, 480))
        rendered = made(saved("PNG", image=image), resizer=resizer)
        assert rendered.format == "PNG"
        shown = pixels(rendered, "RGBA")
        colours = shown[shown[..., 3] > 40][:, :3]
        assert np.abs(colours - (40, 90, 40)).max() <= 8
        assert 0 < len(colours) < shown[..., 0].size

    @pytest.mark.parametrize("size", [(64, 48), (63, 47), (640, 481), (101, 1999)])
    def test_an_alpha_that_hides_nothing_stays_opaque(self, size, resizer):
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

    def test_a_palette_with_clear_entries_is_kept(self):
        image = picture("P")
        rendered = made(saved("PNG", image=image, transparency=image.tobytes()[0]))
        assert rendered.format == "PNG"

    def test_a_profile_is_applied_to_the_colours_alone(self, resizer):
        image = Image.new("RGBA", (64, 48), (200, 30, 30, 128))
        rendered = made(saved("PNG", image=image, icc_profile=swapped_profile()), resizer=resizer)
        shown = pixels(rendered, "RGBA")[10, 10]
        assert shown[1] - shown[0] > 60
        assert abs(shown[3] - 128) <= 1


def zlib_rows(rows: list[bytes]) -> bytes:
    return zlib.compress(b"".join(b"\x00" + row for row in rows))


class TestColour:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_a_profile_with_exchanged_primaries_is_applied(self, mode, resizer):
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
    def test_a_profile_that_says_nothing_changes_nothing(self, mode, profile, outcome):
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

    def test_ink_without_a_profile(self):
        rendered = made(saved(image=Image.new("CMYK", (64, 48), (255, 0, 0, 0))))
        assert np.abs(pixels(rendered)[10, 10] - (0, 255, 255)).max() < 6

    def test_lab(self):
        image = Image.new("LAB", (64, 48), (138, 208, 195))  # red, by CIE L*a*b*
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
    def test_numbers_without_a_range_of_their_own(self, mode, low, high, black, white):
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
    """A grey profile of gamma 1.0, put together by hand (ICC.1:2022, sections 7.2, 7.3 and 8.3.4)."""
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


class TestByteLimit:
    def test_lower_qualities_come_first(self):
        data = saved(image=photograph())
        profile = replace(NOVA, byte_limit=len(made(data, NOVA).data) - 1)
        rendered = made(data, profile)
        assert rendered.provenance["quality"] == 75
        assert (rendered.width, rendered.height) == (640, 480)
        assert len(rendered.data) <= profile.byte_limit

    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_then_smaller_sizes(self, mode, resizer):
        image = photograph()
        if mode == "RGBA":
            image.putalpha(100)
        rendered = made(saved("PNG", image=image), replace(NOVA, byte_limit=4000), resizer)
        assert len(rendered.data) <= 4000
        assert rendered.width < 640
        assert opened(rendered).size == (rendered.width, rendered.height)
        assert rendered.provenance["quality"] == (45 if mode == "RGB" else None)

    def test_a_limit_below_any_picture(self):
        with pytest.raises(FileTooLarge, match="Raise its byte limit"):
            made(saved(), replace(NOVA, byte_limit=10))

    def test_a_profile_of_low_quality_does_not_go_up(self):
        assert made(saved(), replace(SMALL, quality=30)).provenance["quality"] == 30


class TestLikeness:
    @pytest.fixture(autouse=True)
    def _every_proxy_is_compared(self, monkeypatch):
        monkeypatch.setattr(imaging, "is_sampled", lambda _: True)

    PROFILE = replace(NOVA, shorter_side=300)

    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
    @pytest.mark.parametrize("orientation", [1, 6])
    def test_a_right_proxy_is_kept(self, mode, orientation):
        image = photograph().convert(mode)
        if mode == "RGBA":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        data = saved("TIFF", image=image, exif=exif(orientation))
        assert made(data, self.PROFILE).provenance["resizer"] == FAST

    @needs_simd
    @pytest.mark.parametrize(
        "fault",
        [
            lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            lambda image: image.transpose(Image.Transpose.ROTATE_180),
            lambda image: Image.merge("RGB", image.split()[::-1]),
            lambda image: image.convert("L").convert("RGB"),
            lambda image: image.point([round(255 * (level / 255) ** 1.1) for level in range(256)] * 3),
        ],
        ids=["mirrored", "turned", "channels exchanged", "grey", "gamma"],
    )
    def test_a_fault_of_the_fast_resizer_costs_speed_only(self, monkeypatch, fault):
        data = saved(image=photograph())
        right = made(data, self.PROFILE, "pillow")
        resize_simd = resizing._resize_simd
        assert resizing.simd_is_trusted()
        monkeypatch.setattr(resizing, "_resize_simd", lambda *arguments: fault(resize_simd(*arguments)))
        assert made(data, self.PROFILE).data == right.data

    def test_a_fault_of_both_is_refused(self, monkeypatch):
        def turned(image, size, box, resizer):
            small, by = resizing.resize(image, size, box, resizer)
            return small.transpose(Image.Transpose.ROTATE_180), by

        monkeypatch.setattr(sources, "resize", turned)
        with pytest.raises(CorruptImage, match="does not show"):
            made(saved(image=photograph()), self.PROFILE)

    def test_small_proxies_are_not_compared(self):
        assert made(saved()).provenance["resizer"] == FAST


def test_the_sample_is_about_one_in_sixteen():
    sampled = sum(imaging.is_sampled(number.to_bytes(4, "big")) for number in range(16_000))
    assert 900 < sampled < 1100
