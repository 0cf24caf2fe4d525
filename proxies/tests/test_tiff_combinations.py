"""TIFF: every combination of depth, layout, meaning, compression and alpha shows the right picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from media_files.errors import CorruptImage, UnsupportedFormat
from media_files.imaging.formats.tiff_image import TiffImage
from media_files.tests.tools import run
from proxies.rendering.profiles import NOVA
from proxies.tests.rendering import made
from proxies.tests.tiff_files import (
    CELL,
    Combination,
    kinds,
    layouts,
    shown,
    with_short_pieces,
    with_tags,
    write,
)

WHOLE = replace(NOVA, shorter_side=64)
LIMITS = {"lab": 33, "icclab": 33}
"""Levels of 255. One level of L*, a* or b* is many levels of a channel that is nearly empty."""
USUAL_LIMIT = 10

Kind = tuple[str, int, str, str]


def cells(data: bytes) -> npt.NDArray[Any]:
    """Return the proxy's cells as 4 x 4 x RGBA: the median of each cell's middle."""
    proxy = Image.open(io.BytesIO(made(data, WHOLE).data)).convert("RGBA")
    grid = np.asarray(proxy, dtype=float).reshape(4, CELL, 4, CELL, 4)[:, 5:11, :, 5:11]
    middles: npt.NDArray[Any] = np.median(grid.transpose(0, 2, 1, 3, 4).reshape(4, 4, -1, 4), axis=2)
    return middles


def difference(combination: Combination) -> float:
    """Return the largest difference of a channel where the picture is not transparent."""
    seen, truth = cells(write(combination)), shown(combination).astype(float)
    colour = np.abs(seen - truth)[:, :, :3] * truth[:, :, 3:] / 255
    return float(max(colour.max(), np.abs(seen - truth)[:, :, 3].max()))


@pytest.mark.parametrize("kind", kinds(), ids=str)
def test_it_shows_the_picture_in_every_layout(kind: Kind) -> None:
    limit = LIMITS.get(kind[0], USUAL_LIMIT)
    wrong = {str(each): found for each in layouts(kind) if (found := difference(each)) > limit}
    assert wrong == {}


Mutation = Callable[[Image.Image], Image.Image]


def _exchanged(band: Image.Image) -> Image.Image:
    first, second, *rest = band.split()
    return Image.merge(band.mode, (second, first, *rest))


def _wrapped(band: Image.Image) -> Image.Image:
    return band.point([(value + 128) % 256 for value in range(256)] * len(band.getbands()))


MUTATIONS: dict[str, Mutation] = {
    "negative": lambda band: band.point([255 - value for value in range(256)] * len(band.getbands())),
    "mirrored": ImageOps.mirror,
    "wrapped": _wrapped,
    "exchanged channels": _exchanged,
}


GREY = ("white", "black", "palette", "palette8")
MUTATED = [
    (kind, name)
    for kind in kinds()
    for name in MUTATIONS
    if name != "exchanged channels" or kind[0] not in GREY
]


@pytest.mark.parametrize(("kind", "mutation"), MUTATED, ids=str)
def test_a_wrong_decoder_would_be_found(kind: Kind, mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    combination = next(iter(layouts(kind)))
    decoded = TiffImage.bands

    def bands(image: TiffImage) -> Iterator[Image.Image]:
        return map(MUTATIONS[mutation], decoded(image))

    monkeypatch.setattr(TiffImage, "bands", bands)
    assert difference(combination) > LIMITS.get(kind[0], USUAL_LIMIT)


@pytest.mark.parametrize("compression", ["zstd", "lzma", "lerc", "webp", "zip:2", "lzw:2", "zip -f lsb2msb"])
def test_compressions_of_libtiff(compression: str, tmp_path: Path) -> None:
    combination = Combination()
    plain, packed = tmp_path / "plain.tif", tmp_path / "packed.tif"
    plain.write_bytes(write(combination))
    run("tiffcp", "-c", *compression.split(), plain, packed)
    assert np.abs(cells(packed.read_bytes()) - shown(combination)).max() < USUAL_LIMIT


@pytest.mark.parametrize("compression", ["g3", "g3:2d", "g4"])
@pytest.mark.parametrize("photometric", ["white", "black"])
def test_fax(photometric: str, compression: str, tmp_path: Path) -> None:
    combination = Combination(photometric, 1)
    plain, packed = tmp_path / "plain.tif", tmp_path / "packed.tif"
    plain.write_bytes(write(combination))
    run("tiffcp", "-c", compression, plain, packed)
    assert np.abs(cells(packed.read_bytes()) - shown(combination)).max() < USUAL_LIMIT


@pytest.mark.parametrize(
    ("combination", "tags", "unread"),
    [
        (Combination("rgb", 16), {259: 34676}, "compressed with SGILog"),
        (Combination("black"), {259: 34661}, "compressed with JBIG"),
        (Combination("black"), {259: 4711}, "compressed with scheme 4711"),
        (Combination("black"), {262: 32845}, "of LogLuv"),
        (Combination("rgb", 24), {}, "of 24 bits per sample"),
        (Combination("cmyk", alpha="unassociated"), {}, "of CMYK with alpha"),
        (Combination("rgb", predictor=True), {317: 9}, "with predictor 9"),
    ],
)
def test_what_is_not_read_is_named(combination: Combination, tags: dict[int, int], unread: str) -> None:
    with pytest.raises(UnsupportedFormat, match=unread):
        made(with_tags(write(combination), combination.order, tags), WHOLE)


@pytest.mark.parametrize("kind", [("rgb", 8, "uint", "none"), ("black", 16, "uint", "none")], ids=str)
def test_a_piece_that_is_too_short_is_damage(kind: Kind) -> None:
    for combination in layouts(kind):
        with pytest.raises(CorruptImage):
            made(with_short_pieces(write(combination), combination.order), WHOLE)
