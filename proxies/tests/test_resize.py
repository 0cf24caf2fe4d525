"""The two resizers, and the check that decides between them."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from proxies.rendering import resize as resizing
from proxies.rendering.resize import SIMD_MODES, resize, simd_is_trusted
from proxies.tests.rendering import FAST, needs_simd, photograph


@pytest.fixture
def _unchecked():
    """Clear the check's result, which is cached per process, before and after the test."""
    simd_is_trusted.cache_clear()
    yield
    simd_is_trusted.cache_clear()


@pytest.mark.parametrize("mode", SIMD_MODES)
@pytest.mark.parametrize("box", [(0, 0, 640, 480), (10.5, 3.25, 639.5, 470.75)])
def test_both_give_the_same_image(mode, box):
    image = photograph().convert(mode)
    fast, by = resize(image, (213, 160), box, "auto")
    slow, by_pillow = resize(image, (213, 160), box, "pillow")
    assert (by, by_pillow) == (FAST, "pillow")
    assert np.abs(np.asarray(fast, dtype=int) - np.asarray(slow, dtype=int)).max() <= 2


def test_an_image_in_several_blocks_of_memory():
    """Pillow stores large images in blocks of 16 MB; the check's image is small."""
    image = photograph((2600, 2200))
    fast, slow = (resize(image, (300, 254), (0, 0, 2600, 2200), which)[0] for which in ("auto", "pillow"))
    assert np.abs(np.asarray(fast, dtype=int) - np.asarray(slow, dtype=int)).max() <= 2


def test_lab_is_left_to_pillow():
    assert resize(Image.new("LAB", (9, 9)), (3, 3), (0, 0, 9, 9), "auto")[1] == "pillow"


def test_nothing_to_do():
    image = photograph()
    assert resize(image, image.size, (0, 0, 640, 480), "auto") == (image, "none")


@pytest.mark.usefixtures("_unchecked")
class TestCheck:
    @needs_simd
    def test_it_passes_here(self):
        assert simd_is_trusted()

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setattr(resizing, "cykooz_resizer", None)
        assert not simd_is_trusted()
        assert resize(photograph(), (64, 48), (0, 0, 640, 480), "auto")[1] == "pillow"

    @pytest.mark.parametrize(
        "fault",
        [
            lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            lambda image: image.convert("L").convert(image.mode) if image.mode != "L" else image,
            lambda image: image.convert("LAB") if image.mode == "RGB" else image,
            lambda image: image.point([min(255, level + 4) for level in range(256)] * len(image.getbands())),
        ],
        ids=["mirrored", "grey", "mode", "brighter"],
    )
    def test_a_wrong_image_fails_it(self, monkeypatch, fault):
        resize_simd = resizing._resize_simd
        monkeypatch.setattr(resizing, "_resize_simd", lambda *arguments: fault(resize_simd(*arguments)))
        assert not simd_is_trusted()

    def test_without_the_package_the_module_still_loads(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
        assert runpy.run_path(str(resizing.__file__))["cykooz_resizer"] is None

    def test_an_exception_fails_it(self, monkeypatch):
        def broken(*_):
            raise AttributeError("a new Pillow")

        monkeypatch.setattr(resizing, "_resize_simd", broken)
        assert not simd_is_trusted()
