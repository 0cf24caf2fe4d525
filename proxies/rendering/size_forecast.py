"""Estimate the total size of proxies to be made from existing ones. Independent of Django.

A proxy's bytes per pixel grow with its original's (both measure the amount of detail) and depend most on the
kind of original. So for each kind, a line is fitted to the sample: the proxy's bytes per pixel over the
original's. Two prior points stabilize the line for small samples and have little effect on large ones.
Whether an original with an alpha channel has any transparent pixel, which results in a PNG of ten times the
size of a JPEG, is known only from its pixels: the share of these originals is estimated, too, and its
uncertainty widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LEAST_SAMPLE: Final = 3
# The two-sided 90 % point of the normal distribution.
_Z: Final = 1.645
# The weight of each prior point, and of the prior scatter, in originals.
_POINT_WEIGHT: Final = 2.0
_SCATTER_WEIGHT: Final = 4.0
# Prior: this many transparent and as many opaque originals count as seen among those with alpha.
_SHARE_WEIGHT: Final = 1.0


class Kind(StrEnum):
    """What an original's header reveals about its proxy's size."""

    ALPHA = "alpha"
    LOSSY = "lossy"
    LOSSLESS = "lossless"


@dataclass(frozen=True, slots=True)
class Example:
    """An existing proxy.

    Attributes:
        original: bytes per pixel of its original.
        proxy: bytes per pixel of the proxy.
        transparent: whether any pixel is actually transparent.
    """

    original: float
    proxy: float
    transparent: bool = False


@dataclass(slots=True)
class Target:
    """Sums over the proxies to be made of one kind, in pixels of the proxies.

    Attributes:
        pixels: the sum of their pixels.
        squares: the sum of the squares of their pixels.
        weighted: the sum of pixels times the original's bytes per pixel.
    """

    pixels: float = 0.0
    squares: float = 0.0
    weighted: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """The estimated total bytes of the proxies to be made.

    Attributes:
        sample: how many proxies the estimate is based on.
        bytes: the expected sum; None if the sample is too small.
        low: the lower end of the 90 % interval.
        high: its upper end.
    """

    sample: int
    bytes: int | None = None
    low: int | None = None
    high: int | None = None


# Prior: two points (original's, proxy's bytes per pixel) and the scatter around the line, measured on
# photographs and drawings of 1 to 24 megapixels at a shorter side of 896 px and JPEG quality 85.
_EXPERIENCE: Final[Mapping[Kind, tuple[Example, Example, float]]] = {
    Kind.ALPHA: (Example(0.3, 0.4), Example(1.2, 1.2), 0.2),
    Kind.LOSSY: (Example(0.1, 0.08), Example(0.6, 0.2), 0.08),
    Kind.LOSSLESS: (Example(0.2, 0.06), Example(0.8, 0.1), 0.04),
}


def forecast(targets: Mapping[Kind, Target], sample: Mapping[Kind, list[Example]]) -> Forecast:
    """Return the expected sum and its interval; 0 bytes for empty targets."""
    size = sum(len(examples) for examples in sample.values())
    wanted = {kind: target for kind, target in targets.items() if target.pixels}
    if not wanted:
        return Forecast(size, 0, 0, 0)
    if size < LEAST_SAMPLE:
        return Forecast(size)
    parts = [_forecast_kind(kind, target, sample) for kind, target in wanted.items()]
    expected = sum(part.expected for part in parts)
    variance = sum(part.variance for part in parts)
    # Average of the degrees of freedom, weighted by the variance of each part.
    freedom = sum(part.variance * part.freedom for part in parts) / variance
    margin = _student(freedom) * math.sqrt(variance)
    return Forecast(
        size, round(max(0.0, expected)), round(max(0.0, expected - margin)), round(expected + margin)
    )


@dataclass(frozen=True, slots=True)
class _Part:
    expected: float
    variance: float
    freedom: float


def _forecast_kind(kind: Kind, target: Target, sample: Mapping[Kind, list[Example]]) -> _Part:
    examples = sample.get(kind, [])
    if kind is Kind.ALPHA:
        return _forecast_alpha(target, examples, sample.get(Kind.LOSSLESS, []))
    return _along_line(kind, target, examples)


def _forecast_alpha(target: Target, examples: list[Example], lossless: list[Example]) -> _Part:
    """Mix the estimates for transparent originals and opaque ones, which behave like those without alpha."""
    clear = [example for example in examples if example.transparent]
    opaque = [example for example in examples if not example.transparent]
    weight = len(examples) + 2 * _SHARE_WEIGHT
    share = (len(clear) + _SHARE_WEIGHT) / weight
    parts = _along_line(Kind.ALPHA, target, clear), _along_line(Kind.LOSSLESS, target, opaque + lossless)
    gap = (parts[0].expected - parts[1].expected) / target.pixels
    # Each original is transparent or opaque; an error in the share shifts all of them together.
    mixing = share * (1 - share) * gap**2 * (target.squares + target.pixels**2 / (weight + 1))
    return _Part(
        share * parts[0].expected + (1 - share) * parts[1].expected,
        share * parts[0].variance + (1 - share) * parts[1].variance + mixing,
        weight,
    )


def _along_line(kind: Kind, target: Target, examples: list[Example]) -> _Part:
    """Estimate by weighted least squares over the examples and the prior points."""
    low, high, scatter = _EXPERIENCE[kind]
    points = [(example, 1.0) for example in examples] + [(low, _POINT_WEIGHT), (high, _POINT_WEIGHT)]
    weight = sum(w for _, w in points)
    mean_x = _mean((example.original, w) for example, w in points)
    mean_y = _mean((example.proxy, w) for example, w in points)
    spread = sum(w * (example.original - mean_x) ** 2 for example, w in points)
    slope = sum(w * (e.original - mean_x) * (e.proxy - mean_y) for e, w in points) / spread
    residuals = sum(w * (e.proxy - mean_y - slope * (e.original - mean_x)) ** 2 for e, w in points)
    freedom = len(examples) + _SCATTER_WEIGHT
    noise = (_SCATTER_WEIGHT * scatter**2 + residuals) / freedom
    # Total distance of the target's originals from the sample's mean.
    offset = target.weighted - mean_x * target.pixels
    # Each proxy deviates individually; errors of the line's height and slope shift all of them together.
    variance = noise * (target.squares + target.pixels**2 / weight + offset**2 / spread)
    return _Part(mean_y * target.pixels + slope * offset, variance, freedom)


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    pairs = list(weighted)
    return sum(value * w for value, w in pairs) / sum(w for _, w in pairs)


def _student(freedom: float) -> float:
    """Return Student's 90 % point by the first terms of a series in 1/freedom (Abramowitz, Stegun 26.7.5)."""
    z = _Z
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
