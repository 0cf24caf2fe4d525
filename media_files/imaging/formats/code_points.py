"""ICC profiles for colours that a file names by code points, as video does (ITU-T H.273), or by a gamma.

Wide gamuts become matrix profiles. The transfers of high dynamic range, PQ and HLG, become tone curves: they
map the light of a display of 1,000 cd/m2 to one of 203, the white of SDR in HDR programmes (ITU-R BT.2408),
by the spline of ITU-R BT.2390, section 5.4.1, applied to each channel. Chromaticities: ITU-R BT.709, BT.2020,
SMPTE EG 432-1. Adaptation to D50: ICC.1:2022, annex E.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final

_BT709, _BT2020, _P3 = 1, 9, 12
_PRIMARIES: Final[Mapping[int, tuple[tuple[float, float], ...]]] = {
    _BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    _BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    _P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65: Final = (0.3127, 0.3290)
_D50: Final = (0.9642, 1.0, 0.8249)
_SRGB, _PQ, _HLG, _LINEAR = 13, 16, 18, 8
_LIKE_SRGB: Final = frozenset({1, 2, 6, 13, 14, 15})
"""Transfers that programs show as sRGB: those of BT.709 and BT.2020, unspecified, and sRGB itself."""

_SDR_WHITE: Final = 203.0
_PEAK: Final = 1000.0
_HLG_GAMMA: Final = 1.2
_ENTRIES: Final = 1024
_LEAST_GAMMA, _USUAL_GAMMA, _SAME_GAMMA, _SAME_POINT = 0.1, 0.45455, 0.02, 0.005
_BRADFORD: Final = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))

Matrix = Sequence[Sequence[float]]


@lru_cache(maxsize=64)
def profile_of(primaries: int, transfer: int) -> bytes | None:
    """Return a profile for code points; None for those of sRGB, and for unknown ones."""
    if primaries not in _PRIMARIES or (primaries == _BT709 and transfer in _LIKE_SRGB):
        return None
    if transfer in _LIKE_SRGB:
        curve: Callable[[float], float] = _from_srgb
    elif transfer == _LINEAR:
        curve = float
    elif transfer in (_PQ, _HLG):
        curve = _from_pq if transfer == _PQ else _from_hlg
    else:
        return None
    return _profile(_to_xyz(_PRIMARIES[primaries]), curve)


@lru_cache(maxsize=64)
def profile_of_gamma(gamma: float, chromaticities: tuple[float, ...] | None) -> bytes | None:
    """Return a profile for a PNG's gAMA and cHRM; None if they mean sRGB, or make no sense.

    Args:
        gamma: of the encoding, such as 0.45455.
        chromaticities: x and y of white, red, green and blue; None for those of sRGB.
    """
    usual = (_D65, *_PRIMARIES[_BT709])
    points = usual
    if chromaticities is not None and len(chromaticities) == 2 * len(usual):
        points = tuple(zip(chromaticities[::2], chromaticities[1::2], strict=True))
    if not _LEAST_GAMMA <= gamma <= 1 / _LEAST_GAMMA or min(y for _, y in points) <= 0:
        return None
    is_usual = abs(gamma - _USUAL_GAMMA) < _SAME_GAMMA
    if is_usual and all(math.dist(*pair) < _SAME_POINT for pair in zip(points, usual, strict=True)):
        return None
    curve = _from_srgb if is_usual else partial(_power, 1 / gamma)
    try:
        return _profile(_to_xyz(points[1:], points[0]), curve)
    except ZeroDivisionError:
        return None


def _power(exponent: float, signal: float) -> float:
    return float(signal**exponent)


def tone_mapping_of(transfer: int) -> str | None:
    """Return how the light of a transfer is reduced to that of a usual display; None if it need not be."""
    return {_PQ: "PQ by BT.2390", _HLG: "HLG by BT.2390"}.get(transfer)


# -- Transfers: from a signal of 0 to 1 to light of 0 to 1 ---------------------------------------------


def _from_srgb(signal: float) -> float:
    return signal / 12.92 if signal <= 0.04045 else ((signal + 0.055) / 1.055) ** 2.4


def _from_pq(signal: float) -> float:
    return _to_sdr(_pq_light(signal))


def _from_hlg(signal: float) -> float:
    """ITU-R BT.2100, table 5: scene light, then the system gamma of a display of 1,000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene: float = signal**2 / 3 if signal <= 0.5 else (math.exp((signal - c) / a) + b) / 12
    return _to_sdr(_PEAK * scene**_HLG_GAMMA)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_light(signal: float) -> float:
    """Return cd/m2 (SMPTE ST 2084)."""
    power = signal ** (1 / _M2)
    light: float = 10_000 * (max(power - _C1, 0.0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return light


def _pq_signal(light: float) -> float:
    power = (light / 10_000) ** _M1
    signal: float = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def _to_sdr(light: float) -> float:
    """Compress light of up to 1,000 cd/m2 to 203, and return it as 0 to 1."""
    source = _pq_signal(_PEAK)
    level = min(_pq_signal(light) / source, 1.0)
    most = _pq_signal(_SDR_WHITE) / source
    knee = 1.5 * most - 0.5
    if level > knee:
        t = (level - knee) / (1 - knee)
        level = (
            (2 * t**3 - 3 * t**2 + 1) * knee
            + (t**3 - 2 * t**2 + t) * (1 - knee)
            + (-2 * t**3 + 3 * t**2) * most
        )
    return min(_pq_light(level * source) / _SDR_WHITE, 1.0)


# -- Matrices ------------------------------------------------------------------------------------------


def _to_xyz(primaries: Sequence[tuple[float, float]], white_point: tuple[float, float] = _D65) -> Matrix:
    """Return the matrix from linear RGB to XYZ at D50; its columns are the colourants."""
    columns = [_xyz(*each) for each in primaries]
    rows = [[column[row] for column in columns] for row in range(3)]
    white = _xyz(*white_point)
    scale = _apply(_inverse(rows), white)
    rows = [[value * factor for value, factor in zip(row, scale, strict=True)] for row in rows]
    return _product(_adaptation(white), rows)


def _xyz(x: float, y: float) -> tuple[float, float, float]:
    return x / y, 1.0, (1 - x - y) / y


def _adaptation(white: Sequence[float]) -> Matrix:
    cones, wanted = _apply(_BRADFORD, white), _apply(_BRADFORD, _D50)
    gains = [[wanted[row] / cones[row] if row == column else 0.0 for column in range(3)] for row in range(3)]
    return _product(_inverse(_BRADFORD), _product(gains, _BRADFORD))


def _apply(matrix: Matrix, vector: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _product(one: Matrix, other: Matrix) -> Matrix:
    columns = [_apply(one, column) for column in zip(*other, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    adjugate = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return [[value / determinant for value in row] for row in adjugate]


# -- The profile ---------------------------------------------------------------------------------------


def _profile(to_xyz: Matrix, curve: Callable[[float], float]) -> bytes:
    """Return a display profile of version 2.4 (ICC.1:2001-04, section 6.3.1.2)."""
    levels = [round(65_535 * min(max(curve(at / (_ENTRIES - 1)), 0.0), 1.0)) for at in range(_ENTRIES)]
    response = b"curv" + bytes(4) + struct.pack(f">I{_ENTRIES}H", _ENTRIES, *levels)
    colourants = list(zip(*to_xyz, strict=True))
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    blocks = [(b"wtpt", _xyz_type(_D50))]
    blocks += [(name, _xyz_type(values)) for name, values in zip(names, colourants, strict=True)]
    offset = 128 + 4 + 12 * (len(blocks) + 3)
    table, data = b"", b""
    for name, block in blocks:
        table += name + struct.pack(">II", offset + len(data), len(block))
        data += block
    for name in (b"rTRC", b"gTRC", b"bTRC"):  # one curve for all three
        table += name + struct.pack(">II", offset + len(data), len(response))
    body = struct.pack(">I", len(blocks) + 3) + table + data + response
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _xyz_type(_D50)[8:]
    return head.ljust(128, b"\0") + body


def _xyz_type(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65_536) for value in values))
