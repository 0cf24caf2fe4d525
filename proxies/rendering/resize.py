"""Lanczos resizing of an exact box, with SIMD instructions if they can be trusted, else with Pillow.

`cykooz.resizer` takes a tenth of the time of Pillow's scalar loop. It accesses Pillow's memory through
Pillow's internal layout, so a new Pillow may break it: before its first use in a process it must produce the
same image as Pillow's own resize, or it is not used in that process.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Final, Literal

from PIL import Image, ImageChops

try:
    import cykooz_resizer
except ImportError:  # no wheel for this machine: Linux on Arm, musl
    cykooz_resizer = None

Resizer = Literal["auto", "pillow"]
Box = tuple[float, float, float, float]

LANCZOS_SUPPORT: Final = 3
"""How far the filter reaches to either side, in pixels of the smaller image."""

SIMD_MODES: Final = ("L", "RGB", "RGBA", "CMYK")

CHECK_TOLERANCE: Final = 2
"""Levels of 255 by which the two resizers may differ in any sample of the self-check.

Both round fixed-point sums to 8 bits after each of their two passes, but one starts with the rows and the
other with the columns, so each pass may add one level of difference. (Where edges overshoot black or white,
they clip at different steps and differ by more, as much as either does from an exact computation; the check
image has no such edges.) A wrong stride, channel order or box differs by tens of levels.
"""

_KEPT_PIXELS: Final = 32_000_000
"""For images up to this size, the thread keeps its resizer's memory, some 30 MB."""

_CHECK_SIZE: Final = (211, 157)
_CHECK_TARGET: Final = (83, 61)
_CHECK_BOX: Final = (0.0, 0.0, 210.5, 156.25)


def resize(image: Image.Image, size: tuple[int, int], box: Box, resizer: Resizer) -> tuple[Image.Image, str]:
    """Resample ``image``'s ``box`` to ``size``; return the result and the name of the resizer.

    Args:
        image: of mode ``L``, ``RGB``, ``RGBA``, ``CMYK`` or ``LAB``. ``RGBA`` is weighted by its alpha, so
            that the hidden colour of transparent pixels does not show at their edges.
        size: px of the result.
        box: left, top, right and bottom in ``image``, px, fractions included.
        resizer: ``pillow`` to do without SIMD.

    Returns:
        The new image, of the same mode, and ``simd`` or ``pillow`` (``none`` if there was nothing to do).
    """
    if image.size == size and box == (0, 0, *image.size):
        return image, "none"
    if resizer == "auto" and image.mode in SIMD_MODES and simd_is_trusted():
        return _resize_simd(image, size, box), "simd"
    return _resize_pillow(image, size, box), "pillow"


def _resize_pillow(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    # Pillow itself weights RGBA by its alpha.
    return image.resize(size, Image.Resampling.LANCZOS, box)


def _resize_simd(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    left, top, right, bottom = box
    target = Image.new(image.mode, size, None)
    options = cykooz_resizer.ResizeOptions(
        resize_alg=cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.lanczos3),
        crop_box=cykooz_resizer.CropBox(left, top, right - left, bottom - top),
    )
    _resizer_for(image).resize_pil(image, target, options)
    return target


_kept = threading.local()


def _resizer_for(image: Image.Image) -> Any:
    """Return this thread's resizer, which reuses its memory; for a large image, a new one."""
    if image.width * image.height > _KEPT_PIXELS:
        return cykooz_resizer.Resizer()
    if not hasattr(_kept, "resizer"):
        _kept.resizer = cykooz_resizer.Resizer()
    return _kept.resizer


@lru_cache(maxsize=1)
def simd_is_trusted() -> bool:
    """Return whether the SIMD resizer is installed and matches Pillow. Checked once per process."""
    if cykooz_resizer is None:
        return False
    try:
        return all(_agrees(_natural_picture(mode)) for mode in SIMD_MODES)
    except Exception:  # noqa: BLE001 - a mismatch of compiled modules may raise anything; use Pillow instead
        return False


def _agrees(picture: Image.Image) -> bool:
    fast = _resize_simd(picture, _CHECK_TARGET, _CHECK_BOX)
    slow = _resize_pillow(picture, _CHECK_TARGET, _CHECK_BOX)
    if fast.mode != slow.mode:
        return False
    if fast.mode == "RGBA":
        # Compare colours weighted by alpha: dividing by a small alpha turns one level into many.
        fast, slow = fast.convert("RGBa"), slow.convert("RGBa")
    bands = zip(fast.split(), slow.split(), strict=True)
    return max(max(ImageChops.difference(*pair).tobytes()) for pair in bands) <= CHECK_TOLERANCE


def _natural_picture(mode: str) -> Image.Image:
    """Return a deterministic image with slopes, edges and detail, no two channels alike."""
    fractal = Image.effect_mandelbrot(_CHECK_SIZE, (-2.0, -1.2, 0.8, 1.2), 60)
    detail = fractal.point([64 + level // 2 for level in range(256)])
    slope = Image.linear_gradient("L").resize(_CHECK_SIZE)
    disc = Image.radial_gradient("L").resize(_CHECK_SIZE)
    bands = (detail, slope, disc, ImageChops.lighter(disc, slope.transpose(Image.Transpose.FLIP_TOP_BOTTOM)))
    return Image.merge(mode, bands[: len(Image.new(mode, (1, 1)).getbands())])
