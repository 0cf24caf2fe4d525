"""A reference image whose every pixel is known, and the measures to compare others with it.

Made and measured without Pillow, so that no bug of Pillow's can hide in both.
"""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from media_files.tests.tools import program, run

Pixels = npt.NDArray[np.float64]  # rows x columns x RGB, 0 to 1

WIDTH, HEIGHT = 720, 480
CORNER = 80


@lru_cache(maxsize=1)
def reference() -> Pixels:
    """Return gradients and waves of many colours, with a red, a green, a blue and a white corner."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / 130.0
    bands = [
        0.5 + 0.28 * np.sin(x * 1.1 + y * 0.7) + 0.14 * np.cos(x * 3.1 - y * 2.3),
        0.5 + 0.28 * np.sin(x * 0.8 - y * 1.3) + 0.14 * np.cos(x * 2.2 + y * 3.7),
        0.5 + 0.28 * np.cos(x * 0.6 + y * 1.1) + 0.14 * np.sin(x * 2.9 - y * 1.9),
    ]
    pixels = np.stack(bands, axis=2)
    pixels[:CORNER, :CORNER] = (0.8, 0.2, 0.2)
    pixels[:CORNER, -CORNER:] = (0.2, 0.7, 0.2)
    pixels[-CORNER:, :CORNER] = (0.2, 0.3, 0.8)
    pixels[-CORNER:, -CORNER:] = (0.9, 0.9, 0.9)
    return np.round(pixels * 255) / 255


@lru_cache(maxsize=1)
def alpha() -> Pixels:
    """Return an alpha channel: opaque at the left, transparent at the right."""
    ramp = np.clip(np.linspace(1.6, -0.6, WIDTH), 0, 1)
    return np.broadcast_to(np.round(ramp * 255) / 255, (HEIGHT, WIDTH)).copy()


def grey(pixels: Pixels) -> Pixels:
    """Return the ITU-R BT.601 luma, which every 8-bit conversion to grey uses."""
    luma = np.round(pixels @ np.array([0.299, 0.587, 0.114]) * 255) / 255
    return np.repeat(luma[:, :, None], 3, axis=2)


def write_pnm(path: Path, pixels: Pixels, depth: int = 8, *, single: bool = False) -> Path:
    """Write a PPM (or a PGM of the first band) by hand, with 8 or 16 bits."""
    top = (1 << depth) - 1
    samples = np.round((pixels[:, :, 0] if single else pixels) * top).astype(">u2" if depth > 8 else "u1")
    magic = "P5" if single else "P6"
    header = f"{magic}\n{pixels.shape[1]} {pixels.shape[0]}\n{top}\n".encode()
    path.write_bytes(header + samples.tobytes())
    return path


def read(path: Path, *options: str) -> Pixels:
    """Return an image as ImageMagick decodes it, over white if transparent."""
    command = [program("convert"), f"{path}[0]", *options, "-depth", "16", "rgb:-"]
    size = subprocess.run(
        [program("convert"), f"{path}[0]", *options, "-format", "%w %h", "info:-"],
        capture_output=True,
        check=True,
    )
    width, height = map(int, size.stdout.split())
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, "<u2").reshape(height, width, 3) / 65535


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Return the stored pixels that a viewer which applies the EXIF orientation shows as ``pixels``."""
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, 1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }
    return np.ascontiguousarray(stored[orientation])


def corners(pixels: Pixels) -> str:
    """Return the colours of the four corners in reading order: r, g, b, w, or ? for anything else."""
    inset = CORNER // 4
    found = ""
    for y, x in ((inset, inset), (inset, -inset), (-inset, inset), (-inset, -inset)):
        red, green, blue = pixels[y - 4 : y + 4, x - 4 : x + 4].mean(axis=(0, 1))
        names = {red > max(green, blue) + 0.2: "r", green > max(red, blue) + 0.2: "g"}
        names |= {blue > max(red, green) + 0.2: "b", min(red, green, blue) > 0.75: "w"}
        found += names.get(True, "?")
    return found


def _lanczos(size: int, target: int) -> Pixels:
    """Return the matrix that resamples ``size`` samples to ``target`` by Lanczos-3, in float."""
    scale = size / target
    support = max(scale, 1.0)
    distance = (np.arange(size)[None, :] + 0.5 - (np.arange(target)[:, None] + 0.5) * scale) / support
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize ``pixels`` by Lanczos, computed in float by matrices."""
    rows = np.einsum("ty,yxc->txc", _lanczos(pixels.shape[0], height), pixels, optimize=True)
    both = np.einsum("tx,yxc->ytc", _lanczos(pixels.shape[1], width), rows, optimize=True)
    return np.asarray(np.clip(both, 0, 1))


def as_jpeg(pixels: Pixels, quality: int, folder: Path) -> Pixels:
    """Return ``pixels`` after a round trip through a JPEG file written by cjpeg."""
    source = write_pnm(folder / "independent.ppm", pixels)
    run("cjpeg", "-quality", str(quality), "-outfile", folder / "independent.jpg", source)
    return read(folder / "independent.jpg")


def _lab(pixels: Pixels) -> Pixels:
    """Convert sRGB to CIE L*a*b* (D65), IEC 61966-2-1 and CIE 15."""
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    )


def mean_delta_e(one: Pixels, other: Pixels) -> float:
    """Return the mean CIEDE2000 colour difference of two images of one size (Sharma, Wu and Dalal, 2005)."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(_lab(one), -1, 0), np.moveaxis(_lab(other), -1, 0)
    chroma7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(chroma7 / (chroma7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1) % (2 * np.pi), np.arctan2(b2, a2) % (2 * np.pi)
    delta_h = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi
    big_h = 2 * np.sqrt(c1 * c2) * np.sin(delta_h / 2)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    mean_h = np.where(np.abs(h1 - h2) > np.pi, (h1 + h2 + 2 * np.pi) / 2, (h1 + h2) / 2)
    t = (
        1
        - 0.17 * np.cos(mean_h - np.pi / 6)
        + 0.24 * np.cos(2 * mean_h)
        + 0.32 * np.cos(3 * mean_h + np.pi / 30)
        - 0.20 * np.cos(4 * mean_h - 63 * np.pi / 180)
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    turn = np.radians(60) * np.exp(-(((np.degrees(mean_h) - 275) / 25) ** 2))
    r_t = -np.sin(turn) * 2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    parts = ((l2 - l1) / s_l, (c2 - c1) / s_c, big_h / s_h)
    total = parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2 + r_t * parts[1] * parts[2]
    return float(np.sqrt(np.maximum(total, 0)).mean())
