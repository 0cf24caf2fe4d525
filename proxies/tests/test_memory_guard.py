"""The memory that rendering an image takes, and how much a process keeps for the next one."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from media_files.tests.craft import saved

PAGES_OF_ONE = 4000 * 3000 * 4 // 4096
MEASURE = """
import resource
from PIL import Image
from proxies.processes.memory_guard import keep_freed_memory

def pages_taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        Image.new("RGB", (4000, 3000))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{first}
pages_taken()
print(pages_taken())
"""


def pages_for_ten_pictures(first: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(first=first)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_the_next_image_reuses_the_memory_of_the_last():
    assert pages_for_ten_pictures("") > 5 * PAGES_OF_ONE, "the C library keeps freed memory by default now"
    assert pages_for_ten_pictures("keep_freed_memory()") < PAGES_OF_ONE / 10


LEAST_FOR_ANY = 8 << 20
MOST_FOR_A_BASELINE_JPEG = 64 << 20
PEAK = """
import io, sys
from pathlib import Path
from media_files.imaging.inspection import inspect
from proxies.rendering.render import render
from proxies.processes.memory_guard import keep_freed_memory
from proxies.rendering.profiles import NOVA

def taken(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def make(path):
    with open(path, "rb") as stream:
        render(stream, inspect(stream), NOVA)

keep_freed_memory()
make(sys.argv[1])
before = taken("VmRSS")
make(sys.argv[2])
print(taken("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak")
@pytest.mark.parametrize(
    ("size", "ended"),
    [((3770, 2513), True), ((5374, 3583), True), ((6368, 3582), False), ((12000, 2600), True)],
    ids=["held whole", "3 : 2", "16 : 9, without its end marker", "panorama"],
)
def test_a_baseline_jpeg_takes_at_most_64_mb(tmp_path, size, ended):
    small, large = tmp_path / "small.jpg", tmp_path / "large.jpg"
    # Grain is what the decoder scales down the least.
    tile = Image.merge("RGB", [Image.effect_noise((500, 500), 40) for _ in range(3)])
    whole = Image.new("RGB", size)
    for left in range(0, size[0], tile.width):
        for top in range(0, size[1], tile.height):
            whole.paste(tile, (left, top))
    small.write_bytes(saved(image=whole.crop((0, 0, 1000, 1000))))
    data = saved(image=whole, quality=90)
    large.write_bytes(data if ended else data[:-2])
    done = subprocess.run(
        [sys.executable, "-c", PEAK, small, large], capture_output=True, text=True, check=True
    )
    assert LEAST_FOR_ANY < int(done.stdout) < MOST_FOR_A_BASELINE_JPEG
