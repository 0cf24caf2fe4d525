"""The pixel path: from a file to its proxy."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from media_files.errors import FileTooLarge, ImageTooLarge
from media_files.imaging.inspection import Limits, inspect
from media_files.tests.craft import exif, jpeg_with, picture, saved
from media_files.tests.test_inspection import swapped_profile
from proxies.rendering import render as rendering
from proxies.rendering.profiles import NOVA
from proxies.rendering.render import (
    Reason,
    calculate_target_dimensions,
    get_optimal_format,
    proxy_reasons,
    render,
)
from proxies.tests.rendering import FAST, SMALL, made, opened, photograph, pixels


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
    def test_realistic_sizes(self, size, expected):
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
        # One of the caps is reached, unless the image is below both.
        scale = min(1, longest / max(width, height), (shorter or 65_535) / min(width, height))
        assert abs(new_width - max(1, width * scale)) <= 0.5 + 1e-9 * width
        assert abs(new_height - max(1, height * scale)) <= 0.5 + 1e-9 * height

    @settings(deadline=None)
    @given(width=st.integers(1, 65_535), height=st.integers(1, 65_535))
    def test_rotating_an_image_rotates_its_proxy(self, width, height):
        one = calculate_target_dimensions(width, height, NOVA)
        assert calculate_target_dimensions(height, width, NOVA) == one[::-1]

    @settings(deadline=None)
    @given(width=st.integers(1, 65_535), height=st.integers(1, 65_535))
    def test_exact_agreement_with_another_calculation(self, width, height):
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
            ({"has_location": None}, []),
            ({"has_metadata": True}, [Reason.METADATA]),
            ({"has_metadata": None}, [Reason.METADATA]),
            ({"has_metadata": None, "format": "TIFF"}, [Reason.FORMAT]),
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
    def test_no_alpha_gives_jpeg(self, mode):
        image = picture("RGB").convert(mode) if mode == "YCbCr" else picture(mode)
        assert get_optimal_format(image) == "JPEG"

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    @pytest.mark.parametrize("size", [(64, 48), (9, 9)])
    def test_an_opaque_alpha_gives_jpeg(self, mode, size):
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
    def test_only_palette_entries_in_use_count(self, transparency, expected):
        image = Image.new("P", (20, 20), 2)
        image.putpixel((4, 4), 3)
        image.putpalette(bytes(range(12)))
        image.info["transparency"] = transparency
        assert get_optimal_format(image) == expected

    @pytest.mark.parametrize(("key", "expected"), [((9, 9, 9), "PNG"), ((1, 2, 3), "JPEG")])
    def test_a_colour_key_counts_only_if_a_pixel_has_it(self, key, expected):
        image = Image.new("RGB", (20, 20), (9, 9, 9))
        image.info["transparency"] = key
        assert get_optimal_format(image) == expected


class TestRender:
    def test_it_reports_what_it_made(self, resizer):
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
            "decoder": "libjpeg-turbo",
            "combination": "JPEG, RGB",
            "tone_mapping": None,
            "second_decoder": "not asked",
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
    def test_it_is_upright(self, name, orientation, resizer):
        upright = Image.new("RGB", (96, 64), "white")
        upright.paste("red", (0, 0, 48, 32))
        upright.paste("blue", (48, 32, 96, 64))
        back = {6: 8, 8: 6}.get(orientation, orientation)
        method = rendering._TRANSPOSE.get(back)
        stored = upright if method is None else upright.transpose(method)
        rendered = made(saved(name, image=stored, exif=exif(orientation)), resizer=resizer)
        assert (rendered.width, rendered.height) == (48, 32)
        shown = pixels(rendered)
        assert np.abs(shown[8, 8] - (255, 0, 0)).max() < 60
        assert np.abs(shown[8, 40] - (255, 255, 255)).max() < 60
        assert np.abs(shown[24, 40] - (0, 0, 255)).max() < 60

    def test_heif_is_rotated_once(self, resizer):
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

    def test_an_image_is_decoded_once_and_resized_from_its_exact_box(self, monkeypatch):
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

    def test_the_limits_are_checked_again(self):
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

    def test_a_limit_below_any_image(self):
        with pytest.raises(FileTooLarge, match="Raise its byte limit"):
            made(saved(), replace(NOVA, byte_limit=10))

    def test_a_low_quality_of_the_profile_is_kept(self):
        assert made(saved(), replace(SMALL, quality=30)).provenance["quality"] == 30


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("size", [(64, 48), (1600, 1200)])
def test_a_proxy_holds_nothing_but_its_image(mode, size):
    """Inspect it like an original: no byte of the original's metadata or profile, and none of our own."""
    format_name = "PNG" if mode in ("RGBA", "LA") else "JPEG"
    image = picture(mode, size)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    options = {"exif": exif(6, taken="2024:05:06 07:08:09"), "icc_profile": swapped_profile()}
    data = saved(format_name, image=image, **(options if mode != "CMYK" else {}))
    rendered = made(data + b"trailing")
    found = inspect(io.BytesIO(rendered.data))
    assert (found.has_metadata, found.has_location, found.orientation) == (False, False, 1)
    assert not opened(rendered).info.keys() & {"exif", "icc_profile", "comment", "xmp"}
