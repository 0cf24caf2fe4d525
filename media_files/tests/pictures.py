"""Small pictures and other files, made in memory. The same arguments give the same bytes."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from PIL import Image


def picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Return a gradient with a rectangle whose position and colour depend on ``seed``."""
    image = Image.linear_gradient("L").resize((width, height)).convert(mode)
    colour = tuple((seed * step + 40) % 256 for step in (37, 71, 113, 199))[: len(image.getbands())]
    x, y = seed * 7 % max(1, width // 2), seed * 11 % max(1, height // 2)
    image.paste(colour[0] if len(colour) == 1 else colour, (x, y, width, height))
    return image


def encoded(format: str, width: int, height: int, seed: int = 0, mode: str = "RGB", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    picture(width, height, seed, mode).save(stream, format, **options)
    return stream.getvalue()


def jpeg(width: int = 1000, height: int = 900, seed: int = 0, **options: Any) -> bytes:
    """Return a JPEG that by default needs a proxy because of its shorter side."""
    return encoded("JPEG", width, height, seed, **options)


def turned_jpeg(orientation: int = 6, **options: Any) -> bytes:
    """Return a small JPEG that must be rotated upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(300, 200, exif=exif, **options)


def corrupt_jpeg(seed: int = 0) -> bytes:
    """Return a JPEG with an intact header whose pixels end halfway."""
    whole = jpeg(seed=seed, quality=95)
    return whole[: len(whole) // 2]


def mp4(seed: int = 0) -> bytes:
    """Return the start of a video, which is all that is examined."""
    return b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes([seed % 256]) * 64


def archive() -> bytes:
    """Return a ZIP file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a.txt", "text")
    return stream.getvalue()


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"
