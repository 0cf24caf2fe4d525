"""The pictures to measure: generated scenes of 8 to 24 megapixels, or the user's own folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pillow_heif
from PIL import Image, ImageFilter

from benchmarks.harness import Options
from media_files.errors import MediaError
from media_files.imaging.inspection import inspect
from novaproxy_site.samples import draw_scene

LARGEST: Final = (6000, 4000)
LENS: Final = 0.8
"""Blur in px; it gives files the size of camera files: 2 MB at 12 megapixels, 6 MB at 24."""


@dataclass(frozen=True)
class Photograph:
    """A file to generate.

    Attributes:
        kind: the table it belongs to, for example ``JPEG`` or ``PNG, transparent``.
        size: width and height, px.
        suffix: file name suffix, which determines the format.
        options: Pillow's options for saving it.
        in_short: whether the short form measures it too.
    """

    kind: str
    size: tuple[int, int]
    suffix: str
    options: Mapping[str, Any] = field(default_factory=dict)
    in_short: bool = False

    def name(self, position: int) -> str:
        return f"{position:02}-{self.size[0]}x{self.size[1]}{self.suffix}"


def _jpeg(width: int, height: int, chroma: str, quality: int, **more: Any) -> Photograph:
    short = more.pop("in_short", False)
    options = {"quality": quality, "subsampling": chroma, **more}
    return Photograph("JPEG", (width, height), ".jpg", options, in_short=short)


GENERATED: Final = (
    _jpeg(3264, 2448, "4:2:0", 90),
    _jpeg(3456, 2304, "4:2:2", 92),
    _jpeg(4000, 3000, "4:2:0", 85, in_short=True),
    _jpeg(3024, 4032, "4:2:0", 90),
    _jpeg(4000, 3000, "4:4:4", 92),
    _jpeg(4608, 3456, "4:2:0", 90),
    _jpeg(4896, 3264, "4:2:2", 93),
    _jpeg(5184, 3456, "4:2:2", 90, in_short=True),
    _jpeg(5472, 3648, "4:2:0", 92),
    _jpeg(3648, 5472, "4:4:4", 90),
    _jpeg(6000, 4000, "4:2:0", 88, in_short=True),
    _jpeg(6000, 4000, "4:2:2", 92),
    _jpeg(4000, 3000, "4:2:0", 85, progressive=True),
    _jpeg(5472, 3648, "4:2:0", 88, progressive=True),
    Photograph("PNG", (3600, 2400), ".png", {"compress_level": 6}, in_short=True),
    Photograph("PNG", (4500, 3000), ".png", {"compress_level": 6}),
    Photograph("PNG, transparent", (4000, 3000), ".png", {"compress_level": 6}),
    Photograph("WebP", (4000, 3000), ".webp", {"quality": 85, "method": 1}, in_short=True),
    Photograph("WebP", (5184, 3456), ".webp", {"quality": 85, "method": 1}),
    Photograph("TIFF", (4500, 3000), ".tif"),
    Photograph("TIFF, LZW", (4500, 3000), ".tif", {"compression": "tiff_lzw"}),
    Photograph("HEIC", (4000, 3000), ".heic", {"quality": 60}),
    Photograph("AVIF", (4000, 3000), ".avif", {"quality": 65, "speed": 9}),
)


@lru_cache(maxsize=1)
def _largest_scene() -> Image.Image:
    # Without the lens blur, pixel-level detail would be far richer than a camera's.
    return draw_scene(*LARGEST, 1).filter(ImageFilter.GaussianBlur(LENS))


def scene(width: int, height: int) -> Image.Image:
    """Return a scene of this size with a photograph's detail: a crop of a large one, rotated for portrait."""
    whole = _largest_scene()
    if width < height:
        whole = whole.transpose(Image.Transpose.ROTATE_90)
    return whole.crop((0, 0, width, height))


def _write(photograph: Photograph, path: Path) -> None:
    picture = scene(*photograph.size)
    if photograph.kind == "PNG, transparent":
        picture.putalpha(Image.radial_gradient("L").resize(photograph.size).point(lambda value: 255 - value))
    if photograph.suffix == ".heic":
        pillow_heif.register_heif_opener()
    unfinished = path.with_name(f"unfinished{path.suffix}")
    picture.save(unfinished, **photograph.options)
    unfinished.replace(path)


def _generated(options: Options) -> dict[str, list[Path]]:
    folder = options.work / "photographs"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Path]] = {}
    for position, photograph in enumerate(GENERATED):
        if options.short and not photograph.in_short:
            continue
        path = folder / photograph.name(position)
        if not path.exists():
            _write(photograph, path)
        found.setdefault(photograph.kind, []).append(path)
    return found


def _given(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.expanduser().iterdir() if path.is_file()):
        with path.open("rb") as stream, suppress(MediaError):
            found.setdefault(inspect(stream).format, []).append(path.resolve())
    if "JPEG" not in found:
        raise SystemExit(f"There is no JPEG photograph in {folder}; most questions need some.")
    return found


def photographs(options: Options) -> dict[str, list[Path]]:
    """Return the files to measure, by kind; generated ones are kept for the next run."""
    return _generated(options) if options.photos is None else _given(options.photos)


def jpegs(options: Options) -> list[Path]:
    """Return the JPEG photographs only."""
    return photographs(options)["JPEG"]
