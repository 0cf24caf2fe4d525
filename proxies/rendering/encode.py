"""Encode the finished image as a file that the reader accepts, without any metadata."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from PIL import Image, JpegImagePlugin

from media_files.errors import FileTooLarge
from proxies.rendering.profiles import ProxyProfile
from proxies.rendering.resize import Resizer, resize

ProxyFormat = Literal["JPEG", "PNG"]
Gains = Sequence[float]

_LOWER_QUALITIES: Final = (75, 60, 45)
"""Tried in turn after the profile's own. Below 45, a smaller image shows more than a coarser one."""

_SHRINK_TO: Final = 0.8
_BASELINE_FRAME: Final = b"\xff\xc0"
"""The marker after the tables (ITU-T T.81, B.2.2)."""

_PNG_LEVEL: Final = 4
"""4 % more bytes than the default of 6, in two fifths of the time."""
_MODES: Final[dict[str, ProxyFormat]] = {"RGBA": "PNG", "LA": "PNG", "RGB": "JPEG", "L": "JPEG"}


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded image.

    Attributes:
        data: the file.
        format: ``JPEG`` or ``PNG``.
        size: width and height, px; smaller than the input if the byte limit required it.
        quality: JPEG quality; None for PNG.
    """

    data: bytes
    format: ProxyFormat
    size: tuple[int, int]
    quality: int | None


def encode(
    image: Image.Image, profile: ProxyProfile, resizer: Resizer, luma_gains: Gains | None = None
) -> Encoded:
    """Encode an image of mode L or RGB (as JPEG), LA or RGBA (as PNG) within the profile's byte limit.

    If it is too large, lower qualities are tried, then smaller sizes step by step.

    Args:
        image: the image to encode.
        profile: provides quality and byte limit.
        resizer: ``pillow`` to do without SIMD.
        luma_gains: how many times stronger a JPEG should show each of the 64 frequencies of its luma blocks,
            row by row, as closely as its quality allows.

    Raises:
        FileTooLarge: not even one pixel fits into the limit.
    """
    for attempt in _attempts(image, profile, resizer, luma_gains):
        if len(attempt.data) <= profile.byte_limit:
            return attempt
    raise FileTooLarge(
        f"No picture fits into the {profile.byte_limit} bytes that the profile {profile.name} allows. "
        "Raise its byte limit."
    )


def _attempts(
    image: Image.Image, profile: ProxyProfile, resizer: Resizer, luma_gains: Gains | None
) -> Iterator[Encoded]:
    """Yield ever smaller files, each made only if the one before was too large."""
    format_name = _MODES[image.mode]
    lower = [quality for quality in _LOWER_QUALITIES if quality < profile.quality]
    qualities = [profile.quality, *lower] if format_name == "JPEG" else [None]
    for quality in qualities:
        yield _encode(image, format_name, quality, luma_gains)
    while max(image.size) > 1:
        size = max(1, int(image.width * _SHRINK_TO)), max(1, int(image.height * _SHRINK_TO))
        image, _ = resize(image, size, (0, 0, *image.size), resizer)
        yield _encode(image, format_name, qualities[-1], None)


def _encode(
    image: Image.Image, format_name: ProxyFormat, quality: int | None, luma_gains: Gains | None
) -> Encoded:
    output = io.BytesIO()
    # Otherwise Pillow would write the original's comment, profile and resolution from here.
    image.info = {}
    if quality is None:
        image.save(output, format_name, compress_level=_PNG_LEVEL)
    elif luma_gains is None:
        image.save(output, format_name, quality=quality)
    else:
        output.write(_amplified(image, quality, luma_gains))
    return Encoded(output.getvalue(), format_name, image.size, quality)


def _amplified(image: Image.Image, quality: int, luma_gains: Gains) -> bytes:
    """Return a JPEG of ``quality`` with the image's frequencies amplified, at no cost in time.

    A reader multiplies each frequency by the step that the file declares. If it was quantized with a step
    that is finer by the gain, it appears stronger by the gain.
    """
    header, (luma, *chroma) = _declared(image.mode, quality)
    finer = [max(1, round(step / gain)) for step, gain in zip(luma, luma_gains, strict=True)]
    output = io.BytesIO()
    image.save(output, "JPEG", qtables=[finer, *chroma])
    return header + output.getvalue()[len(header) :]


@lru_cache(maxsize=16)
def _declared(mode: str, quality: int) -> tuple[bytes, list[list[int]]]:
    """Return the header of Pillow's JPEGs of ``quality``, including quantization tables, and these tables."""
    output = io.BytesIO()
    Image.new(mode, (1, 1)).save(output, "JPEG", quality=quality)
    data = output.getvalue()
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        return data[: data.rindex(_BASELINE_FRAME)], [list(table) for table in image.quantization.values()]
