"""The sample of proxies is also compared with what a second decoder sees."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageOps

from media_files.errors import UnsupportedFormat
from media_files.imaging import fast_decoders
from media_files.imaging.formats.tiff_image import TiffImage
from proxies.rendering import render
from proxies.rendering.profiles import NOVA
from proxies.rendering.verify import SMALLEST
from proxies.tests.rendering import made, photograph


def _file(format_name: str, **options: Any) -> bytes:
    written = io.BytesIO()
    photograph((640, 480)).save(written, format_name, **options)
    return written.getvalue()


FILES = {
    "PNG": _file("PNG"),
    "TIFF": _file("TIFF"),
    "TIFF, LZW": _file("TIFF", compression="tiff_lzw"),
    "BMP": _file("BMP"),
}
LARGE = SMALLEST


@pytest.fixture(autouse=True)
def _always_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "is_sampled", lambda _: True)


def proxy_of(data: bytes) -> Any:

    return made(data, replace(NOVA, shorter_side=LARGE))


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_it_agrees(data: bytes) -> None:
    assert proxy_of(data).provenance["second_decoder"] == "agrees"


def test_a_gif_is_read_by_another_library() -> None:
    written = io.BytesIO()
    photograph((640, 480)).quantize(64).save(written, "GIF")
    assert proxy_of(written.getvalue()).provenance["second_decoder"] == "agrees"


def test_a_jpeg_has_none() -> None:
    assert proxy_of(_file("JPEG")).provenance["second_decoder"] == "none"


@pytest.mark.parametrize("name", ["TIFF", "TIFF, LZW"])
def test_a_wrong_first_decoder_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = TiffImage.bands
    monkeypatch.setattr(TiffImage, "bands", lambda image: map(ImageOps.mirror, decoded(image)))
    with pytest.raises(UnsupportedFormat, match="Two decoders"):
        proxy_of(FILES[name])


def test_a_wrong_png_decoder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = fast_decoders.decode

    def wrong(image: Any, stream: Any) -> Image.Image | None:
        found = decode(image, stream)
        return found and Image.merge("RGB", found.split()[::-1])

    monkeypatch.setattr(fast_decoders, "decode", wrong)
    with pytest.raises(UnsupportedFormat, match="Two decoders"):
        proxy_of(FILES["PNG"])
