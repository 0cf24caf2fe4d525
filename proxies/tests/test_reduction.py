"""How small a JPEG is decoded for its proxy, and that nothing of that shows."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter, JpegImagePlugin

from media_files.tests.craft import saved
from proxies import reduction
from proxies.profiles import ProxyProfile
from proxies.reduction import CALM, GRAINY, grain
from proxies.resizing import smooth
from proxies.tests.test_imaging import RESIZERS, SMALL, made, pixels

SIDE = 800


def noisy(levels: float) -> Image.Image:
    """A soft slope under noise of so many levels of 255, as a sensor's, finer than any lens's detail."""
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
def test_the_kind_of_a_picture_is_told_whatever_its_quality(kind, low, high, quality):
    assert low <= grain_of(saved(image=PICTURES[kind], quality=quality)) < high


def test_a_file_without_a_table_of_its_own_counts_as_fine():
    image = Image.open(io.BytesIO(saved()))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    image.quantization.clear()
    assert grain(image, 8 * image.width * image.height) == 64


@pytest.mark.parametrize(
    ("kind", "room"), [("calm", 1.15), ("common", 1.5), ("grainy", 2.0)], ids=["calm", "common", "grainy"]
)
def test_the_finer_its_detail_the_larger_a_picture_is_decoded(kind, room):
    data = saved(image=PICTURES[kind], quality=90)
    for scale in (2, 4, 8):
        fits = int(SIDE / scale / room)
        assert made(data, profile(fits)).provenance["decode_scale"] == scale
        assert made(data, profile(fits + 1)).provenance["decode_scale"] == scale // 2


def profile(side: int) -> ProxyProfile:
    return replace(SMALL, shorter_side=side, quality=100)


def fine_contrast(values: np.ndarray) -> float:
    """How strongly neighbours differ."""
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


@pytest.mark.parametrize("resizer", RESIZERS)
def test_fine_detail_has_the_contrast_of_a_full_decode(resizer, monkeypatch):
    fine = Image.effect_noise((SIDE, SIDE), 60).filter(ImageFilter.GaussianBlur(1.2)).convert("RGB")
    data = saved(image=fine, quality=90)
    assert CALM <= grain_of(data) < GRAINY
    wanted = profile(250)
    with Image.open(io.BytesIO(data)) as whole:
        exact = np.asarray(whole.convert("F").resize((250, 250), Image.Resampling.LANCZOS))
    regained = made(data, wanted, resizer)
    assert regained.provenance["decode_scale"] == 2
    assert fine_contrast(pixels(regained, "L")) == pytest.approx(fine_contrast(exact), rel=0.015)
    monkeypatch.setattr(reduction, "APERTURE_GAIN", 0.0)
    left_alone = made(data, wanted, resizer)
    assert fine_contrast(pixels(left_alone, "L")) < 0.97 * fine_contrast(exact)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_both_resizers_smooth_alike(mode):
    image = noisy(20.0).convert(mode)
    fast, slow = (np.asarray(smooth(image, resizer), dtype=int) for resizer in RESIZERS)
    assert np.abs(fast - slow)[1:-1, 1:-1].max() <= 2
    assert np.abs(fast - slow).mean() < 0.5
    assert fine_contrast(fast) < 0.95 * fine_contrast(np.asarray(image, dtype=int))
