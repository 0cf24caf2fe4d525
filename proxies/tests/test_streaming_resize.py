"""JPEGs resized during decoding: the pixels of a full decode, in a fraction of its memory."""

from __future__ import annotations

import io
import mmap
import random
import sys
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor, ImageFile, JpegImagePlugin

from media_files.errors import CorruptImage, MachineLimit
from media_files.imaging.decoding import open_decoder
from media_files.tests.craft import exif, saved
from proxies.rendering import pixel_sources, render, streaming_resize
from proxies.rendering import resize as resizing
from proxies.rendering.profiles import NOVA
from proxies.rendering.render import Rendered
from proxies.rendering.resize import resize
from proxies.rendering.streaming_resize import resize_while_decoding
from proxies.tests.rendering import FAST, SMALL, made, needs_simd, photograph, pixels

MIRRORED = Image.Transpose.FLIP_LEFT_RIGHT
ROWS = 24
PROFILE = replace(NOVA, shorter_side=300)  # the decoder does not scale it down
NOISE = Image.frombytes("L", (512, 512), random.Random(7).randbytes(512 * 512))


def textured(size: tuple[int, int], mode: str) -> Image.Image:
    """Return detail everywhere, but too weak for a resizer's overshoots to be clipped at black or white."""
    slope = Image.linear_gradient("L").resize(size)
    whole = Image.merge("RGB", (slope, NOISE.resize(size), slope.rotate(180)))
    return whole.point([64 + level // 2 for level in range(256)] * 3).convert(mode)


def opened(data: bytes, scale: int = 1) -> JpegImagePlugin.JpegImageFile:
    image = open_decoder(io.BytesIO(data), "JPEG", 10**9)
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    image.draft(None, (image.width // scale, image.height // scale))
    return image


@pytest.fixture
def _in_bands(monkeypatch):
    monkeypatch.setattr(pixel_sources, "LARGEST_WHOLE", 0)
    monkeypatch.setattr(streaming_resize, "BAND_BYTES", 4 * 640 * ROWS)
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 4096)


@dataclass(frozen=True)
class Case:
    """An image, the crop that is resized, the scale of each side, and the sizes of the pieces."""

    size: tuple[int, int]
    mode: str
    scale: int
    cut: float
    shares: tuple[float, float]
    band_rows: int
    file_piece: int


CASES = st.builds(
    Case,
    size=st.tuples(st.integers(8, 300), st.integers(8, 300)),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    scale=st.sampled_from([1, 2, 4]),
    cut=st.floats(0, 0.9),
    shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    band_rows=st.integers(1, 100),
    file_piece=st.integers(100, 5000),
)


@given(case=CASES, resizer=st.sampled_from(["auto", "pillow"]))
def test_bands_give_the_pixels_of_a_full_decode(case, resizer):
    data = saved(image=textured(case.size, case.mode), quality=90)
    whole, image = opened(data, case.scale), opened(data, case.scale)
    whole.load()
    target = tuple(max(1, round(side * share)) for side, share in zip(whole.size, case.shares, strict=True))
    box = (0, 0, *(side - case.cut for side in whole.size))
    wanted, wanted_by = resize(whole, target, box, resizer)
    image.decodermaxblock = case.file_piece
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            streaming_resize,
            "BAND_BYTES",
            streaming_resize.bytes_decoded(image) // image.height * case.band_rows,
        )
        got, got_by = resize_while_decoding(image, target, box, resizer)
    assert (got.mode, got.size) == (wanted.mode, wanted.size)
    assert wanted_by in (got_by, "none")
    apart = np.abs(np.asarray(got, dtype="i2") - np.asarray(wanted, dtype="i2"))
    # Both passes round to whole levels, and their order may depend on the shape.
    assert apart.max() <= 2


@pytest.mark.usefixtures("_in_bands")
@pytest.mark.parametrize("resizer", ["auto", "pillow"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_proxy_equals_that_of_a_full_decode(monkeypatch, mode, orientation, resizer):
    data = saved(image=textured((640, 480), mode), quality=95, exif=exif(orientation))
    by_bands = made(data, PROFILE, resizer)
    monkeypatch.setattr(pixel_sources, "LARGEST_WHOLE", 10**9)
    whole = made(data, PROFILE, resizer)
    assert by_bands.provenance == whole.provenance
    assert np.abs(pixels(by_bands) - pixels(whole)).mean() < 0.05


@pytest.mark.usefixtures("_in_bands")
@pytest.mark.parametrize("colour", ["black", "white", "gray"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_uniform_images_are_complete(mode, colour):
    rendered = made(saved(image=Image.new("RGB", (640, 480), colour).convert(mode)), PROFILE)
    with Image.open(io.BytesIO(rendered.data)) as proxy:
        assert np.ptp(np.asarray(proxy.convert("RGB"), dtype=int) - ImageColor.getrgb(colour)) <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take memory back when they please")
@pytest.mark.usefixtures("_in_bands")
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("paper", [False, True], ids=["", "half of it white paper"])
def test_rows_are_released_after_use(monkeypatch, mode, paper):
    most = whole = 0
    resize_next = streaming_resize._Bands._resize_next

    def watched(self: streaming_resize._Bands) -> None:
        nonlocal most, whole
        resize_next(self)
        memory = np.frombuffer(cast("streaming_resize._Rows", self._rows)._memory, "u1")
        whole = memory.size
        rows = memory.reshape(4800, -1)
        most = max(most, int(rows.any(axis=1).sum()) * rows.shape[1])

    monkeypatch.setattr(streaming_resize._Bands, "_resize_next", watched)
    image = textured((640, 4800), "RGB")
    if paper:
        image.paste("white", (0, 0, 640, 2400))
    made(saved(image=image.convert(mode), quality=95), PROFILE)
    assert whole == 640 * 4800 * (1 if mode == "L" else 4)
    assert 0 < most < whole / 4


@pytest.mark.usefixtures("_in_bands")
def test_a_system_that_cannot_release_memory_gets_the_same_proxy(monkeypatch):
    data = saved(image=textured((640, 480), "RGB"), quality=95)
    wanted = made(data, PROFILE)
    monkeypatch.delattr(mmap, "MADV_DONTNEED")
    assert made(data, PROFILE) == wanted


@pytest.mark.usefixtures("_in_bands")
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("fault", ["cut", "cut and ended", "hole", "overwritten"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_damage_is_found_as_in_a_full_decode(monkeypatch, mode, fault, share):
    data = saved(image=textured((640, 480), mode), quality=95)
    at = round(len(data) * share)
    damaged = {
        "cut": data[:at],
        "cut and ended": data[:at] + b"\xff\xd9",
        "hole": data[:at] + bytes(4096) + data[at + 4096 :],
        "overwritten": data[:at] + b"\xff\xd9" * 8 + data[at + 16 :],
    }[fault]
    by_bands = outcome(damaged)
    # Neither way of decoding always detects a cut in the last row of blocks.
    assert isinstance(by_bands, str) or share > 0.9
    monkeypatch.setattr(pixel_sources, "LARGEST_WHOLE", 10**9)
    whole = outcome(damaged)
    assert whole == by_bands if isinstance(whole, str) else isinstance(by_bands, Rendered)


def outcome(data: bytes) -> Rendered | str:
    try:
        return made(data, PROFILE)
    except CorruptImage as error:
        return str(error)


@pytest.mark.usefixtures("_in_bands")
def test_missing_memory_for_the_rows_is_the_machines_fault(monkeypatch):
    def none_left(*_: object, **__: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", none_left)
    with pytest.raises(MachineLimit, match="memory"):
        made(saved(image=textured((640, 480), "RGB")), SMALL)


@pytest.mark.usefixtures("_in_bands")
class TestLikeness:
    @pytest.fixture(autouse=True)
    def _every_proxy_is_compared(self, monkeypatch):
        monkeypatch.setattr(render, "is_sampled", lambda _: True)

    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    @pytest.mark.parametrize("orientation", [1, 6])
    def test_a_correct_proxy_is_kept(self, mode, orientation):
        data = saved(image=photograph().convert(mode), exif=exif(orientation))
        assert made(data, PROFILE).provenance["resizer"] == FAST

    @needs_simd
    def test_a_bug_in_the_fast_resizer_costs_only_speed(self, monkeypatch):
        data = saved(image=photograph())
        right = made(data, PROFILE, "pillow")
        resize_simd = resizing._resize_simd
        assert resizing.simd_is_trusted()
        monkeypatch.setattr(
            resizing, "_resize_simd", lambda *arguments: resize_simd(*arguments).transpose(MIRRORED)
        )
        assert made(data, PROFILE).data == right.data


@pytest.mark.usefixtures("_in_bands")
def test_a_progressive_image_is_fully_decoded(monkeypatch):
    monkeypatch.setattr(pixel_sources, "resize_while_decoding", None)
    assert made(saved(image=photograph(), progressive=True), SMALL).format == "JPEG"
