"""The memory that a process keeps for its next picture."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PAGES_OF_ONE = 4000 * 3000 * 4 // 4096
MEASURE = """
import resource
from PIL import Image
from proxies.memory import keep_freed_memory

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
def test_the_next_picture_takes_the_memory_of_the_last():
    assert pages_for_ten_pictures("") > 5 * PAGES_OF_ONE, "the C library keeps it of itself now"
    assert pages_for_ten_pictures("keep_freed_memory()") < PAGES_OF_ONE / 10
