"""AVIF: damage that its decoder conceals, and sound pictures of all kinds."""

from __future__ import annotations

import ctypes
import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media_files.errors import CorruptImage, MachineLimit
from media_files.imaging.formats import av1, bundled, heif_items
from media_files.tests.tools import run
from proxies.tests.rendering import made, photograph, pixels
from proxies.tests.test_heif import DAMAGES, PHOTOGRAPH, SIZE, WHOLE

needs_check = pytest.mark.skipif(not av1.can_check(), reason="libaom is not beside imagecodecs")

KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "4:2:0": ("RGB", ("--yuv", "420")),
    "4:2:2": ("RGB", ("--yuv", "422")),
    "4:4:4": ("RGB", ("--yuv", "444")),
    "lossless": ("RGB", ("--lossless",)),
    "grey": ("L", ("--yuv", "400")),
    "alpha": ("RGBA", ()),
    "10 bits": ("RGB", ("-d", "10")),
    "12 bits": ("RGB", ("-d", "12")),
    "limited range": ("RGB", ("--range", "limited")),
    "grid": ("RGB", ("--grid", "2x2")),
    "tiles": ("RGB", ("--tilerowslog2", "1", "--tilecolslog2", "1")),
    "rav1e": ("RGB", ("-c", "rav1e")),
    "svt": ("RGB", ("-c", "svt", "--yuv", "420")),
}


def written(folder: Path, kind: str) -> bytes:
    mode, options = KINDS[kind]
    image = PHOTOGRAPH.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(SIZE))
    image.save(folder / "a.png")
    run("avifenc", "-s", "9", *options, folder / "a.png", folder / "a.avif")
    return (folder / "a.avif").read_bytes()


def extents(data: bytes) -> list[tuple[int, int]]:
    items = heif_items.read_items(io.BytesIO(data))
    return [extent for item in items.shown() if item.type == b"av01" for extent in item.extents]


class TestSound:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_is_read(self, tmp_path, kind):
        proxy = made(written(tmp_path, kind), WHOLE)
        truth = np.asarray(PHOTOGRAPH.convert("L" if kind == "grey" else "RGB").convert("RGB"))
        assert np.abs(pixels(proxy) - truth).mean() < 8

    @pytest.mark.parametrize("size", [(1, 1), (8, 8), (63, 65), (200, 17), (1030, 24)])
    def test_every_size_is_read(self, tmp_path, size):
        photograph((1100, 100)).crop((0, 0, *size)).save(tmp_path / "a.png")
        run("avifenc", "-s", "9", tmp_path / "a.png", tmp_path / "a.avif")
        made((tmp_path / "a.avif").read_bytes())

    def test_the_first_picture_of_an_animation_is_read(self, tmp_path):
        names = []
        for number in range(3):
            names.append(tmp_path / f"{number}.png")
            photograph(SIZE, seed=number).save(names[-1])
        run("avifenc", "-s", "9", *names, tmp_path / "a.avif")
        proxy = made((tmp_path / "a.avif").read_bytes(), WHOLE)
        assert proxy.provenance["frames_dropped"] == 2
        assert np.abs(pixels(proxy) - np.asarray(photograph(SIZE, seed=0))).mean() < 8


@needs_check
class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("kind", KINDS)
    def test_overwritten_data_are_found(self, tmp_path, kind, damage):
        data, chance = written(tmp_path, kind), random.Random(3)
        for start, size in extents(data):
            for part in (4, 2, 1.5):
                at = start + max(40, int(size / part) - 210)
                if at + 64 > start + size:
                    continue
                broken = DAMAGES[damage](data, at, chance)
                if broken != data:
                    with pytest.raises(CorruptImage):
                        made(broken)

    def test_hardly_any_damage_is_missed(self, tmp_path):
        data, chance = written(tmp_path, "4:2:0"), random.Random(11)
        ((start, size),) = extents(data)
        missed = 0
        for _ in range(60):
            at = start + chance.randrange(30, size - 4)
            try:
                made(data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :])
            except CorruptImage:
                continue
            missed += 1
        assert missed <= 2


class TestMachine:
    def test_without_libaom_the_picture_is_read_unchecked(self, tmp_path, monkeypatch):
        data = written(tmp_path, "4:2:0")
        monkeypatch.setattr(av1, "_library", lambda: None)
        assert not av1.can_check()
        assert made(data).format == "JPEG"

    def test_libaom_of_another_version_is_not_called(self, monkeypatch):
        monkeypatch.setattr(av1, "_ABI", 1)
        av1._library.cache_clear()
        try:
            assert av1._library() is None
        finally:
            av1._library.cache_clear()

    def test_a_library_that_does_not_load_is_passed_over(self, monkeypatch):
        def fail(_path: str) -> None:
            raise OSError("wrong ELF class")

        monkeypatch.setattr(ctypes, "CDLL", fail)
        assert list(bundled.find_libraries("aom", ("imagecodecs",), {})) == []

    def test_a_package_that_is_not_installed_is_passed_over(self):
        assert list(bundled.find_libraries("nonesuch", ("no_such_package",), {})) == []

    def test_a_refused_allocation_is_the_machines_fault(self, tmp_path, monkeypatch):
        class Refusing:
            def __getattr__(self, name: str):
                return lambda *_: av1._NO_MEMORY if name == "aom_codec_decode" else av1._OK

        monkeypatch.setattr(av1, "_library", Refusing)
        monkeypatch.setattr("media_files.shortage._memory", lambda _pixels: MachineLimit("full"))
        with pytest.raises(MachineLimit):
            made(written(tmp_path, "4:2:0"))
