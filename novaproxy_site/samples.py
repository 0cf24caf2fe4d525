"""Sample pictures to try the product with, generated so that no real photographs need to be shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

_GPS_IFD: Final = 0x8825
_ORIENTATION: Final = 0x0112


def make_samples(folder: Path) -> None:
    """Write the samples that do not exist yet: six files, 45 megapixels in total."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in _SAMPLES.items():
        path = folder / name
        if not path.exists():
            unfinished = path.with_name(f".{name}")
            write(unfinished)
            unfinished.replace(path)


def draw_scene(width: int, height: int, seed: int) -> Image.Image:
    """Draw gradients with photographic noise and a few hard-edged shapes."""
    fall = Image.linear_gradient("L").resize((width, height))
    round_ = Image.radial_gradient("L").resize((width, height))
    rise = fall.transpose(Image.Transpose.ROTATE_180)
    turned = Image.linear_gradient("L").rotate(90).resize((width, height))
    channels = [(fall, round_, turned), (round_, turned, rise), (rise, fall, round_)][seed % 3]
    picture = Image.merge("RGB", channels)
    draw = ImageDraw.Draw(picture)
    for step in range(1, 9):
        x, y = width * step // 10, height * ((step * 3 + seed) % 10) // 10
        size = height // 12
        colour = (255 - 25 * step, 40 + 20 * step, (90 * step) % 256)
        draw.ellipse((x, y, x + size, y + size), fill=colour)
        draw.text((x, y), f"NovaProxy {step}", fill="white", font_size=size // 4)
    noise = Image.effect_noise((width, height), 28).filter(ImageFilter.GaussianBlur(0.6))
    return ImageChops.overlay(picture, Image.merge("RGB", (noise, noise, noise)))


def _landscape(path: Path) -> None:
    draw_scene(4608, 3072, 0).save(path, "JPEG", quality=92)


def _phone(path: Path) -> None:
    """Write a portrait photo as phones do: stored in landscape, with EXIF orientation and GPS data."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    exif.get_ifd(_GPS_IFD).update({1: "N", 2: (48.0, 51.0, 29.6), 3: "E", 4: (2.0, 17.0, 40.2)})
    upright = draw_scene(3024, 4032, 1)
    upright.transpose(Image.Transpose.ROTATE_90).save(path, "JPEG", quality=90, exif=exif)


def _transparent(path: Path) -> None:
    width, height = 4000, 3000
    picture = draw_scene(width, height, 2).filter(ImageFilter.GaussianBlur(6))
    picture.putalpha(Image.radial_gradient("L").resize((width, height)).point(lambda value: 255 - value))
    picture.save(path, "PNG", compress_level=1)


def _scan(path: Path) -> None:
    draw_scene(500, 640, 0).save(path, "TIFF", compression="tiff_lzw")


def _small(path: Path) -> None:
    draw_scene(800, 600, 1).save(path, "JPEG", quality=85)


def _square(path: Path) -> None:
    draw_scene(2400, 2400, 2).save(path, "WEBP", quality=85, method=0)


_SAMPLES: Final[dict[str, Callable[[Path], None]]] = {
    "landscape.jpg": _landscape,
    "phone.jpg": _phone,
    "transparent.png": _transparent,
    "scan.tif": _scan,
    "small.jpg": _small,
    "square.webp": _square,
}
