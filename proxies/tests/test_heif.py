"""HEIC: damage that libheif conceals, sound pictures of all kinds, and orientation."""

from __future__ import annotations

import ctypes
import io
import random
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media_files.errors import CorruptImage, MachineLimit, NotAnImage, UnsupportedFormat
from media_files.imaging.formats import heif_items, hevc
from media_files.imaging.formats.signatures import sniff_image
from media_files.imaging.inspection import inspect
from media_files.tests.tools import run
from proxies.rendering.profiles import NOVA
from proxies.tests.heif_files import Coded, box, coded, encode, file
from proxies.tests.rendering import made, photograph, pixels

SIZE = (256, 192)
WHOLE = replace(NOVA, shorter_side=256, quality=95)
PHOTOGRAPH = photograph(SIZE)
needs_check = pytest.mark.skipif(not hevc.can_check(), reason="libde265 is not beside pillow-heif")

KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "4:2:0": ("RGB", ()),
    "4:2:2": ("RGB", ("-p", "chroma=422")),
    "4:4:4": ("RGB", ("-p", "chroma=444")),
    "lossless": ("RGB", ("-L", "-p", "chroma=444", "--matrix_coefficients=0")),
    "grey": ("L", ()),
    "alpha": ("RGBA", ()),
    "10 bits": ("deep", ("-b", "10")),
    "10 bits, 4:4:4": ("deep", ("-b", "10", "-p", "chroma=444")),
    "12 bits": ("deep", ("-b", "12")),
    "thumbnail": ("RGB", ("-t", "64")),
    "one thread": ("RGB", ("-p", "x265:wpp=0")),
    "small blocks": ("RGB", ("-p", "x265:ctu=16")),
    "slices": ("RGB", ("-p", "x265:slices=4")),
}


def written(folder: Path, kind: str) -> bytes:
    mode, options = KINDS[kind]
    if mode == "deep":
        PHOTOGRAPH.save(folder / "eight.png")
        run("convert", folder / "eight.png", "-depth", "16", "-gamma", "1.01", f"PNG48:{folder / 'deep.png'}")
        return encode(folder, folder / "deep.png", *options)
    image = PHOTOGRAPH.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(SIZE))
    return encode(folder, image, "-q", "70", *options)


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> tuple[bytes, Image.Image]:
    """Return a picture of two by two tiles, and the whole of which they are parts."""
    folder = tmp_path_factory.mktemp("grid")
    whole = photograph((256, 256))
    tiles = []
    for number, (left, top) in enumerate([(0, 0), (128, 0), (0, 128), (128, 128)]):
        part = whole.crop((left, top, left + 128, top + 128))
        tiles.append(coded(encode(folder, part, "-q", "80", name=f"{number}.heic"), (128, 128)))
    return file(tiles, 2), whole


def extents(data: bytes) -> list[tuple[int, int]]:
    items = heif_items.read_items(io.BytesIO(data))
    return [extent for item in items.shown() if item.type == b"hvc1" for extent in item.extents]


class TestSound:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_is_read(self, tmp_path, kind):
        proxy = made(written(tmp_path, kind), WHOLE)
        truth = np.asarray(PHOTOGRAPH.convert("L" if kind == "grey" else "RGB").convert("RGB"))
        assert np.abs(pixels(proxy) - truth).mean() < 6

    def test_a_grid_is_read(self, grid):
        data, whole = grid
        assert len(extents(data)) == 4
        assert np.abs(pixels(made(data, WHOLE)) - np.asarray(whole)).mean() < 6

    @pytest.mark.parametrize("size", [(1, 1), (8, 8), (63, 65), (200, 17), (1030, 24)])
    def test_every_size_is_read(self, tmp_path, size):
        made(encode(tmp_path, photograph((1100, 100)).crop((0, 0, *size))))


DAMAGES = {
    "zeros": lambda data, at, _: data[:at] + bytes(12) + data[at + 12 :],
    "many zeros": lambda data, at, _: data[:at] + bytes(200) + data[at + 200 :],
    "ones": lambda data, at, _: data[:at] + b"\xff" * 16 + data[at + 16 :],
    "noise": lambda data, at, chance: data[:at] + chance.randbytes(64) + data[at + 64 :],
    "another byte": lambda data, at, _: data[:at] + bytes([data[at] ^ 0x5A]) + data[at + 1 :],
}


@needs_check
class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("kind", KINDS)
    def test_overwritten_data_are_found(self, tmp_path, kind, damage):
        data, chance = written(tmp_path, kind), random.Random(3)
        start, size = extents(data)[0]
        for part in (4, 2, 1.5):
            at = start + int(size / part) - 210
            with pytest.raises(CorruptImage, match="its coded data"):
                made(DAMAGES[damage](data, at, chance))

    def test_any_tile_may_be_the_damaged_one(self, grid):
        data, _ = grid
        for start, size in extents(data):
            at = start + size // 2
            with pytest.raises(CorruptImage, match="its coded data"):
                made(data[:at] + bytes(40) + data[at + 40 :])

    def test_a_damaged_alpha_channel_is_found(self, tmp_path):
        data = written(tmp_path, "alpha")
        start, size = extents(data)[1]
        at = start + size // 2
        with pytest.raises(CorruptImage, match="its coded data"):
            made(data[:at] + bytes(20) + data[at + 20 :])

    def test_a_damaged_thumbnail_does_not_matter(self, tmp_path):
        data = written(tmp_path, "thumbnail")
        items = heif_items.read_items(io.BytesIO(data))
        (hidden,) = (i for i in items.by_number.values() if i.type == b"hvc1" and i not in items.shown())
        ((start, size),) = hidden.extents
        broken = data[: start + size // 2] + bytes(20) + data[start + size // 2 + 20 :]
        assert made(broken).data == made(data).data

    def test_hardly_any_damage_is_missed(self, tmp_path):
        data, chance = written(tmp_path, "4:2:0"), random.Random(11)
        whole = pixels(made(data))
        ((start, size),) = extents(data)
        missed = 0
        for _ in range(60):
            at = start + chance.randrange(16, size - 4)
            try:
                proxy = made(data[:at] + chance.randbytes(1) + data[at + 1 :])
            except CorruptImage:
                continue
            missed += 1
            assert np.abs(pixels(proxy) - whole).mean() < 1
        assert missed <= 3

    def test_units_that_end_after_the_data_are_damage(self, tmp_path):
        data = written(tmp_path, "4:2:0")
        ((start, size),) = extents(data)
        longer = struct.pack(">I", size)
        with pytest.raises(CorruptImage, match="end early"):
            made(data[:start] + longer + data[start + 4 :])

    def test_a_second_picture_is_damage(self, tmp_path):
        part = coded(written(tmp_path, "4:2:0"), SIZE)
        with pytest.raises(CorruptImage):
            made(file([Coded(part.setup, part.data + part.data, SIZE)]))


class TestMachine:
    def test_without_libde265_the_picture_is_read_unchecked(self, tmp_path, monkeypatch):
        data = written(tmp_path, "4:2:0")
        ((start, size),) = extents(data)
        monkeypatch.setattr(hevc, "_library", lambda: None)
        assert not hevc.can_check()
        made(data[: start + size // 2] + bytes(20) + data[start + size // 2 + 20 :])

    def test_libde265_of_another_version_is_not_called(self, monkeypatch):
        class Other:
            def __init__(self, _path: str) -> None:
                pass

            def __getattr__(self, _name: str):
                return lambda: 2 << 24

        monkeypatch.setattr(ctypes, "CDLL", Other)
        hevc._library.cache_clear()
        try:
            assert hevc._library() is None
        finally:
            hevc._library.cache_clear()

    @needs_check
    def test_a_refused_allocation_is_the_machines_fault(self, tmp_path, monkeypatch):
        def refuse(*_arguments):
            raise MemoryError

        data = written(tmp_path, "4:2:0")
        monkeypatch.setattr(hevc, "_Plane", refuse)
        monkeypatch.setattr("media_files.shortage._memory", lambda _pixels: MachineLimit("full"))
        with pytest.raises(MachineLimit):
            made(data)


class TestItems:
    @pytest.mark.parametrize("codec", [b"av01", b"unci", b"vvc1", b"jpeg"])
    def test_other_codecs_are_named(self, codec):
        data = file([Coded(box(b"hvcC", bytes(23)), bytes(100), SIZE)], kind=codec)
        with pytest.raises(UnsupportedFormat, match="is coded as"):
            inspect(io.BytesIO(data))

    def test_garbled_items_end_in_named_errors(self, grid):
        data, _ = grid
        chance = random.Random(5)
        end = data.index(b"mdat")
        for _ in range(300):
            broken = bytearray(data)
            for _ in range(chance.randrange(1, 6)):
                broken[chance.randrange(24, end)] = chance.randrange(256)
            try:
                heif_items.read_items(io.BytesIO(bytes(broken))).shown()
            except heif_items.ItemsError:
                continue

    def test_items_that_refer_to_each_other_do_not_hang(self):
        items = heif_items.Items(1, {1: heif_items.Item(1, b"grid"), 2: heif_items.Item(2, b"grid")})
        items.references = {(b"dimg", 1): [2, 1], (b"dimg", 2): [1]}
        assert [item.number for item in items.shown()] == [1, 2]


def exif_with(orientation: int) -> bytes:
    return b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


class TestOrientation:
    @pytest.fixture
    def part(self, tmp_path) -> Coded:
        return coded(encode(tmp_path, PHOTOGRAPH, "-q", "80"), SIZE)

    def test_exif_does_not_turn_the_picture_and_the_provenance_says_so(self, part):
        turned = made(file([part], exif=exif_with(6)))
        assert turned.provenance["exif_orientation_ignored"] == 6
        assert turned.provenance["orientation"] == 1
        assert turned.data == made(file([part])).data

    @pytest.mark.parametrize("orientation", [0, 1, 9])
    def test_nothing_is_said_where_nothing_was_ignored(self, part, orientation):
        assert "exif_orientation_ignored" not in made(file([part], exif=exif_with(orientation))).provenance

    def test_a_turn_of_the_container_is_what_exif_describes(self, part):
        turned = made(file([part], 1, box(b"irot", b"\x03"), exif=exif_with(6)))
        assert "exif_orientation_ignored" not in turned.provenance
        assert (turned.width, turned.height) == (32, 43)


class TestBrands:
    @pytest.mark.parametrize("compatible", [(b"mif1",), (b"miaf", b"mif1"), (b"abcd", b"heic")])
    def test_an_unknown_major_brand_leaves_it_to_the_others(self, tmp_path, compatible):
        part = coded(encode(tmp_path, PHOTOGRAPH), SIZE)
        facts = inspect(io.BytesIO(file([part], brands=(b"XYZW", *compatible))))
        assert facts.format == "HEIF"

    def test_other_neutral_brands_make_it_an_image(self):
        for brand in (b"msf1", b"miaf"):
            assert sniff_image(box(b"ftyp", b"XYZW", bytes(4), brand)) == "HEIF"

    @pytest.mark.parametrize("major", [b"isom", b"mp42", b"qt  ", b"M4V ", b"3gp5"])
    def test_a_video_remains_one(self, major):
        head = box(b"ftyp", major, bytes(4), b"mif1", b"heic")
        with pytest.raises(NotAnImage):
            inspect(io.BytesIO(head + bytes(64)))

    def test_an_avif_picture_of_an_unknown_brand_is_avif(self, tmp_path):
        PHOTOGRAPH.save(tmp_path / "a.png")
        run("avifenc", "-s", "9", tmp_path / "a.png", tmp_path / "a.avif")
        data = (tmp_path / "a.avif").read_bytes()
        assert inspect(io.BytesIO(data.replace(b"ftypavif", b"ftypXYZW", 1))).format == "AVIF"
