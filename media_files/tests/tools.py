"""Programs of other makers that tests write their pictures with."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Where a stand-in comes before the real program in PATH, this is the real one.
_PREFERRED = Path("/usr/bin")

PACKAGES = {
    "avifenc": "libavif-bin",
    "cjpeg": "libjpeg-turbo-progs",
    "convert": "imagemagick",
    "cwebp": "webp",
    "exiftool": "libimage-exiftool-perl",
    "gif2webp": "webp",
    "heif-enc": "libheif-examples",
    "jpegtran": "libjpeg-turbo-progs",
    "tiffcp": "libtiff-tools",
    "tificc": "liblcms2-utils",
    "vips": "libvips-tools",
}
COLORD = Path("/usr/share/color/icc/colord")
GHOSTSCRIPT = Path("/usr/share/color/icc/ghostscript")
PROFILES = {
    "Adobe RGB": (COLORD / "AdobeRGB1998.icc", "colord-data"),
    "ProPhoto RGB": (COLORD / "ProPhotoRGB.icc", "colord-data"),
    "exchanged red and green": (COLORD / "SwappedRedAndGreen.icc", "colord-data"),
    "press CMYK": (GHOSTSCRIPT / "default_cmyk.icc", "libgs-common"),
    "grey": (GHOSTSCRIPT / "default_gray.icc", "libgs-common"),
    "sRGB": (COLORD / "sRGB.icc", "colord-data"),
}


def missing(reason: str) -> None:
    """Skips the test with the reason; fails it where everything is required."""
    if os.environ.get("NOVAPROXY_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str:
    """The path of a program, or a skipped test."""
    preferred = _PREFERRED / name
    found = str(preferred) if preferred.exists() else shutil.which(name)
    if found is None:
        missing(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return str(found)


def run(name: str, *arguments: str | Path) -> None:
    """Runs a program of another maker to its end."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{name} {arguments}: {done.stderr}"


def profile(name: str) -> Path:
    """The path of an ICC profile, or a skipped test."""
    path, package = PROFILES[name]
    if not path.exists():
        missing(f"{path} is not installed: apt-get install {package}")
    return path
