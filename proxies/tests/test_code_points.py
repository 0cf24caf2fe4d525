"""Colours that a file names by code points or by a gamma, without a profile, are converted to sRGB."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image

from media_files.tests.tools import run
from proxies.tests.png_files import chunk
from proxies.tests.rendering import made
from proxies.tests.test_tiff_combinations import WHOLE

# Linear light to linear sRGB (W3C, CSS Color Module Level 4, sample code).
FROM_P3 = [[1.2249402, -0.2249402, 0], [-0.0420570, 1.0420570, 0], [-0.0196376, -0.0786360, 1.0982736]]
FROM_BT2020 = [
    [1.6604962, -0.5876410, -0.0728552],
    [-0.1245505, 1.1328999, -0.0083494],
    [-0.0181508, -0.1005789, 1.1187297],
]
COLOURS = [(200, 100, 50), (120, 160, 90), (90, 110, 170), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
P3, BT2020, BT709, SRGB, PQ, HLG = 12, 9, 1, 13, 16, 18


def png(colour: tuple[int, int, int], *extra: bytes) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(written, "PNG")
    data = written.getvalue()
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(extra) + data[at:]


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


def shown(data: bytes) -> npt.NDArray[Any]:
    proxy = Image.open(io.BytesIO(made(data, WHOLE).data)).convert("RGB")
    middle: npt.NDArray[Any] = np.median(np.asarray(proxy, dtype=float)[20:40, 20:40].reshape(-1, 3), axis=0)
    return middle


def expected(colour: tuple[int, int, int], matrix: Any) -> npt.NDArray[Any]:
    signal = np.array(colour) / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    light = np.clip(np.array(matrix) @ linear, 0, 1)
    levels: npt.NDArray[Any] = 255 * np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    return levels


@pytest.mark.parametrize("colour", COLOURS, ids=str)
class TestWideGamuts:
    def test_display_p3(self, colour: tuple[int, int, int]) -> None:
        assert np.abs(shown(png(colour, cicp(P3, SRGB))) - expected(colour, FROM_P3)).max() < 4

    def test_bt2020(self, colour: tuple[int, int, int]) -> None:
        assert np.abs(shown(png(colour, cicp(BT2020, 1))) - expected(colour, FROM_BT2020)).max() < 4

    def test_srgb_stays(self, colour: tuple[int, int, int]) -> None:
        assert np.abs(shown(png(colour, cicp(BT709, SRGB))) - colour).max() < 4


@pytest.mark.parametrize("tool", ["avifenc", "pillow-heif"])
def test_display_p3_in_boxes(tool: str, tmp_path: Path) -> None:
    colour = COLOURS[0]
    source, written = tmp_path / "a.png", tmp_path / ("a.avif" if tool == "avifenc" else "a.heic")
    source.write_bytes(png(colour))
    if tool == "avifenc":
        lossless = ("-s", "8", "--yuv", "444", "--min", "0", "--max", "0")
        run("avifenc", *lossless, "--cicp", "12/13/6", source, written)
    else:
        # Debian's heif-enc writes no code points.
        image = pillow_heif.from_pillow(Image.open(source))
        image.save(written, quality=98, color_primaries=P3, transfer_characteristics=SRGB, chroma=444)
    data = written.read_bytes()
    assert made(data, WHOLE).provenance["profile"] == "converted"
    assert np.abs(shown(data) - expected(colour, FROM_P3)).max() < 8


class TestHighDynamicRange:
    @pytest.mark.parametrize("transfer", [PQ, HLG])
    def test_light_grows_with_the_signal_up_to_white(self, transfer: int) -> None:
        seen = [shown(png((level,) * 3, cicp(BT2020, transfer)))[0] for level in range(0, 256, 15)]
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (0, 255)

    def test_middle_grey_of_pq_is_middle_grey(self) -> None:
        """18 % of 203 cd/m2 is a signal of 0.41, below the knee of the curve."""
        grey = shown(png((round(0.41 * 255),) * 3, cicp(BT2020, PQ)))
        assert np.abs(grey - 118).max() < 4

    def test_the_provenance_says_so(self) -> None:
        assert made(png((90, 90, 90), cicp(BT2020, PQ)), WHOLE).provenance["tone_mapping"] == "PQ by BT.2390"
        assert (
            made(png((90, 90, 90), cicp(BT2020, HLG)), WHOLE).provenance["tone_mapping"] == "HLG by BT.2390"
        )
        assert made(png((90, 90, 90), cicp(P3, SRGB)), WHOLE).provenance["tone_mapping"] is None


class TestGamma:
    def test_linear_light(self) -> None:
        assert np.abs(shown(png((128, 128, 128), chunk(b"gAMA", struct.pack(">I", 100_000)))) - 188).max() < 4

    @pytest.mark.parametrize("gamma", [45_455, 45_000, 0, 1, 4_000_000_000])
    def test_a_usual_or_senseless_one_changes_nothing(self, gamma: int) -> None:
        assert (
            np.abs(
                shown(png((128, 100, 50), chunk(b"gAMA", struct.pack(">I", gamma)))) - (128, 100, 50)
            ).max()
            < 4
        )

    def test_chromaticities(self) -> None:
        points = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
        extra = chunk(b"gAMA", struct.pack(">I", 45_455)) + chunk(b"cHRM", struct.pack(">8I", *points))
        colour = COLOURS[0]
        assert np.abs(shown(png(colour, extra)) - expected(colour, FROM_P3)).max() < 5

    @pytest.mark.parametrize("points", [(0,) * 8, (31_270, 32_900) * 4, (2**31 - 1,) * 8])
    def test_senseless_chromaticities_change_nothing(self, points: tuple[int, ...]) -> None:
        extra = chunk(b"gAMA", struct.pack(">I", 45_455)) + chunk(b"cHRM", struct.pack(">8I", *points))
        assert np.abs(shown(png((128, 100, 50), extra)) - (128, 100, 50)).max() < 4

    def test_an_srgb_chunk_comes_first(self) -> None:
        extra = chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100_000))
        assert np.abs(shown(png((128, 128, 128), extra)) - 128).max() < 4
