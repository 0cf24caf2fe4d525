"""Embedded colour profiles: which of them differ from sRGB, and the transforms to sRGB.

Little CMS does the work, through Pillow's `ImageCms`. Transforms take milliseconds to build, and libraries
contain thousands of pictures with the same few profiles, so transforms are cached by the profile's bytes.
Source: ICC.1:2022, section 7.2 (header).
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final

from PIL import Image, ImageCms

from media_files.shortage import find_shortage

MAX_PROFILE_BYTES: Final = 8 << 20
"""Press profiles take 0.5 to 3 MB; anything larger is not a usable profile."""

_SPACES: Final = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
_EQUAL_LEVELS: Final = 2
_KEPT: Final = 64


def profile_space(profile: bytes) -> bytes:
    """Return the profile's colour space, four letters from its header."""
    return profile[16:20]


def fits(profile: bytes, mode: str) -> bool:
    """Return whether a profile describes pixels of ``mode`` (``L``, ``RGB``, ``CMYK`` or ``LAB``)."""
    return len(profile) <= MAX_PROFILE_BYTES and profile_space(profile) == _SPACES.get(mode)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=_KEPT)
def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from ``mode`` to 8-bit sRGB, or None if the profile is unusable.

    Relative colorimetric with black point compensation, the default of photo editors: the darkest ink of a
    press becomes black instead of the grey that it is.
    """
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            _srgb(),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, MemoryError) as error:
        # A profile dropped for lack of memory would give wrong colours, and the cache would keep that result.
        if shortage := find_shortage(error):
            raise shortage from error
        return None


@lru_cache(maxsize=1)
def lab_to_srgb() -> ImageCms.ImageCmsTransform:
    """Return the transform from CIE L*a*b* (D50, as TIFF stores it) to 8-bit sRGB."""
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")),
        _srgb(),
        "LAB",
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


@lru_cache(maxsize=1)
def _swatches() -> Image.Image:
    """Return a coarse lattice of the RGB cube: 729 colours in one row."""
    levels = (0, 32, 64, 96, 128, 160, 192, 224, 255)
    picture = Image.new("RGB", (len(levels) ** 3, 1))
    picture.putdata([(red, green, blue) for red in levels for green in levels for blue in levels])
    return picture


@lru_cache(maxsize=_KEPT)
def is_srgb(profile: bytes, mode: str) -> bool:
    """Return whether the profile changes nothing visible: at most two levels of 255 in any colour.

    Decided by what it does, not by its name: there are dozens of sRGB profiles, some with a different
    gamma, and display profiles that call themselves sRGB.
    """
    transform = to_srgb(profile, mode)
    if transform is None or mode not in ("L", "RGB"):
        return False
    swatches = _swatches().convert(mode)
    before = swatches.convert("RGB").tobytes()
    after = transform.apply(swatches).tobytes()
    return all(abs(one - other) <= _EQUAL_LEVELS for one, other in zip(before, after, strict=True))
