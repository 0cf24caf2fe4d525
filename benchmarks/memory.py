"""How much memory above idle a worker process needs to make one proxy, by kind and size."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pillow_heif
from PIL import Image

from benchmarks.children import ask, set_up_django
from benchmarks.harness import Answer, Goal, Options, Table, number

BASELINE_LIMIT = 64.0
_SIDE: Final = 512


class Picture(NamedTuple):
    """A noisy picture, the worst case: JPEGs with much grain are reduced the least while they are decoded.

    Attributes:
        kind: format and variant.
        megapixels: width times height, in millions.
        suffix: file name suffix.
        options: encoder options.
        mode: Pillow mode.
        shape: width divided by height.
    """

    kind: str
    megapixels: float
    suffix: str
    options: Mapping[str, Any]
    mode: str = "RGB"
    shape: float = 1.0


PICTURES: Final = (
    # The largest held whole, the largest at 16 : 9 that is not reduced, and a panorama.
    Picture("JPEG, baseline", 9.4, ".jpg", {"quality": 90}, shape=3 / 2),
    Picture("JPEG, baseline", 22.7, ".jpg", {"quality": 90}, shape=16 / 9),
    Picture("JPEG, baseline", 100, ".jpg", {"quality": 90}, shape=8.0),
    Picture("JPEG, baseline", 24, ".jpg", {"quality": 90}),
    Picture("JPEG, baseline", 48, ".jpg", {"quality": 90}),
    Picture("JPEG, baseline", 100, ".jpg", {"quality": 90}),
    Picture("JPEG, progressive", 24, ".jpg", {"quality": 90, "progressive": True}),
    Picture("PNG", 24, ".png", {"compress_level": 1}),
    Picture("WebP", 24, ".webp", {"quality": 80, "method": 0}),
    # The short form leaves out the rest.
    Picture("JPEG, progressive", 100, ".jpg", {"quality": 90, "progressive": True}),
    Picture("PNG", 100, ".png", {"compress_level": 1}),
    Picture("PNG, transparent", 24, ".png", {"compress_level": 1}, "RGBA"),
    Picture("WebP", 100, ".webp", {"quality": 80, "method": 0}),
    Picture("TIFF", 24, ".tif", {}),
    Picture("HEIC", 12, ".heic", {"quality": 40}),
    Picture("AVIF", 24, ".avif", {"quality": 60, "speed": 10}),
)
_IN_SHORT: Final = 9


def measure(options: Options) -> Answer:
    pictures = PICTURES[:_IN_SHORT] if options.short else PICTURES
    folder = options.work / "large"
    folder.mkdir(parents=True, exist_ok=True)
    files = [_write(picture, folder) for picture in pictures]
    reported = ask("memory", *files, environment={"NOVAPROXY_MAX_MEMORY": "0"})
    rows = [
        [
            picture.kind,
            number(picture.megapixels),
            f"{picture.shape:.3g} : 1",
            number(above),
            number(above / picture.megapixels, 2),
        ]
        for picture, above in zip(pictures, reported, strict=True)
    ]
    baseline = [
        above
        for picture, above in zip(pictures, reported, strict=True)
        if picture.kind == "JPEG, baseline" and picture.megapixels <= 100
    ]
    columns = ("kind", "megapixels", "shape", "MB above idle", "bytes a pixel")
    note = (
        "Peak resident set of a forked process that makes one proxy by the service, above what it had "
        "before. A large baseline JPEG is resized while it is decoded; of a progressive one libjpeg holds "
        "all coefficients; the other formats decode whole."
    )
    goal = Goal("Memory: MB above idle, baseline JPEG up to 100 megapixels", max(baseline), BASELINE_LIMIT)
    return Answer([Table("Memory", columns, rows, [note])], [goal])


def _write(picture: Picture, folder: Path) -> Path:
    height = round(math.sqrt(picture.megapixels * 1_000_000 / picture.shape))
    width = round(height * picture.shape)
    path = folder / f"{picture.mode}-{picture.kind.replace(', ', '-')}-{width}x{height}{picture.suffix}"
    if path.exists():
        return path
    tile = Image.merge("RGB", [Image.effect_noise((_SIDE, _SIDE), 40) for _ in range(3)])
    whole = Image.new(picture.mode, (width, height))
    for left in range(0, width, _SIDE):
        for top in range(0, height, _SIDE):
            whole.paste(tile, (left, top))
    if picture.suffix == ".heic":
        pillow_heif.register_heif_opener()
    unfinished = path.with_name(f"unfinished{path.suffix}")
    whole.save(unfinished, **picture.options)
    unfinished.replace(path)
    return path


# -- In the child ------------------------------------------------------------------------------


def main(*names: str) -> None:
    """Print the MB above idle for each file; each proxy is made in a fork of a warmed-up process."""
    set_up_django()
    from django.core.files.base import File
    from django.db import connections

    from media_files.models import MediaFile
    from proxies.services import ImageProxyService

    def add(path: Path) -> int:
        with path.open("rb") as stream:
            return MediaFile.objects.create(file=File(stream, path.name)).pk

    service = ImageProxyService()
    small = Path(os.environ["NOVAPROXY_DATA_DIR"]) / "small.jpg"
    Image.effect_noise((1000, 1000), 40).convert("RGB").save(small)
    service.create_proxy(add(small))
    ids = [add(Path(name)) for name in names]
    connections.close_all()
    sys.stdout.write(json.dumps([_above_idle(service, pk) for pk in ids]))


def _above_idle(service: Any, pk: int) -> float:
    """Make one proxy in a forked child; return its peak minus its resident set before, MB."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        before = _resident("VmRSS")
        service.create_proxy(pk)
        os.write(write, f"{_resident('VmHWM') - before}".encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as reported:
        above = float(reported.read())
    os.waitpid(child, 0)
    return above


def _resident(name: str) -> float:
    """Return a value of /proc/self/status, MB: VmRSS is the resident set, VmHWM its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
