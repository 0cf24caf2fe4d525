"""The fast decoders return the same pixels as Pillow, or leave the picture to it."""

from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from media_files.errors import MediaError
from media_files.imaging import fast_decoders
from media_files.imaging.inspection import open_image
from media_files.imaging.integrity import verify, watch
from media_files.tests.craft import chunk, picture, png, saved

NOISE = Image.frombytes("L", (67, 45), random.Random(3).randbytes(67 * 45))
COLOURS = Image.merge("RGB", (NOISE, picture("L", NOISE.size), NOISE.rotate(180)))
CLEAR = Image.merge("RGBA", (*COLOURS.split(), picture("L", NOISE.size)))


def decoded(data: bytes) -> Image.Image | None:
    stream = io.BytesIO(data)
    with open_image(stream) as opened:
        verify(stream, opened.png)
        return fast_decoders.decode(opened.image, stream)


def decoded_by_pillow(data: bytes) -> Image.Image:
    stream = io.BytesIO(data)
    with open_image(stream) as opened:
        verify(stream, opened.png)
        find_damage = watch(opened.image, stream, opened.png)
        opened.image.load()
        assert find_damage() is None
        return opened.image.copy()


def assert_same(one: Image.Image, other: Image.Image) -> None:
    assert (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes())


def interlaced() -> bytes:
    """Return an Adam7 interlaced PNG, which Pillow cannot write: 8 x 8 px, every pixel different."""
    values = [[(16 * y + x) % 256 for x in range(8)] for y in range(8)]
    # Left, top, horizontal step, vertical step.
    first = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8))
    passes = (*first, (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b"".join(
        b"\0" + bytes(values[y][left::across])
        for left, top, across, down in passes
        for y in range(top, 8, down)
    )
    header = chunk(b"IHDR", struct.pack(">2I5B", 8, 8, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURES = {
    "PNG, grey": saved("PNG", image=NOISE),
    "PNG, RGB": saved("PNG", image=COLOURS),
    "PNG, RGBA": saved("PNG", image=CLEAR),
    "PNG, interlaced": interlaced(),
    "PNG with a gamma": png(chunk(b"gAMA", struct.pack(">I", 100_000))),
    "PNG with a profile": saved("PNG", image=COLOURS, icc_profile=b"any"),
    "WebP, lossy": saved("WEBP", image=COLOURS),
    "WebP, lossy with alpha": saved("WEBP", image=CLEAR),
    "WebP, lossless": saved("WEBP", image=COLOURS, lossless=True),
    "WebP, lossless with alpha": saved("WEBP", image=CLEAR, lossless=True, exact=True),
}

LEFT_TO_PILLOW = {
    "JPEG": saved(),
    "GIF": saved("GIF"),
    "PNG with a palette": saved("PNG", image=COLOURS.quantize(16)),
    "PNG, one bit": saved("PNG", image=NOISE.convert("1")),
    "PNG, grey and alpha": saved("PNG", image=CLEAR.convert("LA")),
    "PNG, 16 bits a sample": png(
        depth=16, pixels=zlib.compress(b"".join(b"\0" + bytes(range(128)) * 3 for _ in range(48)))
    ),
    "PNG, a colour stands for nothing": png(chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))),
    "PNG, animated": saved("PNG", image=COLOURS, save_all=True, append_images=[COLOURS.rotate(90)]),
    "WebP, animated": saved("WEBP", image=COLOURS, save_all=True, append_images=[COLOURS.rotate(90)]),
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES.keys())
def test_the_pixels_are_the_same_as_in_pillow(data):
    quick = decoded(data)
    assert quick is not None
    slow = decoded_by_pillow(data)
    assert_same(quick, slow)
    assert quick.info.get("icc_profile") == slow.info.get("icc_profile")


@pytest.mark.parametrize("data", LEFT_TO_PILLOW.values(), ids=LEFT_TO_PILLOW.keys())
def test_unsupported_pictures_are_left_to_pillow(data):
    assert decoded(data) is None
    decoded_by_pillow(data)


@pytest.mark.parametrize("kind", ["PNG, RGB", "WebP, lossy"])
def test_truncated_files_are_left_to_pillow(kind):
    data = PICTURES[kind]
    with open_image(io.BytesIO(data)) as opened:
        assert fast_decoders.decode(opened.image, io.BytesIO(data[: len(data) // 2])) is None


def test_large_png_files_are_left_to_pillow(monkeypatch):
    monkeypatch.setattr(fast_decoders, "LARGEST_PNG", NOISE.width * NOISE.height)
    assert decoded(PICTURES["PNG, RGB"]) is not None
    monkeypatch.setattr(fast_decoders, "LARGEST_PNG", NOISE.width * NOISE.height - 1)
    assert decoded(PICTURES["PNG, RGB"]) is None
    assert decoded(PICTURES["WebP, lossy"]) is not None


def test_without_the_library_everything_is_left_to_pillow(monkeypatch):
    monkeypatch.setattr(fast_decoders, "_library", lambda: None)
    assert decoded(PICTURES["PNG, RGB"]) is None


@given(
    kind=st.sampled_from(sorted(PICTURES)),
    at=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
    cut=st.integers(0, 40),
)
@example(kind="PNG, RGB", at=0.999, flip=1, cut=0)
def test_a_damaged_picture_gives_the_same_pixels_as_pillow_or_none(kind, at, flip, cut):
    broken = bytearray(PICTURES[kind])
    broken[int(at * len(broken))] ^= flip
    data = bytes(broken[: len(broken) - cut])
    try:
        quick = decoded(data)
    except MediaError:
        return
    if quick is not None:
        assert_same(quick, decoded_by_pillow(data))
