"""Peak memory of making one proxy, by format: the resident set above that of a warmed-up process.

Run as ``python -m benchmarks.pixel_memory [MEGAPIXELS]`` (default 24; the default limit of the settings is
250). libvips writes the files (Debian: libvips-tools), and each proxy is made in a separate process.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from pathlib import Path

TILE = 64
LARGEST_PIECE = 35
"""Megapixels that HEVC and AV1 hold in one tile; larger HEIC and AVIF pictures are grids of tiles."""

KINDS = {
    "JPEG baseline": ("jpg", "[Q=90]"),
    "JPEG progressive": ("jpg", "[Q=90,interlace]"),
    "PNG RGB": ("png", "[compression=1]"),
    "TIFF uncompressed": ("tif", ""),
    "TIFF deflate, tiled": ("tif", "[compression=deflate,tile]"),
    "WebP": ("webp", "[Q=80,effort=0]"),
    "JPEG 2000": ("jp2", "[Q=60]"),
    "HEIC": ("heic", "[Q=60]"),
    "AVIF": ("avif", "[Q=60,effort=0]"),
}
CHILD = """
import io, pathlib, resource, sys
from PIL import Image
from media_files.imaging.inspection import Limits, inspect
from proxies.rendering.render import render
from proxies.rendering.profiles import NOVA

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

small = io.BytesIO()
Image.new("RGB", (1000, 1000)).save(small, "JPEG")
render(small, inspect(small), NOVA)
ready = peak()
with pathlib.Path(sys.argv[1]).open("rb") as stream:
    limits = Limits(max_bytes=2**31)
    facts = inspect(stream, limits)
    render(stream, facts, NOVA, limits=limits)
print(facts.width * facts.height / 1e6, peak() - ready)
"""


def picture(folder: Path, megapixels: float) -> Path:
    """Write a noisy picture in libvips' own format; return its path."""
    repeat = max(1, math.isqrt(int(megapixels * 1e6)) // TILE)
    band, tile, whole = folder / "band.v", folder / "tile.v", folder / "whole.v"
    _run("vips", "gaussnoise", band, TILE, TILE, "--sigma", 40, "--mean", 128)
    _run("vips", "bandjoin", f"{band} {band} {band}", tile)
    _run("vips", "cast", tile, folder / "bytes.v", "uchar")
    _run("vips", "copy", folder / "bytes.v", tile, "--interpretation", "srgb")
    _run("vips", "replicate", tile, whole, repeat, repeat)
    return whole


def _run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return done.stdout


def main(megapixels: float = 24) -> None:
    """Print one row per format."""
    print(f"{'':<22}{'megapixels':>11}{'MB above idle':>15}{'bytes a pixel':>15}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, (suffix, options) in KINDS.items():
            wanted = min(megapixels, LARGEST_PIECE) if suffix in ("heic", "avif") else megapixels
            file = folder / f"picture.{suffix}"
            try:
                _run("vips", "copy", picture(folder, wanted), f"{file}{options}")
                measured = _run(sys.executable, "-W", "ignore", "-c", CHILD, file)
            except subprocess.CalledProcessError as error:
                print(f"{kind:<22}not measured: {error.stderr.strip().splitlines()[-1]}")
                continue
            count, above = map(float, measured.split())
            print(f"{kind:<22}{count:>11.0f}{above:>15.0f}{above / count:>15.2f}", flush=True)
            file.unlink()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
