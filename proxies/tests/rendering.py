"""Test images for the pixel path, and helpers to read its results."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from media_files.imaging.inspection import inspect
from proxies.rendering.profiles import NOVA, ProxyProfile
from proxies.rendering.render import Rendered, render
from proxies.rendering.resize import Resizer

SMALL = replace(NOVA, shorter_side=32)
# Some platforms have no wheel of the SIMD resizer: Linux on Arm, musl.
FAST = "pillow" if sys.modules.get("cykooz_resizer") is None else "simd"
needs_simd = pytest.mark.skipif(FAST == "pillow", reason="cykooz.resizer is not installed")


def made(data: bytes, profile: ProxyProfile = SMALL, resizer: Resizer = "auto", **options) -> Rendered:
    stream = io.BytesIO(data)
    return render(stream, inspect(stream), profile, resizer=resizer, **options)


def opened(rendered: Rendered) -> Image.Image:
    return Image.open(io.BytesIO(rendered.data))


def pixels(rendered: Rendered, mode: str = "RGB") -> np.ndarray:
    return np.asarray(opened(rendered).convert(mode), dtype=float)


def photograph(size: tuple[int, int] = (640, 480), seed: int = 7) -> Image.Image:
    """Return an image with the detail of a photograph: noise at several scales, fainter the finer it is."""
    chance = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for scale, weight in ((4, 0.08), (12, 0.16), (40, 0.32), (120, 0.44)):
        coarse = chance.integers(
            0, 256, (max(2, size[1] // scale), max(2, size[0] // scale), 3), dtype=np.uint8
        )
        layer = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        total += weight * np.asarray(layer, dtype=float)
    return Image.fromarray(total.astype("u1"))
