"""What the pixel path costs, by format: ours and our peers' against the limit, with the fidelity of each."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import peers
from benchmarks.fidelity import luma, reference, ssim
from benchmarks.harness import Answer, Cost, Goal, Options, Table, Timing, in_turns, number, ratio
from benchmarks.photographs import photographs

LIMIT, OURS, VIPS = "limit: decode and encode, no resize", "NovaProxy", "pyvips thumbnail"
RECIPES: Mapping[str, peers.Way] = {
    LIMIT: peers.limit,
    OURS: peers.ours,
    "NovaProxy, Pillow's resizer": peers.ours_with_pillow,
    VIPS: peers.vips,
    "OpenCV, reduced + area": peers.opencv,
    "Pillow thumbnail()": peers.thumbnail,
    "Pillow naive": peers.naive,
}
SHARP = "sharp"


@dataclass(frozen=True)
class Way:
    """One row of a table: what a run costs, and the bytes it produces."""

    cost: Callable[[Path], Cost]
    data: Callable[[peers.Job], bytes]


@contextmanager
def _ways() -> Iterator[dict[str, Way]]:
    ways = {name: Way(peers.in_process(recipe), recipe) for name, recipe in RECIPES.items()}
    if not peers.Sharp.is_there():
        yield ways
        return
    sharp = peers.Sharp()
    try:
        yield ways | {SHARP: Way(lambda path: sharp.cost(peers.job(path)), sharp.data)}
    finally:
        sharp.close()


@dataclass(frozen=True)
class Fidelity:
    """Luma SSIM lost beyond the loss of JPEG 85 itself."""

    mean: float
    worst: float


def measure(options: Options) -> Answer:
    tables, goals = [], []
    with _ways() as ways:
        for kind, files in photographs(options).items():
            reads = {name: way for name, way in ways.items() if _can_read(way, files[0])}
            rounds = options.rounds if kind == "JPEG" else min(3, options.rounds)
            timings = in_turns({name: way.cost for name, way in reads.items()}, files, rounds)
            compared = _comparable(files)[:: len(files) if options.short else 2]
            fidelity = {name: _fidelity(way, compared) for name, way in reads.items() if name != LIMIT}
            missing = [name for name in ways if name not in reads]
            tables.append(_table(kind, files, timings, fidelity, missing))
            goals += _goals(kind, timings)
    return Answer(tables, goals)


def _comparable(files: list[Path]) -> list[Path]:
    """Return the files that are already sRGB and whose proxies are JPEGs: a PNG loses nothing."""
    tasks = map(peers.job, files)
    return [task.path for task in tasks if task.facts.standard_colour and task.format == "JPEG"]


def _can_read(way: Way, file: Path) -> bool:
    try:
        way.data(peers.job(file))
    except peers.CannotRead:
        return False
    return True


def _table(
    kind: str,
    files: list[Path],
    timings: dict[str, Timing],
    fidelity: dict[str, Fidelity | None],
    missing: list[str],
) -> Table:
    limit, vips = timings[LIMIT].cpu, timings[VIPS].cpu if VIPS in timings else 0.0
    rows = []
    for name, timing in timings.items():
        found = fidelity.get(name)
        lost = [number(found.mean, 5), number(found.worst, 5)] if found else ["-", "-"]
        rows.append(
            [
                name, number(timing.cpu, 1), number(100 * timing.spread), number(timing.wall, 1),
                ratio(timing.cpu, limit), ratio(timing.cpu, vips), *lost,
            ]
        )  # fmt: skip
    megapixels = [facts.width * facts.height / 1e6 for facts in (peers.job(file).facts for file in files)]
    shown = f"{min(megapixels):.0f} to {max(megapixels):.0f} megapixels"
    notes = [f"{len(files)} files, {shown}; proxies are {peers.job(files[0]).format}."]
    notes += [f"Not read as installed here: {', '.join(missing)}."] if missing else []
    columns = (
        "way", "CPU ms", "spread %", "wall ms", "x limit", "x pyvips", "SSIM lost", "at worst",
    )  # fmt: skip
    return Table(kind, columns, rows, notes)


def _goals(kind: str, timings: dict[str, Timing]) -> list[Goal]:
    ours, limit = timings[OURS].cpu, timings[LIMIT].cpu
    if kind != "JPEG":
        return []
    return [
        Goal("JPEG: CPU against the limit", ours / limit, 1.25),
        Goal("JPEG: CPU against pyvips", ours / timings[VIPS].cpu, 0.75),
    ]


def _fidelity(way: Way, files: list[Path]) -> Fidelity | None:
    """Return the fidelity over these files; None for no files."""
    losses = []
    for file in files:
        plane, best = _reference(peers.job(file))
        with Image.open(io.BytesIO(way.data(peers.job(file)))) as made:
            losses.append(best - ssim(plane, luma(made)))
    return Fidelity(float(np.mean(losses)), max(losses)) if losses else None


_references: dict[Path, tuple[np.ndarray, float]] = {}


def _reference(task: peers.Job) -> tuple[np.ndarray, float]:
    """Return the luma of the exact reference, and its SSIM once encoded."""
    if task.path not in _references:
        exact = reference(task.path.read_bytes(), task.size)
        plane = exact @ np.array([0.299, 0.587, 0.114])
        encoded = io.BytesIO()
        Image.fromarray(np.round(exact).astype(np.uint8)).save(encoded, "JPEG", quality=peers.QUALITY)
        with Image.open(encoded) as best:
            _references[task.path] = plane, ssim(plane, luma(best))
    return _references[task.path]
