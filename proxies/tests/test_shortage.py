"""Valid images on a machine that is short of memory or descriptors: the file is never blamed."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from typing import Any

import pillow_heif
import pytest

from media_files.errors import CorruptImage, MachineLimit, MediaError, NoSpace, StorageError
from media_files.imaging.decoding import named_errors
from media_files.imaging.inspection import inspect
from media_files.tests.craft import saved
from proxies.rendering.render import render
from proxies.tests.rendering import SMALL, made, photograph

FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "progressive JPEG": {"format_name": "JPEG", "progressive": True},
    "PNG": {},
    "WEBP": {},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "JPEG2000": {},
    "HEIF": {},
    "AVIF": {},
}
# Runs in its own process, first without a limit, then with ever lower limits; prints each result.
RENDERS = """
import io, json, os, resource, sys
from media_files.errors import MediaError
from media_files.imaging.inspection import inspect
from proxies.rendering.render import render
from proxies.rendering.profiles import NOVA

data = open(sys.argv[1], "rb").read()
limit, amounts = getattr(resource, sys.argv[2]), [int(amount) for amount in sys.argv[3:]]

def attempt(amount):
    base = 0
    if limit == resource.RLIMIT_AS:
        base = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    stream = io.BytesIO(data)
    resource.setrlimit(limit, (base + amount, resource.getrlimit(limit)[1]))
    try:
        render(stream, inspect(stream), NOVA)
    except MediaError as error:
        return error.code, error.transient
    return "made", True

render(io.BytesIO(data), inspect(io.BytesIO(data)), NOVA)
for amount in amounts:
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(writer, json.dumps([amount, *attempt(amount)]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    # A decoder that aborts leaves no word.
    print(os.read(reader, 1000).decode() or json.dumps([amount, "aborted", True]))
    os.close(reader)
"""


def written(name: str, size: tuple[int, int]) -> bytes:
    if name != "HEIF":  # which Pillow alone does not write
        return saved(image=photograph(size), **({"format_name": name} | FORMATS[name]))
    stream = io.BytesIO()
    pillow_heif.from_pillow(photograph(size)).save(stream)
    return stream.getvalue()


def attempts(path, limit: str, *amounts: int) -> list[tuple[int, str, bool]]:
    command = [sys.executable, "-c", RENDERS, str(path), limit, *map(str, amounts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", FORMATS)
def test_a_valid_image_is_never_blamed_for_missing_memory(name, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(written(name, (800, 600)))
    found = attempts(path, "RLIMIT_AS", *(megabytes << 20 for megabytes in (0, 4, 8, 16, 400)))
    assert [each for each in found if not each[2]] == []
    assert found[-1][1] == "made"
    assert found[0][1] in ("machine_limit", "aborted", "made")


@pytest.mark.parametrize("name", FORMATS)
def test_a_valid_image_is_never_blamed_for_missing_descriptors(name, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(written(name, (640, 480)))
    found = attempts(path, "RLIMIT_NOFILE", 3, 5, 64)
    assert [each for each in found if not each[2]] == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EMFILE, MachineLimit),
        (errno.ENFILE, MachineLimit),
        (errno.ENOMEM, MachineLimit),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EIO, StorageError),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_system_error_number_is_not_the_files_fault(number, expected, wrapped):
    fault: Exception = OSError(number, "said by the system", "some/file.png")
    if wrapped:
        cause, fault = fault, SyntaxError("broken PNG file")
        fault.__cause__ = cause
    with pytest.raises(MediaError) as caught, named_errors("PNG"):
        raise fault
    assert type(caught.value) is expected
    assert caught.value.transient


class FailsAt(io.BytesIO):
    """A stream whose n-th read fails like that of a failing disk."""

    def __init__(self, data: bytes, nth: int) -> None:
        super().__init__(data)
        self.left = nth

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_that_fails_at_any_read_is_not_the_files_fault(name):
    data = written(name, (640, 480))
    facts = inspect(io.BytesIO(data))
    whole = FailsAt(data, 0)
    render(whole, facts, SMALL)
    reads = -whole.left
    for nth in {*range(1, min(reads, 25) + 1), *range(1, reads + 1, max(1, reads // 25))}:
        with pytest.raises((MediaError, OSError)) as caught:
            render(FailsAt(data, nth), facts, SMALL)
        if isinstance(caught.value, MediaError):
            assert caught.value.transient, f"read {nth} of {reads}: {caught.value}"
        else:
            assert isinstance(caught.value, OSError)
            assert caught.value.errno == errno.EIO


def test_a_damaged_image_stays_the_files_fault():
    data = saved(image=photograph((640, 480)))
    with pytest.raises(CorruptImage):
        made(data[: len(data) // 2])
