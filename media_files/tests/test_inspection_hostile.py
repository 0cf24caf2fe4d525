"""Files that announce more than they hold are rejected by their header, without decoding or allocating."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
from PIL import Image, ImageFile, features

from media_files.errors import CorruptImage, ImageTooLarge, MediaError, MemoryLimit, UnsupportedFormat
from media_files.imaging import decoding
from media_files.imaging.inspection import Limits, inspect, open_image
from media_files.tests.craft import (
    LONG,
    SHORT,
    chunk,
    gif,
    jpeg_with,
    picture,
    png,
    saved,
    tiff_block,
    tiff_page,
    webp_header,
)

SIDE = 65_500
BIG = bytes(64 << 20)


def _jp2(width: int, height: int) -> bytes:
    """Return a JPEG 2000 codestream that announces the given size."""
    data = saved("JPEG2000", no_jp2=True)
    return data[:8] + struct.pack(">2I", width, height) + data[16:]


def _jpeg(width: int, height: int) -> bytes:
    data = saved()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">2H", height, width) + data[at + 4 :]


def _bmp(width: int, height: int) -> bytes:
    data = saved("BMP")
    return data[:18] + struct.pack("<2i", width, height) + data[26:]


def _iso(name: str) -> bytes:
    data = saved(name)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">2I", 32_000, 32_000) + data[at + 8 :]


TOO_LARGE = {
    "PNG": png(size=(SIDE, SIDE)),
    "GIF": gif(1, size=(65535, 65535)),
    "WebP extended": webp_header(16384, 16384),
    "WebP lossless": webp_header(16383, 16383, b"VP8L"),
    "WebP lossy": webp_header(16383, 16383, b"VP8 "),
    "TIFF": tiff_page(SIDE, SIDE),
    "JPEG": _jpeg(SIDE, SIDE),
    "JPEG 2000": _jp2(SIDE, SIDE),
    "BMP": _bmp(SIDE, SIDE),
    "long PNG": png(size=(1_000_000, 10)),
    "frames of a GIF": gif(10_001),
    "strips of a TIFF": tiff_page(1, 1, tag_273=(LONG, tuple(range(300_000)))),
    "packed profile": png(chunk(b"iCCP", b"a\x00\x00" + zlib.compress(BIG))),
}


LONG_TEXTS = {
    "zTXt": png(chunk(b"zTXt", b"a\x00\x00" + zlib.compress(BIG))),
    "iTXt": png(chunk(b"iTXt", b"a\x00\x01\x00\x00\x00" + zlib.compress(BIG))),
}


@pytest.mark.parametrize("data", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
def test_a_long_text_is_unknown_and_takes_no_memory(data):
    tracemalloc.start()
    try:
        found = inspect(io.BytesIO(data))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert found.has_location is None
    assert found.has_metadata is True


@pytest.fixture
def no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if a pixel is decoded."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    monkeypatch.setattr(Image.Image, "load", refuse)


@pytest.mark.usefixtures("no_pixel")
@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_bomb_is_rejected_by_its_header(data):
    stream = io.BytesIO(data)
    with pytest.raises(ImageTooLarge, match="allowed"):
        inspect(stream)


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_bomb_allocates_no_python_memory(data):
    stream = io.BytesIO(data)
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooLarge):
            inspect(stream)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_no_bomb_allocates_process_memory(tmp_path: Path) -> None:
    """The address space is limited, which also applies to decoders in C."""
    for number, data in enumerate(TOO_LARGE.values()):
        (tmp_path / f"{number:02}").write_bytes(data)
    script = (
        "import pathlib, resource, sys\n"
        "from media_files import errors\nfrom media_files.imaging import inspection\n"
        "inspection.inspect(open(sys.argv[2], 'rb'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        inspection.inspect(path.open('rb'))\n"
        "    except errors.ImageTooLarge:\n"
        "        continue\n"
        "    raise SystemExit(f'{path} was let in')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    warm = tmp_path.parent / "warm.webp"
    warm.write_bytes(saved("WEBP"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, tmp_path, warm],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
    )
    assert int(done.stdout) < 32 * 1024  # kilobytes


@pytest.mark.parametrize("name", ["AVIF"])
def test_a_false_iso_header_is_rejected(name):
    with pytest.raises((ImageTooLarge, CorruptImage)):
        inspect(io.BytesIO(_iso(name)))


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(max_pixels=3071), "64 x 48 = 3072 pixels; 3071 are allowed"),
        (Limits(max_side=63), "64 x 48; 63 px"),
    ],
)
def test_the_given_limits_apply(limits, named):
    with pytest.raises(ImageTooLarge, match=named):
        inspect(io.BytesIO(saved()), limits)
    assert inspect(io.BytesIO(saved()), Limits(max_pixels=3072, max_side=64))


def test_frames_counted_only_by_the_decoder():
    data = saved("WEBP", save_all=True, append_images=[picture().rotate(90), picture().rotate(180)])
    with pytest.raises(ImageTooLarge, match="3 frames or more; 2 are allowed"):
        inspect(io.BytesIO(data), Limits(max_frames=2))


def test_limits_can_exceed_pillows_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert inspect(io.BytesIO(saved())).width == 64


@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_in_a_loop(order):
    data = bytearray(tiff_block({256: (SHORT, 1), 257: (SHORT, 1)}, order=order))
    at = 8 + 2 + 24
    data[at : at + 4] = struct.pack(order + "I", 8)
    with pytest.raises(CorruptImage, match="loop"):
        inspect(io.BytesIO(data))


def test_a_directory_with_too_many_entries():
    with pytest.raises(CorruptImage, match="65535 entries"):
        inspect(io.BytesIO(b"II*\x00\x08\x00\x00\x00" + b"\xff" * 100))


def test_big_tiff_with_an_unreachable_offset():
    data = b"II+\x00\x08\x00\x00\x00" + struct.pack("<Q", 2**64 - 1)
    with pytest.raises(CorruptImage, match="cannot be reached"):
        inspect(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\x00\x00"),
        png(size=(0, 5)),
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xff\xff\xff",
        b"GIF89a",
        b"BM",
        b"II*\x00",
        b"MM\x00*\x00\x00\x00\x08\x00\x00",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        b"\xff\x4f\xff\x51",
        b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00avif",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heic",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        webp_header(10, 10),
        jpeg_with((0xE1, b"Exif\x00\x00"))[:30],
    ],
)
def test_a_header_alone_is_corrupt(data):
    with pytest.raises(CorruptImage):
        inspect(io.BytesIO(data))


def test_twelve_bits_are_unsupported_not_corrupt():
    data = saved().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c")
    with pytest.raises(UnsupportedFormat, match="12-bit"):
        inspect(io.BytesIO(data))


class TestDecoderErrors:
    @pytest.mark.parametrize(
        ("raised", "expected"),
        [
            (OSError("broken data stream"), CorruptImage),
            (ValueError("bad"), CorruptImage),
            (SyntaxError("not a PNG"), CorruptImage),
            (SyntaxError("unknown pixel mode"), UnsupportedFormat),
            (NotImplementedError(), UnsupportedFormat),
            (RuntimeError(), CorruptImage),
            (EOFError(), CorruptImage),
            (TypeError(), CorruptImage),
            (struct.error(), CorruptImage),
            (UserWarning("Corrupt EXIF data"), CorruptImage),
            (MemoryError(), MemoryLimit),
            (RecursionError(), MemoryLimit),
            (
                RuntimeError("Memory allocation error: Unspecified: Allocating 19660815 bytes failed"),
                MemoryLimit,
            ),
            (RuntimeError("Pixel allocation failed: Out of memory"), MemoryLimit),
            (Image.DecompressionBombError("too large"), ImageTooLarge),
            (CorruptImage("ours"), CorruptImage),
        ],
    )
    def test_every_exception_is_mapped_to_a_named_error(self, raised, expected):
        with pytest.raises(expected) as caught, decoding.named_errors("PNG"):
            raise raised
        assert type(caught.value) is expected

    @pytest.mark.parametrize(
        ("name", "pixels", "expected"),
        [
            ("AVIF", 40_000_000, UnsupportedFormat),
            ("AVIF", 30_000_000, CorruptImage),
            ("PNG", 40_000_000, CorruptImage),
        ],
    )
    def test_an_oversized_piece_is_not_reported_as_corrupt(self, name, pixels, expected):
        with pytest.raises(expected), decoding.named_errors(name, pixels):
            raise RuntimeError("Decoding of color planes failed")

    @pytest.mark.parametrize("name", ["WEBP", "AVIF"])
    def test_a_missing_codec_names_the_package_to_install(self, monkeypatch, name):
        monkeypatch.setattr(features, "check", lambda _: False)
        with pytest.raises(UnsupportedFormat, match="unsupported on this installation: install Pillow"):
            inspect(io.BytesIO(saved(name)))

    @pytest.mark.parametrize("format_name", ["TIFF", "JPEG2000"])
    def test_without_imagecodecs_these_formats_name_it(self, monkeypatch, format_name):
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
        for name in ("tiff_image", "tiff_samples", "jpeg2000"):
            monkeypatch.delitem(sys.modules, f"media_files.imaging.formats.{name}", raising=False)
        with pytest.raises(UnsupportedFormat, match="install imagecodecs"):
            inspect(io.BytesIO(saved(format_name)))

    def test_a_missing_module_names_the_package_to_install(self):
        with heif_modules(), pytest.raises(UnsupportedFormat, match="install pillow-heif"):
            inspect(io.BytesIO(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heic"))

    @pytest.mark.parametrize(
        ("installed", "expected"),
        [
            (["pi_heif"], "pi_heif"),
            (["pillow_heif"], "pillow_heif"),
            (["pi_heif", "pillow_heif"], "pillow_heif"),
        ],
        ids=["pi_heif", "pillow_heif", "both"],
    )
    def test_heif_is_decoded_by_the_module_that_is_installed(self, installed, expected):
        with heif_modules(*installed):
            assert decoding.decoder_class("HEIF").__base__.__module__ == expected


@contextmanager
def heif_modules(*installed: str):
    """Replace the modules that decode HEIF by empty ones; those that are not named are missing."""
    modules: dict[str, ModuleType | None] = {"pillow_heif": None, "pi_heif": None}
    for name in installed:
        modules[name] = ModuleType(name)
        vars(modules[name])["HeifImageFile"] = type("HeifImageFile", (), {"__module__": name})
    with patch.dict(sys.modules, modules):
        sys.modules.pop("media_files.imaging.formats.heif", None)
        yield


def test_only_listed_plugins_are_used(monkeypatch):
    """Even a plugin in Pillow's registry that would accept the file is not called."""
    asked = []

    def take(prefix: bytes) -> bool:
        asked.append(prefix)
        return True

    monkeypatch.setattr(Image, "ID", ["EVIL"])
    monkeypatch.setitem(Image.OPEN, "EVIL", (ImageFile.ImageFile, take))
    for data in (saved(), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"nothing known"):
        with suppress(MediaError):
            inspect(io.BytesIO(data))
    assert asked == []


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF", "JPEG2000"])
def test_no_descriptor_leaks(name, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(saved(name))
    (tmp_path / "cut").write_bytes(saved(name)[:60])

    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with path.open("rb") as whole, (tmp_path / "cut").open("rb") as cut:
        before = open_descriptors()
        for _ in range(5):
            with open_image(whole) as opened:
                opened.image.load()
            with suppress(MediaError, OSError, EOFError), open_image(cut) as opened:
                opened.image.load()
        assert open_descriptors() == before
        assert not whole.closed
