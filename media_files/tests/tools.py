"""Third-party programs with which tests create pictures."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# The real programs, even if PATH lists a wrapper first.
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
    **dict.fromkeys(("msgattrib", "msgfmt", "msgmerge", "msgunfmt", "msguniq", "xgettext"), "gettext"),
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
    """Skip the test with the reason, or fail it if all tools are required."""
    if os.environ.get("NOVAPROXY_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    preferred = _PREFERRED / name
    found = str(preferred) if preferred.exists() else shutil.which(name)
    if found is None:
        missing(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return str(found)


def run(name: str, *arguments: str | Path) -> None:
    """Run a third-party program until it exits."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{name} {arguments}: {done.stderr}"


def profile(name: str) -> Path:
    """Return the path of an ICC profile, or skip the test."""
    path, package = PROFILES[name]
    if not path.exists():
        missing(f"{path} is not installed: apt-get install {package}")
    return path
