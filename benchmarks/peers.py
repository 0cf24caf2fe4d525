"""The ways from a file to a proxy's bytes: ours, other libraries', and the limit for all of them.

Every library uses one thread and gets the proxy's size, so that all of them make the same picture.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

# libvips reads this when it is loaded.
os.environ["VIPS_CONCURRENCY"] = "1"

import cv2
import pillow_heif
import pyvips
from PIL import Image, ImageOps

from benchmarks.harness import Cost, clocked
from media_files.imaging.inspection import ImageFacts, inspect
from proxies.rendering.profiles import NOVA
from proxies.rendering.render import calculate_target_dimensions, render
from proxies.rendering.resize import Resizer

# libvips caches the results of operations; real jobs do not repeat any.
pyvips.cache_set_max(0)
cv2.setNumThreads(1)
cv2.ocl.setUseOpenCL(False)
pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = None

QUALITY = NOVA.quality
_OPENCV_SCALES = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
NODE_FOLDER = Path(os.environ.get("NOVAPROXY_BENCH_NODE", ".venv-bench/node")).resolve()


class CannotRead(Exception):
    """The library cannot read this format, or its build here cannot."""


@dataclass(frozen=True)
class Job:
    """The same job for every library: the picture in ``path``, upright, at ``size``, as ``format``."""

    path: Path
    facts: ImageFacts
    size: tuple[int, int]
    format: str

    @property
    def stored_size(self) -> tuple[int, int]:
        """Size before the picture is turned upright."""
        return self.size if self.facts.orientation < 5 else self.size[::-1]


@lru_cache(maxsize=256)
def job(path: Path) -> Job:
    """Return a file's job, with its facts read in advance, as a library's rows already hold them."""
    with path.open("rb") as stream:
        facts = inspect(stream)
        format_name = render(stream, facts, NOVA).format
    return Job(path, facts, calculate_target_dimensions(facts.width, facts.height, NOVA), format_name)


Way = Callable[[Job], bytes]


def ours(task: Job, resizer: Resizer = "auto") -> bytes:
    with task.path.open("rb") as stream:
        return render(stream, task.facts, NOVA, resizer=resizer).data


def ours_with_pillow(task: Job) -> bytes:
    return ours(task, "pillow")


def limit(task: Job) -> bytes:
    """Decode at the smallest decoder scale that holds the proxy and encode as many pixels, with no resize."""
    with Image.open(io.BytesIO(task.path.read_bytes())) as image:
        image.draft(None, task.stored_size)
        return _saved(image.crop((0, 0, *task.stored_size)), task.format)


def naive(task: Job) -> bytes:
    with Image.open(task.path) as image:
        upright = ImageOps.exif_transpose(image)
        mode = "RGBA" if task.format == "PNG" else "RGB"
        return _saved(upright.convert(mode).resize(task.size, Image.Resampling.LANCZOS), task.format)


def thumbnail(task: Job) -> bytes:
    with Image.open(task.path) as image:
        image.thumbnail(task.stored_size, Image.Resampling.LANCZOS)
        return _saved(ImageOps.exif_transpose(image), task.format)


def _saved(image: Image.Image, format_name: str) -> bytes:
    output = io.BytesIO()
    if format_name == "PNG":
        image.save(output, "PNG")
    else:
        image.convert("RGB").save(output, "JPEG", quality=QUALITY)
    return output.getvalue()


def vips(task: Job) -> bytes:
    width, height = task.size
    try:
        small = pyvips.Image.thumbnail(str(task.path), width, height=height, size="force")
        if task.format == "PNG":
            return small.pngsave_buffer(keep="none")
        return small.jpegsave_buffer(Q=QUALITY, keep="none")
    except pyvips.Error as error:
        raise CannotRead(str(error)) from error


def opencv(task: Job) -> bytes:
    """Decode at a scale of OpenCV's JPEG reader, then reduce by area averaging; the result is softer."""
    flag = cv2.IMREAD_UNCHANGED if task.format == "PNG" else _opencv_scale(task)
    image = cv2.imread(str(task.path), flag)
    if image is None:
        raise CannotRead("OpenCV reads no such file")
    small = cv2.resize(image, task.size, interpolation=cv2.INTER_AREA)
    if task.format == "PNG":
        return cv2.imencode(".png", small)[1].tobytes()
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _opencv_scale(task: Job) -> int:
    """Return the flag for the smallest scale of a JPEG that holds the proxy."""
    times = min(task.facts.width, task.facts.height) / min(task.size)
    if task.facts.format == "JPEG":
        for scale, flag in _OPENCV_SCALES.items():
            if times >= scale:
                return flag
    return cv2.IMREAD_COLOR


class Sharp:
    """sharp, in a node process that runs for the whole benchmark."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", NODE_FOLDER / "sharp.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=NODE_FOLDER,
        )

    @staticmethod
    def is_there() -> bool:
        return shutil.which("node") is not None and (NODE_FOLDER / "node_modules" / "sharp").is_dir()

    def cost(self, task: Job) -> Cost:
        """Return what the job cost, as measured by node."""
        return Cost(**self._ask(task))

    def data(self, task: Job) -> bytes:
        with tempfile.NamedTemporaryFile() as output:
            self._ask(task, output.name)
            return Path(output.name).read_bytes()

    def _ask(self, task: Job, output: str = "") -> dict[str, Any]:
        width, height = task.size
        asked = {"path": str(task.path), "width": width, "height": height, "format": task.format}
        self._process.stdin.write(json.dumps(asked | {"output": output}) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        if "error" in said:
            raise CannotRead(said["error"])
        return said

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def in_process(way: Way) -> Callable[[Path], Cost]:
    """Wrap a way so that it returns what it costs this process."""

    def cost(path: Path) -> Cost:
        task = job(path)  # not timed
        return clocked(lambda: way(task))

    return cost
