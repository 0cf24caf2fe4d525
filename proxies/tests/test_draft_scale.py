"""JPEGs are decoded at a reduced scale for their proxies, without a visible loss."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter, JpegImagePlugin

from media_files.tests.craft import saved
from proxies.rendering import draft_scale
from proxies.rendering.draft_scale import CALM, GRAINY, grain
from proxies.rendering.profiles import ProxyProfile
from proxies.tests.rendering import SMALL, made

SIDE = 800


def noisy(levels: float) -> Image.Image:
    """Return a gradient with noise of ``levels`` of 255, finer than any lens's detail, like a sensor's."""
    slope = np.linspace(60, 190, SIDE)[None, :].repeat(SIDE, axis=0)
    noise = np.random.default_rng(5).normal(0, levels, (SIDE, SIDE)) if levels else 0
    return Image.fromarray(np.clip(slope + noise, 0, 255).astype("u1")).convert("RGB")


PICTURES = {"calm": noisy(0.0), "common": noisy(3.0), "grainy": noisy(15.0)}


def grain_of(data: bytes) -> float:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return grain(image, len(data))


@pytest.mark.parametrize("quality", [85, 92, 96])
@pytest.mark.parametrize(
    ("kind", "low", "high"), [("calm", 0, CALM), ("common", CALM, GRAINY), ("grainy", GRAINY, 20)]
)
def test_the_kind_of_image_is_recognized_at_any_quality(kind, low, high, quality):
    assert low <= grain_of(saved(image=PICTURES[kind], quality=quality)) < high


def test_a_file_without_quantization_tables_counts_as_fine():
    image = Image.open(io.BytesIO(saved()))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    image.quantization.clear()
    assert grain(image, 8 * image.width * image.height) == 64


@pytest.mark.parametrize(
    ("kind", "room"), [("calm", 1.15), ("common", 1.5), ("grainy", 2.0)], ids=["calm", "common", "grainy"]
)
def test_finer_detail_is_decoded_at_a_larger_scale(kind, room):
    data = saved(image=PICTURES[kind], quality=90)
    for scale in (2, 4, 8):
        fits = int(SIDE / scale / room)
        assert made(data, profile(fits)).provenance["decode_scale"] == scale
        assert made(data, profile(fits + 1)).provenance["decode_scale"] == scale // 2


def profile(side: int, quality: int = 85) -> ProxyProfile:
    return replace(SMALL, shorter_side=side, quality=quality)


FINE = noisy(60.0).filter(ImageFilter.GaussianBlur(1.2))


def fine_contrast(data: bytes) -> float:
    """Return the mean difference between neighbouring pixels."""
    with Image.open(io.BytesIO(data)) as image:
        values = np.asarray(image.convert("F"))
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


def tables(data: bytes) -> dict[int, list[int]]:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return {number: list(steps) for number, steps in image.quantization.items()}


@pytest.mark.parametrize("side", [190, 120])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_fine_detail_has_the_contrast_of_a_full_decode(mode, side, monkeypatch):
    data = saved(image=FINE.convert(mode), quality=90)
    with Image.open(io.BytesIO(data)) as whole:
        exact = whole.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    wanted = fine_contrast(saved(image=exact, quality=85))
    regained = made(data, profile(side))
    assert regained.provenance["decode_scale"] != 1
    assert fine_contrast(regained.data) == pytest.approx(wanted, rel=0.03)
    monkeypatch.setattr(draft_scale, "CALM", 100.0)
    left_alone = made(data, profile(side))
    assert fine_contrast(left_alone.data) < 0.985 * fine_contrast(regained.data)


@pytest.mark.parametrize("quality", [1, 45, 85, 95])
def test_a_proxy_declares_the_tables_of_its_quality(quality):
    data = saved(image=FINE, quality=90)
    plain = saved(image=FINE.resize((250, 250)), quality=quality)
    assert tables(made(data, profile(250, quality)).data) == tables(plain)
