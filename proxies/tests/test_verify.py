"""Proxies that do not show their originals are detected, and made again or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from media_files.errors import CorruptImage
from media_files.tests.craft import exif, saved
from proxies.rendering import pixel_sources, render, resize
from proxies.rendering.profiles import NOVA
from proxies.tests.rendering import FAST, made, needs_simd, photograph


class TestLikeness:
    @pytest.fixture(autouse=True)
    def _every_proxy_is_compared(self, monkeypatch):
        monkeypatch.setattr(render, "is_sampled", lambda _: True)

    PROFILE = replace(NOVA, shorter_side=300)

    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
    @pytest.mark.parametrize("orientation", [1, 6])
    def test_a_correct_proxy_is_kept(self, mode, orientation):
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
    def test_a_bug_in_the_fast_resizer_costs_only_speed(self, monkeypatch, fault):
        data = saved(image=photograph())
        right = made(data, self.PROFILE, "pillow")
        resize_simd = resize._resize_simd
        assert resize.simd_is_trusted()
        monkeypatch.setattr(resize, "_resize_simd", lambda *arguments: fault(resize_simd(*arguments)))
        assert made(data, self.PROFILE).data == right.data

    def test_a_bug_in_both_is_refused(self, monkeypatch):
        def turned(image, size, box, resizer):
            small, by = resize.resize(image, size, box, resizer)
            return small.transpose(Image.Transpose.ROTATE_180), by

        monkeypatch.setattr(pixel_sources, "resize", turned)
        with pytest.raises(CorruptImage, match="does not show"):
            made(saved(image=photograph()), self.PROFILE)

    def test_small_proxies_are_not_compared(self):
        assert made(saved()).provenance["resizer"] == FAST


def test_the_sample_is_about_one_in_sixteen():
    sampled = sum(render.is_sampled(number.to_bytes(4, "big")) for number in range(16_000))
    assert 900 < sampled < 1100
