"""Convert any pixels to 8-bit sRGB grey, RGB or RGBA: depth before the resize, colour after it.

Depth must come first, because the resizers take 8 bits; colour comes last, because the small image costs a
tenth of the large one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageChops

from media_files.imaging.formats import icc

ALPHA_MODES: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_SHORT_MODES: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_SHORT_TOP: Final = 65535
_OPAQUE: Final = 255
_GLANCE_STEP: Final = 16
_GREY_SPREAD: Final = 2
"""Levels by which the channels of a grey picture may differ."""

ProfileOutcome = Literal["none", "srgb", "converted", "ignored"]


def is_transparent(image: Image.Image) -> bool:
    """Return whether any pixel of a decoded image is less than opaque.

    Considers alpha channels (``RGBA``, ``LA``, ``PA``), palettes with transparent entries that are in use,
    and a colour key.
    """
    if image.mode in ALPHA_MODES:
        return _alpha_below_opaque(image)
    if "transparency" not in image.info:
        return False
    if image.mode == "P":
        return _palette_is_transparent(image)
    return _alpha_below_opaque(image.convert("RGBA"))


def may_be_transparent(image: Image.Image) -> bool:
    """Return whether a decoded image must be resized with its alpha: a quick check that errs towards True."""
    if image.mode == "P" and "transparency" in image.info:
        return _palette_is_transparent(image)
    return image.mode in ALPHA_MODES or "transparency" in image.info


def drop_opaque_alpha(image: Image.Image) -> Image.Image:
    """Return an RGBA image without its alpha if every pixel is opaque, else the image itself."""
    if image.mode != "RGBA" or _alpha_below_opaque(image):
        return image
    return image.convert("RGB")


def _alpha_below_opaque(image: Image.Image) -> bool:
    # In nearly every transparent image, a sample of one pixel in 256 shows it, which is quick to check.
    if min(image.size) > _GLANCE_STEP:
        glance = (image.width // _GLANCE_STEP, image.height // _GLANCE_STEP)
        if _lowest(image.resize(glance, Image.Resampling.NEAREST).getchannel("A")) < _OPAQUE:
            return True
    return _lowest(image.getchannel("A")) < _OPAQUE


def _lowest(band: Image.Image) -> float:
    low = band.getextrema()[0]
    return low if isinstance(low, int | float) else low[0]


def _palette_is_transparent(image: Image.Image) -> bool:
    key = image.info["transparency"]
    used = image.histogram()
    if isinstance(key, int):
        return key < len(used) and used[key] > 0
    return any(alpha < _OPAQUE and used[index] for index, alpha in enumerate(key[: len(used)]))


def to_8_bit(image: Image.Image, *, alpha: bool) -> Image.Image:
    """Convert a decoded image to one of the modes that can be resized: L, RGB, RGBA, CMYK or LAB.

    Args:
        image: as decoded, in any of Pillow's modes.
        alpha: whether to keep transparency; the result is then RGBA.
    """
    if alpha:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in _SHORT_MODES:
        return _scale(image.convert("I"), 0, _SHORT_TOP)
    if image.mode in ("I", "F"):
        return _scale(image, *_value_range(image))
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("RGB")


def _value_range(image: Image.Image) -> tuple[float, float]:
    """Return the values of black and white in an image whose format does not define them.

    By convention they are 0 and 1 for floats, and 0 and the maximum of one or two bytes for integers. Values
    outside these ranges (measurements, heights) are scaled from their lowest to their highest.
    """
    low, high = image.getextrema()
    assert isinstance(low, int | float)  # noqa: S101 - one band
    assert isinstance(high, int | float)  # noqa: S101 - one band
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    tops = (1, 255, _SHORT_TOP) if image.mode == "F" else (255, _SHORT_TOP)
    for top in tops:
        if low >= 0 and high <= top:
            return 0, top
    return low, high


def _scale(image: Image.Image, low: float, high: float) -> Image.Image:
    """Convert modes I and F to L, with ``low`` as black and ``high`` as white."""
    scale = _OPAQUE / (high - low) if high > low else 0.0
    # `point` truncates; adding half a level makes it round.
    return image.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


@dataclass(frozen=True, slots=True)
class Coloured:
    """An image in sRGB, and how its embedded profile was handled."""

    image: Image.Image
    profile: ProfileOutcome


def to_srgb(image: Image.Image, profile: bytes | None) -> Coloured:
    """Convert an image of mode L, RGB, RGBA, CMYK or LAB to sRGB, as L, RGB or RGBA.

    Args:
        image: with 8 bits per sample.
        profile: the embedded ICC profile, if any. If it is broken or describes a different colour space than
            the pixels have, it is ignored, as in every viewer.
    """
    if image.mode == "LAB":
        return Coloured(icc.lab_to_srgb().apply(image), "none")
    if profile and image.mode == "RGB" and icc.fits(profile, "L") and _is_grey(image):
        image = image.convert("L")  # as some decoders return grey, RGB does not fit the profile
    space = "RGB" if image.mode == "RGBA" else image.mode
    outcome = _judge(profile, space)
    if outcome == "converted":
        assert profile is not None  # noqa: S101 - "converted" implies a profile
        return Coloured(_convert(image, profile, space), outcome)
    return Coloured(image.convert("RGB") if image.mode == "CMYK" else image, outcome)


def _is_grey(image: Image.Image) -> bool:
    """Return whether an RGB image has no colours, but for the rounding of a decoder."""
    red, green, blue = image.split()
    spread = (ImageChops.difference(red, green), ImageChops.difference(green, blue))
    return all(_highest(each) <= _GREY_SPREAD for each in spread)


def _highest(band: Image.Image) -> float:
    high = band.getextrema()[1]
    return high if isinstance(high, int | float) else high[1]


def _judge(profile: bytes | None, space: str) -> ProfileOutcome:
    if not profile:
        return "none"
    if not icc.fits(profile, space) or icc.to_srgb(profile, space) is None:
        return "ignored"
    return "srgb" if icc.is_srgb(profile, space) else "converted"


def _convert(image: Image.Image, profile: bytes, space: str) -> Image.Image:
    transform = icc.to_srgb(profile, space)
    assert transform is not None  # noqa: S101 - `_judge` has built it
    if image.mode != "RGBA":
        converted = transform.apply(image)
        return converted.convert("L") if image.mode == "L" else converted
    converted = transform.apply(image.convert("RGB"))
    converted.putalpha(image.getchannel("A"))
    return converted
