"""How close proxies come to the best that their JPEG quality allows, and what they cost.

Run as ``python -m benchmarks.fidelity [FOLDER]``; without a folder it uses generated photographs. A picture's
reference is its full decode, resized with Lanczos in floating point. Encoding the reference at the proxy's
quality causes an unavoidable loss; the table shows what the proxy loses beyond that, and its CPU time.
Limits: 0.0005 of luma SSIM on average, 0.006 at worst.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from media_files.imaging.inspection import inspect
from proxies.rendering import draft_scale
from proxies.rendering.profiles import NOVA
from proxies.rendering.render import calculate_target_dimensions, render
from proxies.rendering.resize import Resizer

MEAN_LIMIT = 0.0005
WORST_LIMIT = 0.006
MARGINS = (1.0, 1.5, 2.0)
REPETITIONS = 3


@dataclass(frozen=True)
class Measured:
    """One picture: luma SSIM of the proxy and of the encoded reference, and the proxy's CPU seconds."""

    name: str
    format: str
    proxy: float
    encoded_reference: float
    cpu: float

    @property
    def loss(self) -> float:
        """SSIM that the proxy loses beyond its encoding."""
        return self.encoded_reference - self.proxy


def luma(picture: Image.Image) -> np.ndarray:
    """Return the ITU-R BT.601 luma as float64."""
    red, green, blue = (np.asarray(band, dtype=np.float64) for band in picture.convert("RGB").split())
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _blurred(values: np.ndarray) -> np.ndarray:
    """Apply a Gaussian window of 11 px, sigma 1.5; drop the borders where it does not fit."""
    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    rows = sum(weight * values[at : values.shape[0] - 10 + at] for at, weight in enumerate(kernel))
    both = sum(weight * rows[:, at : values.shape[1] - 10 + at] for at, weight in enumerate(kernel))
    return np.asarray(both)


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Return the structural similarity (Wang et al., 2004) of two luma planes, 0 to 255."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_1, mean_2 = _blurred(one), _blurred(other)
    variance_1 = _blurred(one * one) - mean_1**2
    variance_2 = _blurred(other * other) - mean_2**2
    covariance = _blurred(one * other) - mean_1 * mean_2
    top = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return float((top / ((mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2))).mean())


def reference(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return the full decode, upright, resized with Lanczos in float: rows x columns x RGB."""
    with Image.open(io.BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    bands = [band.convert("F").resize(size, Image.Resampling.LANCZOS) for band in upright.split()]
    return np.clip(np.stack([np.asarray(band, dtype=np.float64) for band in bands], axis=2), 0, 255)


def measure(name: str, data: bytes, resizer: Resizer) -> Measured:
    """Measure `render` on one picture; the CPU time is the median of several runs."""
    stream = io.BytesIO(data)
    facts = inspect(stream)
    times = []
    for _ in range(REPETITIONS):
        began = time.process_time()
        proxy = render(stream, facts, NOVA, resizer=resizer)
        times.append(time.process_time() - began)
    exact = reference(data, calculate_target_dimensions(facts.width, facts.height, NOVA))
    plane = exact @ np.array([0.299, 0.587, 0.114])
    encoded = io.BytesIO()
    Image.fromarray(np.round(exact).astype(np.uint8)).save(encoded, "JPEG", quality=NOVA.quality)
    with Image.open(io.BytesIO(proxy.data)) as made, Image.open(encoded) as best:
        scores = ssim(plane, luma(made)), ssim(plane, luma(best))
    return Measured(name, facts.format, *scores, statistics.median(times))


def generated() -> Iterator[tuple[str, bytes]]:
    """Yield random photographs: detail at all scales, edges, and a camera's JPEG settings."""
    chance = np.random.default_rng(1)
    for number, size in enumerate(((4000, 3000), (3000, 4000), (5472, 3648), (3264, 2448))):
        total = np.zeros((size[1], size[0], 3), dtype=np.float32)
        for scale, weight in ((2, 0.05), (7, 0.1), (29, 0.2), (131, 0.3), (601, 0.35)):
            cells = (max(2, size[1] // scale), max(2, size[0] // scale), 3)
            coarse = Image.fromarray(chance.integers(0, 256, cells, dtype=np.uint8))
            total += weight * np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
        picture = Image.fromarray(total.astype(np.uint8)).filter(ImageFilter.SHARPEN)
        for format_name, options in (("JPEG", {"quality": 92}), ("WEBP", {"quality": 90}), ("PNG", {})):
            if format_name == "JPEG" or number == 0:
                output = io.BytesIO()
                picture.save(output, format_name, **options)
                yield f"{number}-{size[0]}x{size[1]}.{format_name.lower()}", output.getvalue()


def pictures(folder: str | None) -> Iterator[tuple[str, bytes]]:
    """Yield the pictures of a folder, or generated ones."""
    if folder is None:
        yield from generated()
        return
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}:
            yield path.name, path.read_bytes()


@contextmanager
def one_margin(margin: float) -> Iterator[None]:
    """Decode all JPEGs with this margin, regardless of their grain."""
    shipped, draft_scale.MARGINS = draft_scale.MARGINS, (margin,) * len(draft_scale.MARGINS)
    yield
    draft_scale.MARGINS = shipped


def _row(label: str, measured: list[Measured]) -> str:
    losses = [one.loss for one in measured]
    cpu = statistics.median(one.cpu for one in measured) * 1000
    return f"{label:<34}{len(measured):>4}{cpu:>9.0f}{statistics.mean(losses):>+12.5f}{max(losses):>+12.5f}"


def main(folder: str | None = None) -> int:
    """Print the table; return 1 if a limit is exceeded."""
    files = [(name, data) for name, data in pictures(folder) if inspect(io.BytesIO(data)).standard_colour]
    files = [(name, data) for name, data in files if render_format(data) == "JPEG"]
    print(f"{'':<34}{'n':>4}{'CPU ms':>9}{'mean loss':>12}{'worst loss':>12}")
    jpegs = [(name, data) for name, data in files if data[:3] == b"\xff\xd8\xff"]
    for margin in MARGINS:
        with one_margin(margin):
            measured = [measure(name, data, "auto") for name, data in jpegs]
        print(_row(f"JPEG, decode margin {margin}", measured))
    everything = [measure(name, data, "auto") for name, data in files]
    for format_name in sorted({one.format for one in everything}):
        print(_row(f"{format_name}, SIMD", [one for one in everything if one.format == format_name]))
    print(_row("all, Pillow's own Lanczos", [measure(name, data, "pillow") for name, data in files]))
    print(_row("all, as shipped", everything))
    losses = [one.loss for one in everything]
    within = statistics.mean(losses) <= MEAN_LIMIT and max(losses) <= WORST_LIMIT
    print(f"limits: {MEAN_LIMIT} on average, {WORST_LIMIT} at worst: {'kept' if within else 'EXCEEDED'}")
    return 0 if within else 1


def render_format(data: bytes) -> str:
    """Return the format of a picture's proxy: PNG proxies are lossless and are not compared."""
    stream = io.BytesIO(data)
    return render(stream, inspect(stream), NOVA).format


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
